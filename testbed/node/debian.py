"""Finds runc and busybox, or unpacks Debian's packages of them into the cache. Called by `make`, `RealNode` and tests.

runc is partly C and busybox is all C, so they are not built from Go modules. What is on PATH is used. Where it is not,
`apt-get download` fetches the packages, checked against the distribution's signed lists, and `dpkg -x` unpacks them
into the cache: nothing is installed, and neither step needs root.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed import apt, build_cache
from testbed import errors as control_plane_errors
from testbed.node import elf, errors
from testbed.progress import Progress

PACKAGES = ("runc", "busybox-static")

ADMIN_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"  # often missing from a user's PATH


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of the programs that are not built from source."""

    runc: Path
    busybox: Path  # linked statically: an image holds nothing else


def ensure_installed(
    progress: Progress | None = None, *, cache: Path | None = None, admin_directories: str = ADMIN_DIRECTORIES
) -> Tools:
    """Where runc and a static busybox are, unpacking packages into the cache where PATH has none.

    `progress` hears what is fetched. `cache` is the cache's root, in place of MIGSCHED_CACHE and `.cache`.
    runc is looked for in `admin_directories` too.

    Raises MachineError where they are not there and cannot be had; it says what to install.
    """
    tell = progress or (lambda _line: None)
    runc, busybox = _on_path(admin_directories)
    if runc and busybox:
        return Tools(runc, busybox)
    try:
        unpacked = build_cache.entry(
            (cache or build_cache.root()) / "debian" / "-".join(PACKAGES),
            lambda partial: _unpack(partial, tell),
            tell,
            what=" and ".join(PACKAGES),
        )
    except control_plane_errors.BuildError as error:
        raise errors.MachineError([str(error)]) from error
    return Tools(runc or unpacked / "usr/sbin/runc", busybox or unpacked / "bin/busybox")


def _on_path(admin_directories: str) -> tuple[Path | None, Path | None]:
    runc = shutil.which("runc") or shutil.which("runc", path=admin_directories)
    busybox = shutil.which("busybox")
    static = busybox is not None and elf.is_static(Path(busybox))
    return Path(runc) if runc else None, Path(busybox) if busybox and static else None


def _unpack(directory: Path, tell: Progress) -> None:
    tell(f"fetching the packages {', '.join(PACKAGES)}")
    fetched = directory / "packages"
    fetched.mkdir()
    try:
        apt.download(PACKAGES, fetched)
        for package in fetched.glob("*.deb"):
            apt.run(["dpkg", "--extract", str(package), str(directory)], fetched)
    except apt.AptError as error:
        raise errors.MachineError([f"{_wanted()}: {error}"]) from error
    shutil.rmtree(fetched)
    try:
        apt.run([str(directory / "usr/sbin/runc"), "--version"], directory)
    except apt.AptError as error:
        raise errors.MachineError([f"{_wanted()}: the unpacked runc does not run: {error}"]) from error


def _wanted() -> str:
    return f"runc and a statically linked busybox are needed: install {' and '.join(PACKAGES)}"
