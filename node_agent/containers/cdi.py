"""CDI specifications: files that tell the container runtime what a device id means now. Written by agent.

The kubelet remembers the name it was given and repeats it after a reboot; the file behind the name is then rewritten
for the new slice. A container that gets several slices at once gets one name for the set, because the last
NVIDIA_VISIBLE_DEVICES would win; one that asks for several profiles gets one name for each, and all say the same
(`visibility`). CUDA_VISIBLE_DEVICES is never set: serving frameworks read it as numbers. Format: Container Device
Interface 0.5.0.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from allocator import errors
from node_agent.gpu.device import DeviceNode

KIND = "migsched.io/slice"
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
_VERSION = "0.5.0"  # the first whose device names may begin with a digit
_PREFIX = "migsched-slice-"
_SUFFIX = ".json"


class CdiError(errors.MigschedError):
    """A specification cannot be written or removed; names the directory."""


@dataclass(frozen=True)
class Edits:
    """What a container gets: the UUIDs it may see, and device nodes."""

    visible: Sequence[str]
    nodes: Sequence[DeviceNode] = ()

    @property
    def env(self) -> str:
        """The value of NVIDIA_VISIBLE_DEVICES."""
        return ",".join(self.visible)


class Specs:
    """The specifications in one directory, one file per name. Other files there are not ours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._written: dict[str, Edits] = {}

    def put(self, name: str, edits: Edits) -> None:
        """Write what a name means, at once and whole. Raises CdiError."""
        path = self._path(name)
        new = path.with_name(f".{path.name}.new")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            new.write_bytes(json.dumps(_spec(name, edits), indent=1).encode())
            new.replace(path)
        except OSError as error:
            raise CdiError(f"CDI directory {self.directory}: cannot write {path.name}: {error.strerror}") from error
        self._written[name] = edits

    def names(self) -> frozenset[str]:
        """The names there are specifications for. Raises CdiError."""
        try:
            names = [path.name for path in self.directory.glob(f"{_PREFIX}*{_SUFFIX}")]
        except OSError as error:
            raise CdiError(f"CDI directory {self.directory}: cannot be read: {error.strerror}") from error
        return frozenset(name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in names)

    def drop(self, name: str) -> None:
        """Remove a specification; one that is gone is no error. Raises CdiError."""
        self._written.pop(name, None)
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise CdiError(f"CDI directory {self.directory}: cannot remove {name}: {error.strerror}") from error

    def sync(self, wanted: Mapping[str, Edits | None]) -> frozenset[str]:
        """Exactly these specifications; one that is None stays as it is. The names among them that have none.

        Raises CdiError.
        """
        existing = self.names()
        for name, edits in wanted.items():
            if edits is not None and (name not in existing or self._written.get(name) != edits):
                self.put(name, edits)
        for name in existing - wanted.keys():
            self.drop(name)
        return frozenset(name for name, edits in wanted.items() if edits is None and name not in existing)

    def _path(self, name: str) -> Path:
        return self.directory / f"{_PREFIX}{name}{_SUFFIX}"


def qualified(name: str) -> str:
    """The name as the kubelet passes it to the runtime."""
    return f"{KIND}={name}"


def _spec(name: str, edits: Edits) -> dict[str, object]:
    container: dict[str, object] = {"env": [f"{VISIBLE}={edits.env}"]}
    if edits.nodes:
        container["deviceNodes"] = [_node(node) for node in edits.nodes]
    return {"cdiVersion": _VERSION, "kind": KIND, "devices": [{"name": name, "containerEdits": container}]}


def _node(node: DeviceNode) -> dict[str, object]:
    edit: dict[str, object] = {"path": node.path, "permissions": "rw"}
    if node.major is not None and not os.path.exists(node.path):  # noqa: PTH110  # a node that only the container gets
        edit |= {"type": "c", "major": node.major, "minor": node.minor}
    return edit
