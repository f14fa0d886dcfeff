"""The driver's library below another root, as a container finds it."""

import ctypes.util
from pathlib import Path

import pytest

from node_agent.gpu.device import DriverNotLoadedError
from node_agent.gpu.nvml import library_file
from node_agent.gpu.nvml.driver import Driver


def some_library() -> str:
    """The C library of this machine: one that can be loaded, and is not NVML."""
    found = ctypes.util.find_library("c")
    assert found is not None
    return next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(found))


@pytest.mark.parametrize("directory", library_file.DIRECTORIES)
def test_it_is_found_where_distributions_put_it(directory: str, tmp_path: Path) -> None:
    """Each directory below the root is looked into, and the file is loaded by its path."""
    (tmp_path / directory).mkdir(parents=True)
    link = tmp_path / directory / library_file.NAME
    link.symlink_to(some_library())
    assert library_file.load(tmp_path)._name == str(link)


def test_a_root_without_it_is_named(tmp_path: Path) -> None:
    """As long as the driver is not there the agent says where it looks, and looks again with each init."""
    made = Driver(root=tmp_path)
    with pytest.raises(DriverNotLoadedError, match=str(tmp_path)):
        made.init()
    (tmp_path / "usr/lib64").mkdir(parents=True)
    (tmp_path / "usr/lib64" / library_file.NAME).write_text("no library")
    with pytest.raises(DriverNotLoadedError, match="cannot be loaded"):
        made.init()
