"""The NUMA node of a GPU, from the kernel's files."""

from pathlib import Path

import pytest

from node_agent.gpu.nvml import numa


def kernel_says(root: Path, address: str, text: str) -> None:
    """The file that tells a PCI device's NUMA node."""
    path = root / "sys/bus/pci/devices" / address / "numa_node"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("bus_id", "address"),
    [
        ("00000000:0F:00.0", "0000:0f:00.0"),
        ("0000:0f:00.0", "0000:0f:00.0"),
        ("00010000:B3:00.0", "10000:b3:00.0"),
        ("00000009:01:00.0", "0009:01:00.0"),
    ],
)
def test_the_kernel_writes_addresses_in_its_own_way(bus_id: str, address: str, tmp_path: Path) -> None:
    """NVML's domain of eight digits is the kernel's of four or more, in small letters."""
    kernel_says(tmp_path, address, "1\n")
    assert numa.node(tmp_path, bus_id) == 1


@pytest.mark.parametrize("text", ["-1\n", "", "none\n", "\xff"])
def test_no_numa_node_is_none(text: str, tmp_path: Path) -> None:
    """-1 is the kernel's word for none; what cannot be read is none too."""
    kernel_says(tmp_path, "0000:0f:00.0", text)
    assert numa.node(tmp_path, "00000000:0F:00.0") is None


@pytest.mark.parametrize("bus_id", ["", "00000000:0F:00.0/../../x", "nonsense", "00000000:10:00.0"])
def test_an_address_without_a_device_has_no_node(bus_id: str, tmp_path: Path) -> None:
    """Nothing outside the directory of PCI devices is looked for."""
    kernel_says(tmp_path, "0000:0f:00.0", "1\n")
    assert numa.node(tmp_path, bus_id) is None
