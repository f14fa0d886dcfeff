"""The lock of Debian packages is read strictly."""

from pathlib import Path

import pytest

from testbed.image import debian_packages, errors
from testbed.image.debian_packages import DebianPackage


def test_a_lock_names_packages(tmp_path: Path) -> None:
    """A line is a package; comments and empty lines are none."""
    lock = tmp_path / "debian.lock"
    lock.write_text(f"# NAME …\n\nlibc6 2.36-9 amd64 {'a' * 64}\n", encoding="utf-8")
    assert debian_packages.read_lock(lock) == (DebianPackage("libc6", "2.36-9", "amd64", "a" * 64),)


@pytest.mark.parametrize("line", ["libc6 2.36-9 amd64", f"libc6 2.36-9 amd64 {'a' * 40}"])
def test_a_line_without_a_whole_hash_is_refused(tmp_path: Path, line: str) -> None:
    """A package that could be any file is not fetched."""
    lock = tmp_path / "debian.lock"
    lock.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(errors.ImageError, match=r"debian\.lock:1: .*NAME VERSION ARCHITECTURE SHA256"):
        debian_packages.read_lock(lock)
