"""`make docs`: what the site refuses, on a small project with the repository's own configuration and hooks."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed here: `make install`")

ROOT = Path(__file__).parents[2]
REMOTE = "https://example.com/x.js"
NAV = "\nnav:\n  - README.md\n  - page.md\n"
PAGE = "# Page\n\n## Part\n\n[code](../tool.py), [scope](../SCOPE.md#scope), [here](#part)\n\n```yaml plan\na: 1\n```\n"


def build(project: Path, page: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Build a site of two pages, one of them given, strictly. `more` are pages outside the navigation, by name."""
    docs = project / "docs"
    docs.mkdir()
    shutil.copy(ROOT / "docs" / "hooks.py", docs)
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[0]
    texts = {
        project / "mkdocs.yml": settings + NAV,
        project / "tool.py": "pass\n",
        project / "SCOPE.md": "# Scope\n\n[back](docs/page.md)\n",
        docs / "README.md": "# Start\n\n[page](page.md)\n",
        docs / "page.md": page,
        **{docs / f"{name}.md": text for name, text in more.items()},
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=project, capture_output=True, text=True, check=False
    )


def test_links_to_files_outside_docs_work_in_the_site(tmp_path: Path) -> None:
    """A linked file is part of the site, a linked Markdown page is a page of it, and a marked fence is a fence."""
    done = build(tmp_path, PAGE)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "build" / "site"
    html = (site / "page.html").read_text(encoding="utf-8")
    assert (site / "repository" / "tool.py").read_text(encoding="utf-8") == "pass\n"
    assert 'href="../page.html"' in (site / "repository" / "SCOPE.html").read_text(encoding="utf-8")
    assert 'href="repository/SCOPE.html#scope"' in html
    assert "```" not in html


def test_dead_links_lost_pages_and_remote_scripts_fail(tmp_path: Path) -> None:
    """The build fails and names each dead link and anchor, in docs/ and outside, each unlinked page, each script."""
    dead = ["gone.md", "../gone.py", "README.md#gone", "../SCOPE.md#away"]
    page = "\n".join([PAGE, *(f"[x]({target})\n" for target in dead), f'<script src="{REMOTE}"></script>\n'])
    done = build(tmp_path, page, lost="# Lost\n")
    assert done.returncode != 0
    complaints = ["'gone.md'", "'../gone.py'", "'#gone'", "'#away'", "lost.md", "from another host"]
    assert [complaint for complaint in complaints if complaint not in done.stderr] == []
