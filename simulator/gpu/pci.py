"""PCI: where simulated GPUs sit on a node's bus, and the kernel's files about them. Used by devices and driver."""

from pathlib import Path


def pci_bus_id(index: int) -> str:
    """The PCI address of the GPU with an index, as NVML writes it: domain of eight digits."""
    return f"00000000:{0x10 + index:02X}:00.0"


def write_numa_node(root: Path, index: int, numa_node: int | None) -> None:
    """The kernel's file that tells a device's NUMA node, -1 for none, under a root directory."""
    path = root / "sys/bus/pci/devices" / pci_bus_id(index)[4:].lower() / "numa_node"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{-1 if numa_node is None else numa_node}\n")
