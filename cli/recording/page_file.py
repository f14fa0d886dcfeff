"""The page and a recording in one HTML file, which asks nobody for anything. Made by `migsched replay --html`.

Scripts and styles stand in it; the Content-Security-Policy in its head names their hashes, and allows nothing else. The
recording is JSON in an element that is not run; what could end that element is escaped.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cli.recording import pseudonyms
from cli.recording.page_state import PageState, RecordingError
from cli.recording.pseudonyms import Pseudonyms
from cli.recording.recording import Recording

MOST_FRAMES = 2_000
MOST_BYTES = 100 * 2**20
_SCRIPT = re.compile(r'<script\b(?P<attributes>[^>]*)\bsrc="(?P<path>[^"]+)"(?P<more>[^>]*)></script>')
_STYLE = re.compile(r'<link\b[^>]*\brel="stylesheet"[^>]*>')
_HREF = re.compile(r'\bhref="(?P<path>[^"]+)"')
_LINK = re.compile(r"<link\b[^>]*>")


def html(recording: Recording, page: Path, *, hidden: bool, most_frames: int = MOST_FRAMES) -> str:
    """The text of the file. `page` is the folder of the built page, `hidden` has names replaced.

    Raises RecordingError for a recording that is too large, or without a built page.
    """
    return _Inliner(page).html(data(recording, hidden=hidden, most_frames=most_frames))


def data(recording: Recording, *, hidden: bool, most_frames: int = MOST_FRAMES) -> str:
    """The recording as the page reads it: the first document, and what changed. Raises RecordingError."""
    first, changes = b"", []
    size = 0
    for part in _parts(recording, most_frames):
        size += len(part)
        if size > MOST_BYTES:
            fix = "choose fewer frames by --frames, or replay a single file of the folder"
            raise RecordingError(f"the recording takes more than {MOST_BYTES >> 20} MiB; {fix}")
        if first:
            changes.append(part)
        else:
            first = part
    whole: dict[str, Any] = {"first": msgspec.json.decode(first), "changes": [msgspec.json.decode(c) for c in changes]}
    if not hidden:
        return msgspec.json.encode(whole).decode()
    names = Pseudonyms()
    _each(names.learn, whole)
    text = msgspec.json.encode(_each(names.replace, whole)).decode()
    pseudonyms.check(text, names.names)
    return text


def _each(do: Any, whole: dict[str, Any]) -> dict[str, Any]:
    """Do it for the first document, and for each part of the changes under the section that it is of."""
    first = do(whole["first"])
    changes = []
    for one in whole["changes"]:
        sections = {name: do(part, name) for name, part in one["sections"].items()}
        nodes, gone = do(one["nodes"], "nodes"), do({"gone": one["gone"]}, "nodes")
        changes.append({**one, "sections": sections, "nodes": nodes, **(gone or {})})
    return {"first": first, "changes": changes}


def _parts(recording: Recording, most_frames: int) -> Iterator[bytes]:
    """The first document, then changes from one chosen frame to the next."""
    step = max(1, -(-recording.frames // most_frames))
    told = PageState()
    for number, state in enumerate(recording.states()):
        if not number:
            yield state.whole()
        elif number % step and number != recording.frames - 1:
            continue
        else:
            changes = told.changes_to(state)
            if changes:
                yield changes
        told.sections, told.nodes = dict(state.sections), dict(state.nodes)


class _Inliner:
    """Puts a page's files into its index."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._hashes: dict[str, list[str]] = {"script-src": [], "style-src": []}

    def html(self, recording: str) -> str:
        """The index with everything in it."""
        file = self._page / "index.html"
        if not file.is_file():
            raise RecordingError(f"{self._page}: the page is not built there: make web")
        text = _STYLE.sub(self._style, file.read_text(encoding="utf-8"))
        text = _LINK.sub("", text)  # icons and preloads: there is nothing to load from
        modules: list[str] = []
        text = _SCRIPT.sub(lambda found: self._script(found, modules), text)
        element = f'<script type="application/json" id="recording">{_escaped(recording)}</script>'
        text = re.sub(r"</body>", lambda _: f"{element}{''.join(modules)}</body>", text, count=1)
        head = f'<meta http-equiv="Content-Security-Policy" content="{self._policy()}">'
        return re.sub(r"<head>", lambda found: found[0] + head, text, count=1)

    def _policy(self) -> str:
        allowed = "; ".join(
            f"{name} {' '.join(hashes) or chr(39) + 'none' + chr(39)}" for name, hashes in self._hashes.items()
        )
        return f"default-src 'none'; {allowed}; img-src data:; base-uri 'none'; form-action 'none'"

    def _style(self, found: re.Match[str]) -> str:
        href = _HREF.search(found[0])
        content = self._read(href["path"]) if href is not None else ""
        self._hash("style-src", content)
        return f"<style>{content}</style>"

    def _script(self, found: re.Match[str], modules: list[str]) -> str:
        """Scripts go to the end: a module in a file runs once the page is there, and one that stands in it does too."""
        content = self._read(found["path"]).replace("</script", "<\\/script").replace("<!--", "<\\!--")
        self._hash("script-src", content)
        kind = ' type="module"' if 'type="module"' in found[0] else ""
        modules.append(f"<script{kind}>{content}</script>")
        return ""

    def _hash(self, what: str, content: str) -> None:
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        self._hashes[what].append(f"'sha256-{digest}'")

    def _read(self, path: str) -> str:
        name = path.removeprefix("/page/").removeprefix("./")
        file = (self._page / name).resolve()
        if not file.is_relative_to(self._page.resolve()) or not file.is_file():
            raise RecordingError(f"index.html asks for {path[:120]!r}, which is not in the page's folder")
        return file.read_text(encoding="utf-8")


def _escaped(text: str) -> str:
    """JSON that ends no element: a string may write these characters so."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
