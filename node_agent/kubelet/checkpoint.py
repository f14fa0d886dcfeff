"""Checkpoint: to which pods the kubelet has given devices, from the file in which it remembers that for its restarts.

PodResources leaves out ordinary init containers; this file names them, by the pods' UIDs. Its form is the kubelet's own
business: where it cannot be read it says nothing, and the agent keeps what any pod may have. Entries of pods that are
over stay until the kubelet writes the file again. Asked by loop and allocation. Seen with the kubelets of Kubernetes
1.36.4 and 1.37.2.
"""

from pathlib import Path

import msgspec
import structlog

from node_agent.slices.ownership import Assigned, Assignment

FILE = "kubelet_internal_checkpoint"
MAX_BYTES = 32 * 2**20  # a pod takes some kilobytes, for what its Allocate was answered
_VENDOR = "nvidia.com/"
_log = structlog.get_logger("checkpoint")


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    pod_uid: str = msgspec.field(name="PodUID")
    container_name: str
    resource_name: str
    device_ids: dict[str, tuple[str, ...]] | None = msgspec.field(default=None, name="DeviceIDs")  # by NUMA node


class _Data(msgspec.Struct, frozen=True, rename="pascal"):
    pod_device_entries: tuple[_Entry, ...] | None


class _Document(msgspec.Struct, frozen=True, rename="pascal"):
    data: _Data


_DECODE = msgspec.json.Decoder(_Document).decode


class Checkpoint:
    """The kubelet's file in its directory of device plugins. It is read again when it has changed."""

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = directory / FILE
        self._max_bytes = max_bytes
        self._version: tuple[int, int, int] | None = None
        self._assigned: Assigned | None = None

    def read(self) -> Assigned | None:
        """Pods and containers by resource and device id; None where the file cannot be read."""
        try:
            status = self._path.stat()
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if version != self._version:
                self._assigned = self._decoded(status.st_size)
                self._version = version
        except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            if self._assigned is not None:
                _log.warning("cannot read the kubelet's checkpoint", path=str(self._path), error=str(error))
            self._version = self._assigned = None
        return self._assigned

    def _decoded(self, size: int) -> Assigned:
        if size > self._max_bytes:
            raise OSError(f"it has {size} bytes, more than {self._max_bytes}")
        assigned: dict[tuple[str, str], tuple[Assignment, ...]] = {}
        for entry in _DECODE(self._path.read_bytes()).data.pod_device_entries or ():
            if entry.resource_name.startswith(_VENDOR):
                for device_id in (id_ for ids in (entry.device_ids or {}).values() for id_ in ids):
                    key = (entry.resource_name, device_id)
                    assigned[key] = (*assigned.get(key, ()), Assignment(entry.pod_uid, entry.container_name))
        return assigned
