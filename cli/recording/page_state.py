"""PageState: a document in pieces, as JSON text: brought up to date by changes, compared with a younger one.

The text may come from a file of anybody's: what has not the form of an overview raises RecordingError.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from allocator import errors

MAX_NODES = 100_000


class RecordingError(errors.MigschedError):
    """A recording cannot be used: where, and why."""


class _Named(msgspec.Struct, frozen=True):
    name: str


class PageChanges(msgspec.Struct, frozen=True):
    """What changed, its parts as JSON."""

    revision: int
    time: str
    sections: dict[str, msgspec.Raw]
    nodes: list[msgspec.Raw]
    gone: list[str]


class PageState:
    """A document as it was at `time`; nothing before `begin`."""

    def __init__(self) -> None:
        self.time = ""
        self.revision = 0
        self.sections: dict[str, bytes] = {}
        self.nodes: dict[str, bytes] = {}

    def begin(self, overview: bytes | msgspec.Raw) -> None:
        """Be this document. Raises RecordingError."""
        try:
            parts = msgspec.json.decode(overview, type=dict[str, msgspec.Raw])
            nodes = msgspec.json.decode(parts.pop("nodes"), type=list[msgspec.Raw])
            self.time = msgspec.json.decode(parts["time"], type=str)
            self.revision = msgspec.json.decode(parts["revision"], type=int)
            self.sections = {name: bytes(text) for name, text in parts.items()}
            self.nodes = {_name(node): bytes(node) for node in nodes[:MAX_NODES]}
        except (msgspec.MsgspecError, KeyError, UnicodeError, RecursionError) as error:
            raise RecordingError(f"it is no overview: {error}") from error

    def apply(self, text: bytes | msgspec.Raw) -> PageChanges:
        """Become what changes say. Raises RecordingError."""
        try:
            changes = msgspec.json.decode(text, type=PageChanges)
            nodes = {_name(node): bytes(node) for node in changes.nodes}
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise RecordingError(f"they are no changes: {error}") from error
        self.time, self.revision = changes.time, changes.revision
        self.sections |= {name: bytes(part) for name, part in changes.sections.items()}
        self.sections |= {"time": msgspec.json.encode(changes.time), "revision": str(changes.revision).encode()}
        for name in changes.gone:
            self.nodes.pop(name, None)
        self.nodes |= nodes
        return changes

    def changes_to(self, younger: "PageState") -> bytes:
        """What it takes to become a younger document; empty if nothing but its time is other."""
        sections = _other(self.sections, younger.sections, ("time", "revision"))
        nodes = _other(self.nodes, younger.nodes)
        gone = [name for name in self.nodes if name not in younger.nodes]
        if not (sections or nodes or gone):
            return b""
        return encoded(younger.revision, younger.time, sections, nodes, gone)

    def whole(self) -> bytes:
        """The document."""
        parts = [msgspec.json.encode(name) + b":" + text for name, text in self.sections.items()]
        return b"{" + b",".join([*parts, b'"nodes":[' + b",".join(self.nodes.values()) + b"]"]) + b"}"


def encoded(
    revision: int, time: str, sections: Mapping[str, bytes], nodes: Mapping[str, bytes], gone: list[str]
) -> bytes:
    """Changes as JSON."""
    document: dict[str, Any] = {
        "revision": revision,
        "time": time,
        "sections": {name: msgspec.Raw(text) for name, text in sections.items()},
        "nodes": [msgspec.Raw(node) for node in nodes.values()],
        "gone": gone,
    }
    return msgspec.json.encode(document)


def _other(before: Mapping[str, bytes], after: Mapping[str, bytes], left_out: tuple[str, ...] = ()) -> dict[str, bytes]:
    return {name: text for name, text in after.items() if name not in left_out and before.get(name) != text}


def _name(node: msgspec.Raw) -> str:
    return msgspec.json.decode(node, type=_Named).name
