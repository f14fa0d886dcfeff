"""Capabilities: which device nodes open an instance, as the driver's files under /proc tell. Used by devices.

The driver does not make the nodes under /dev with the instance, so their numbers are read, not the nodes.
"""

import re
from pathlib import Path

from node_agent.gpu import device

_MINOR = re.compile(r"^DeviceFileMinor:\s*(\d+)\s*$", re.MULTILINE)
_MAJOR = re.compile(r"^\s*(\d+)\s+nvidia-caps\s*$", re.MULTILINE)


def device_nodes(root: Path, gpu_minor: int, gi_id: int) -> tuple[device.DeviceNode, ...]:
    """The nodes of a GPU instance and its compute instances, the GPU instance's first.

    `root` is where the host's file system is mounted. Raises StaleHandleError if the driver shows no such instance.
    """
    top = root / "proc/driver/nvidia/capabilities" / f"gpu{gpu_minor}" / "mig" / f"gi{gi_id}"
    major = _major(root)
    minors = [_minor(top / "access"), *(_minor(path) for path in sorted(top.glob("ci*/access")))]
    return tuple(device.DeviceNode(f"/dev/nvidia-caps/nvidia-cap{minor}", minor, major) for minor in minors)


def _minor(path: Path) -> int:
    try:
        match = _MINOR.search(path.read_text())
    except OSError as error:
        raise device.StaleHandleError(f"{path}: {error.strerror}") from error
    if match is None:
        raise device.DeviceError(f"{path} names no DeviceFileMinor")
    return int(match[1])


def _major(root: Path) -> int | None:
    try:
        match = _MAJOR.search((root / "proc/devices").read_text())
    except OSError:
        return None
    return int(match[1]) if match else None
