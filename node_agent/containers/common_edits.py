"""Common edits: what a container needs of the driver beside its own device nodes, as NVIDIA's toolkit says. Pure.

`nvidia-ctk cdi generate` prints a CDI specification. Its top-level edits are the same whatever the device: control
nodes, driver libraries and programs as mounts, and the hooks that make them findable. They are checked for their types
and handed on as they are: a field that a newer toolkit adds reaches the container runtime unchanged. Used by
driver_files, which has the toolkit make them, and by cdi, which merges them with a slice's own nodes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec

from allocator import errors

MAX_BYTES = 1_048_576  # of a specification; that of an H200's driver has 14 thousand
MAX_ENTRIES = 4_096  # of one list in it
_CONTROL = re.compile(r"/dev/nvidia(ctl|-modeset|-uvm|-uvm-tools)")  # what every user of any GPU needs
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}")


class CommonEditsError(errors.MigschedError):
    """What the toolkit printed is no specification that could be merged; names the field."""


class _Node(msgspec.Struct):
    path: str
    host_path: str = msgspec.field(name="hostPath", default="")


class _Mount(msgspec.Struct):
    host_path: str = msgspec.field(name="hostPath")
    container_path: str = msgspec.field(name="containerPath")
    options: list[str] = []


class _Hook(msgspec.Struct):
    hook_name: str = msgspec.field(name="hookName")
    path: str
    args: list[str] = []
    env: list[str] = []


class _ContainerEdits(msgspec.Struct):
    env: list[str] = []
    device_nodes: list[_Node] = msgspec.field(name="deviceNodes", default=[])
    mounts: list[_Mount] = []
    hooks: list[_Hook] = []
    additional_gids: list[int] = msgspec.field(name="additionalGids", default=[])


class _Device(msgspec.Struct):
    name: str
    edits: dict[str, Any] = msgspec.field(name="containerEdits", default={})


class _Specification(msgspec.Struct):
    version: str = msgspec.field(name="cdiVersion")
    kind: str
    devices: list[_Device] = []
    edits: dict[str, Any] = msgspec.field(name="containerEdits", default={})


_DECODE = msgspec.json.Decoder(_Specification).decode


@dataclass(frozen=True)
class CommonEdits:
    """The driver's part of a specification. `edits` is a CDI containerEdits object, `version` the least cdiVersion that
    covers it.
    """

    version: str
    edits: Mapping[str, Any]

    @property
    def mounted(self) -> tuple[str, ...]:
        """The files of the host that are mounted."""
        return tuple(mount["hostPath"] for mount in self.edits.get("mounts", ()))

    @property
    def hooks(self) -> tuple[str, ...]:
        """The programs of the host that run when a container is made."""
        return tuple(dict.fromkeys(hook["path"] for hook in self.edits.get("hooks", ())))


def read(text: bytes, *, root: str = "", host_root: str = "") -> CommonEdits:
    """The common edits of a specification in JSON.

    Paths of the host below `root`, the driver's root as the toolkit saw it, become paths below `host_root`, where the
    container runtime finds the same; "" stands for `/`. In management mode the toolkit keeps the control nodes in its
    device `all`: they are common all the same.

    Raises CommonEditsError where the text is too long, no JSON, or has other types than CDI.
    """
    if len(text) > MAX_BYTES:
        raise CommonEditsError(f"the toolkit printed more than {MAX_BYTES} bytes")
    try:
        specification = _DECODE(text)
        edits = dict(specification.edits)
        if not edits.get("deviceNodes"):
            nodes = [node for device in specification.devices for node in device.edits.get("deviceNodes") or ()]
            edits["deviceNodes"] = [node for node in nodes if _CONTROL.fullmatch(msgspec.convert(node, _Node).path)]
        checked = msgspec.convert(edits, _ContainerEdits)
    except (msgspec.MsgspecError, RecursionError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise CommonEditsError(f"the toolkit printed no CDI specification: {error}") from error
    _check(specification.version, checked)
    return CommonEdits(specification.version, _below(edits, root.rstrip("/"), host_root.rstrip("/")))


def covering(*versions: str) -> str:
    """The newest of some cdiVersions."""
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def _check(version: str, edits: _ContainerEdits) -> None:
    if not _VERSION.fullmatch(version):
        raise CommonEditsError(f"cdiVersion {version[:40]!r} is no version such as 0.5.0")
    for name in edits.__struct_fields__:
        if len(getattr(edits, name)) > MAX_ENTRIES:
            raise CommonEditsError(f"containerEdits.{name} has more than {MAX_ENTRIES} entries")
    if not edits.mounts:
        raise CommonEditsError("containerEdits.mounts is empty: no file of the driver was found")
    for what, path in _paths(edits):
        if not path.startswith("/") or ".." in PurePosixPath(path).parts or "\0" in path:
            raise CommonEditsError(f"{what} {path[:200]!r} is not an absolute path")


def _paths(edits: _ContainerEdits) -> Iterator[tuple[str, str]]:
    for node in edits.device_nodes:
        yield "deviceNodes.path", node.path
    for mount in edits.mounts:
        yield "mounts.hostPath", mount.host_path
        yield "mounts.containerPath", mount.container_path
    for hook in edits.hooks:
        yield "hooks.path", hook.path


def _below(edits: dict[str, Any], root: str, host_root: str) -> dict[str, Any]:
    """The edits with the host's paths as the host has them. Hooks run there already: theirs are."""
    if root == host_root:
        return edits

    def moved(entry: dict[str, Any]) -> dict[str, Any]:
        path = entry.get("hostPath") or ""
        return {**entry, "hostPath": host_root + path.removeprefix(root)} if path.startswith(f"{root}/") else entry

    lists = {name: [moved(entry) for entry in edits.get(name) or ()] for name in ("mounts", "deviceNodes")}
    return {**edits, **lists}
