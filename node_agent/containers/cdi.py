"""CDI specifications: files that tell the container runtime what a device id means now. Written by agent.

The kubelet remembers the name it was given and repeats it after a reboot; the file behind the name is then rewritten
for the new slice. A container that gets several slices at once gets one name for the set, because the last
variable would win; one that asks for several profiles gets one name for each, and all say the same (`visibility`).
CUDA_VISIBLE_DEVICES is never set: serving frameworks read it as numbers. Each file is complete: the driver's part
(`common_edits`) lies at its top level, so that a container that was given a name by an older agent gets it too. Whole
GPUs share one file, whose top level the runtime applies once however many of them a container has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from allocator import errors
from node_agent.containers import common_edits
from node_agent.containers.common_edits import CommonEdits
from node_agent.containers.driver_root import DriverRoot
from node_agent.gpu.device import DeviceNode

KIND = "migsched.io/slice"
GPU_KIND = "migsched.io/gpu"
OURS = "MIGSCHED_VISIBLE_DEVICES"  # for the application, in every mode
NVIDIA = "NVIDIA_VISIBLE_DEVICES"  # for NVIDIA's container runtime
_VERSION = "0.5.0"  # the first whose device names may begin with a digit
_PREFIX = "migsched-slice-"
_SUFFIX = ".json"
_GPUS = "migsched-gpus.json"


class CdiError(errors.MigschedError):
    """A specification cannot be written or removed; names the directory."""


@dataclass(frozen=True)
class Edits:
    """What a container gets: the UUIDs it may see, device nodes, and the driver's files where we bring them.

    `root` is the driver's, below which a driver container has the nodes.
    """

    visible: Sequence[str]
    nodes: Sequence[DeviceNode] = ()
    common: CommonEdits | None = None
    root: DriverRoot = field(default_factory=DriverRoot)

    @property
    def uuids(self) -> str:
        """What our variable says, and NVIDIA's where its runtime is to bring the rest."""
        return ",".join(self.visible)


class Specs:
    """The specifications in one directory, one file per name. Other files there are not ours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._written: dict[str, Edits] = {}
        self._gpus: dict[str, Edits] = {}

    def put(self, name: str, edits: Edits) -> None:
        """Write what a name means, at once and whole. Raises CdiError."""
        self._write(self._path(name), slice_specification(name, edits))
        self._written[name] = edits

    def put_gpus(self, gpus: Mapping[str, Edits]) -> None:
        """Write what the names of whole GPUs mean, by UUID: all that there are. Raises CdiError."""
        path = self.directory / _GPUS
        if gpus != self._gpus or (bool(gpus) != path.exists()):
            if gpus:
                self._write(path, gpu_specification(gpus))
            else:
                self._remove(path)
            self._gpus = dict(gpus)

    def withdraw(self) -> None:
        """Remove all specifications: what they say of the driver is not true any more. Raises CdiError."""
        for name in self.names():
            self.drop(name)
        self.put_gpus({})

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
        self._remove(self._path(name))

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

    def _write(self, path: Path, specification: Mapping[str, object]) -> None:
        new = path.with_name(f".{path.name}.new")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.format(msgspec.json.encode(specification), indent=1))
            new.replace(path)
        except OSError as error:
            raise CdiError(f"CDI directory {self.directory}: cannot write {path.name}: {error.strerror}") from error

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CdiError(f"CDI directory {self.directory}: cannot remove {path.name}: {error.strerror}") from error


def qualified(name: str) -> str:
    """The name of slices as the kubelet passes it to the runtime."""
    return f"{KIND}={name}"


def qualified_gpu(uuid: str) -> str:
    """The name of a whole GPU as the kubelet passes it to the runtime."""
    return f"{GPU_KIND}={uuid}"


def slice_specification(name: str, edits: Edits) -> dict[str, object]:
    """The specification of slices. Without the driver's files NVIDIA's runtime is to bring them, told by its variable;
    with them the toolkit's own edits tell it to stay away.
    """
    env = [f"{OURS}={edits.uuids}"]
    if edits.common is None:
        env.append(f"{NVIDIA}={edits.uuids}")
    return _specification(KIND, {name: _container(edits, env)}, edits.common)


def gpu_specification(gpus: Mapping[str, Edits]) -> dict[str, object]:
    """The specification of whole GPUs, by UUID. Which of them a container has Allocate tells it: a UUID lasts."""
    common = next(iter(gpus.values())).common
    return _specification(GPU_KIND, {uuid: _container(edits, ()) for uuid, edits in gpus.items()}, common)


def _specification(
    kind: str, devices: Mapping[str, dict[str, object]], common: CommonEdits | None
) -> dict[str, object]:
    specification: dict[str, object] = {
        "cdiVersion": _VERSION if common is None else common_edits.covering(_VERSION, common.version),
        "kind": kind,
        "devices": [{"name": name, "containerEdits": edits} for name, edits in devices.items()],
    }
    return specification if common is None else {**specification, "containerEdits": common.edits}


def _container(edits: Edits, env: Sequence[str]) -> dict[str, object]:
    container: dict[str, object] = {"env": list(env)} if env else {}
    if edits.nodes:
        container["deviceNodes"] = [_node(node, edits.root) for node in edits.nodes]
    return container


def _node(node: DeviceNode, root: DriverRoot) -> dict[str, object]:
    edit: dict[str, object] = {"path": node.path, "permissions": "rw"}
    here = root.dev / node.path.removeprefix("/")
    if here.exists():
        of_host = str(root.on_host(here))
        return edit if of_host == node.path else {**edit, "hostPath": of_host}
    if node.major is not None:  # a node that only the container gets
        edit |= {"type": "c", "major": node.major, "minor": node.minor}
    return edit
