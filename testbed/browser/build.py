"""Unpacks Debian's headless Chromium, the libraries that the machine lacks and two fonts into the cache.

`apt-get download` fetches the packages, checked against the distribution's signed lists, and `dpkg -x` unpacks them:
nothing is installed, and neither step needs root. The fonts are the only ones that the browser sees, so a page looks
alike on every machine. Called by `make browser` and the tests of the page.
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import apt, build_cache, errors
from testbed.progress import Progress

PACKAGES = ("chromium-headless-shell", "fonts-inter", "fonts-dejavu-core")
# As tests start it: they may run as root, load nothing but our own pages, and reach no other host.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

_WHAT = "Chromium"
_EXECUTABLE = "usr/lib/chromium/chromium-headless-shell"
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


@dataclass(frozen=True, slots=True)
class Chromium:
    """The browser's program, and what its environment has to have."""

    executable: Path
    environment: Mapping[str, str]


def ensure_installed(progress: Progress | None = None, *, cache: Path | None = None) -> Chromium:
    """The browser, fetching it first where the cache has none.

    `progress` hears what is fetched. `cache` is the cache's root, in place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where it cannot be had; the message says why.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    unpacked = build_cache.entry(root / "browser" / key(), lambda partial: _unpack(partial, tell), tell, what=_WHAT)
    return _chromium(unpacked)


def key() -> str:
    """The name of an installation: a hash over the packages and the distribution that they are of."""
    release = Path("/etc/os-release")
    of = release.read_text(encoding="utf-8") if release.is_file() else ""
    return hashlib.sha256(f"{PACKAGES} {platform.machine()} {of}".encode()).hexdigest()[:16]


def _chromium(directory: Path) -> Chromium:
    libraries = sorted({str(file.parent) for file in (directory / "usr" / "lib").glob("*-linux-gnu*/**/*.so*")})
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LD_LIBRARY_PATH": ":".join(libraries),
        "FONTCONFIG_FILE": str(directory / "fonts.conf"),
        "XDG_CACHE_HOME": str(directory / "xdg-cache"),
        "HOME": str(directory),
    }
    return Chromium(directory / _EXECUTABLE, environment)


def _unpack(directory: Path, tell: Progress) -> None:
    tell(f"fetching {_WHAT}: 105 MB, unpacked 330 MB")
    fetched = directory / "packages"
    fetched.mkdir()
    try:
        apt.download_with_missing(PACKAGES, fetched)
        for package in sorted(fetched.glob("*.deb")):
            apt.run(["dpkg", "--extract", str(package), str(directory)], fetched)
        (directory / "fonts.conf").write_text(_FONTS, encoding="utf-8")
        found = _chromium(directory)
        libraries = f"LD_LIBRARY_PATH={found.environment['LD_LIBRARY_PATH']}"
        apt.run(["env", libraries, str(found.executable), "--version"], directory)
    except apt.AptError as error:
        raise errors.BuildError(
            f"there is no {_WHAT} for tests of the web page ({', '.join(PACKAGES)}): {error}"
        ) from error
    shutil.rmtree(fetched)
