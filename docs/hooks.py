"""Hooks of `make docs` (mkdocs.yml): pages may link to files outside docs/, and the site loads nothing remote.

Pages are written for a reader of the repository, so they link to code, manifests and the README by relative path.
mkdocs knows only docs/. These hooks copy each linked file to `repository/` in the site and turn the links to it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COPIES = "repository/"  # folder of the site that holds what is outside docs/
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)")
FENCE_WORDS = re.compile(r"^( *```\w+) [\w ]+$", re.MULTILINE)  # ```yaml plan: the second word is for our tests
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
REMOTE = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\bsrc=[\"']?(?:https?:)?//|<link[^>]*\bhref=[\"']?(?:https?:)?//"
)
DRAWN = re.compile(r"<\w+[^>]*\bclass=[\"']?mermaid\b")  # what the theme would load Mermaid's script for


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside docs/ that a page links to, and what a page so added links to."""
    pages = [file for file in files if file.is_documentation_page()]
    while pages:
        page = pages.pop()
        for target in LINK.findall(FENCE.sub("", page.content_string)):
            path = _repository_path(page.src_uri, target[1])
            uri = _site_uri(path)
            if uri.startswith(COPIES) and (ROOT / path).is_file() and files.get_file_from_path(uri) is None:
                copy = File.generated(config, uri, abs_src_path=str(ROOT / path))
                files.append(copy)
                if copy.is_documentation_page():
                    pages.append(copy)
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Turn links to files outside docs/ to their copies; what does not exist stays, and strict mode fails.

    A second word after a fence's language, which only tests read, would keep the fence from being one; it goes.
    """
    here = page.file.src_uri

    def turned(link: re.Match[str]) -> str:
        uri = _site_uri(_repository_path(here, link[2]))
        return link[1] + (posixpath.relpath(uri, posixpath.dirname(here)) if files.get_file_from_path(uri) else link[2])

    return LINK.sub(turned, FENCE_WORDS.sub(r"\1", markdown))


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a built page loads a script, style or picture from another host."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        if found := REMOTE.search(text) or DRAWN.search(text):
            raise PluginError(f"{path.name} loads something from another host: {found[0]!r}")


def _repository_path(page_uri: str, target: str) -> str:
    """The path in the repository that a page's relative link means."""
    page = page_uri.removeprefix(COPIES) if page_uri.startswith(COPIES) else f"docs/{page_uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _site_uri(path: str) -> str:
    """Where a file of the repository is in the site's sources."""
    return path.removeprefix("docs/") if path.startswith("docs/") else COPIES + path
