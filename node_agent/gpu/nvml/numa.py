"""NUMA: next to which of the host's NUMA nodes a GPU lies, as the kernel's files under /sys tell. Used by devices.

Not by NVML: its nvmlDeviceGetNumaNodeId means the node that a GPU's own memory makes on coherent machines (GH200),
where no CPU is. NVIDIA's device plugin reads the same file.
"""

import re
from pathlib import Path

_BUS_ID = re.compile(r"([0-9A-Fa-f]{4,8}):([0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])")


def node(root: Path, bus_id: str) -> int | None:
    """The NUMA node of the GPU at a PCI address as NVML writes it; None where there is none (-1) or it is not told.

    `root` is where the host's file system is mounted. The kernel writes the domain with four digits or more, NVML with
    eight.
    """
    match = _BUS_ID.fullmatch(bus_id)
    if match is None:
        return None
    address = f"{int(match[1], 16):04x}:{match[2].lower()}"
    try:
        number = int((root / "sys/bus/pci/devices" / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return number if number >= 0 else None
