"""Fetches Triton and Dynamo once into the cache. Called by `make stack` and the end-to-end tests.

They are a virtual environment of the running Python with the packages of `requirements/consumers/`, each checked by
its hash. Nothing of it is among what the product requires. Read-only use is all that is made of it afterwards, so pods
may have it mounted.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache
from testbed import errors as control_plane_errors
from testbed.consumers import errors
from testbed.progress import Progress

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "consumers"
LOCKED = ("programs.txt", "libraries.txt")

_INSTALL_TIMEOUT_S = 540.0
_WHAT = "Triton and Dynamo"


@dataclass(frozen=True, slots=True)
class Packages:
    """Where they are: a virtual environment."""

    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def site(self) -> Path:
        """Its packages."""
        return self.directory / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def ensure_installed(progress: Progress | None = None, *, cache: Path | None = None) -> Packages:
    """The packages, fetching them first where this version of the requirements is not in the cache yet.

    `progress` hears what is fetched. `cache` is the cache's root, in place of MIGSCHED_CACHE and `.cache`.

    Raises ConsumerError where this machine cannot run them, or they cannot be had; it says why and what would help.
    """
    tell = progress or (lambda _line: None)
    lacks = missing()
    if lacks:
        raise errors.ConsumerError(f"{_WHAT} cannot run on this machine: {'; '.join(lacks)}")
    finished = (cache or build_cache.root()) / "consumers" / key()
    try:
        build_cache.entry(finished, lambda partial: _install(partial, tell), tell, what=_WHAT)
    except control_plane_errors.BuildError as error:
        raise errors.ConsumerError(str(error)) from error
    return Packages(finished)


def missing() -> list[str]:
    """What this machine lacks to run them, a sentence each; empty where it has all."""
    lacks = []
    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
        lacks.append(f"the wheels are for Linux on x86_64 and aarch64, this is {sys.platform} on {platform.machine()}")
    libraries = {
        "libstdc++.so.6": "install libstdc++6",
        _python_library(): "install a Python with a shared library (Debian's libpython3, pyenv's --enable-shared)",
    }
    for name, fix in libraries.items():
        try:
            ctypes.CDLL(name)
        except OSError:
            lacks.append(f"there is no {name}: {fix}")
    return lacks


def key(requirements: Path = REQUIREMENTS) -> str:
    """The name of an installation: a hash over the requirements and the Python that they are for."""
    digest = hashlib.sha256()
    for name in LOCKED:
        digest.update((requirements / name).read_bytes())
    digest.update(f"{sys.version} {sys.base_prefix} {platform.machine()}".encode())
    return digest.hexdigest()[:16]


def _python_library() -> str:
    """The shared library of this Python: its own, by path, or else what the system has of the same version."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    own = Path(str(sysconfig.get_config_var("LIBDIR"))) / name
    return str(own) if own.exists() else name


def _install(directory: Path, tell: Progress) -> None:
    tell(f"fetching {_WHAT} from PyPI: 200 MiB, unpacked 810 MiB")
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    python = str(directory / "bin" / "python")
    by_uv = [str(uv), "pip", "install", "--quiet", "--compile-bytecode", "--link-mode=copy", "--python", python]
    by_pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    files = [f"--requirement={REQUIREMENTS / name}" for name in LOCKED]
    for step in (
        [sys.executable, "-m", "venv", "--without-pip", str(directory)],
        [*(by_uv if uv else by_pip), "--no-deps", "--require-hashes", *files],
    ):
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise errors.ConsumerError(f"{_WHAT}: no end after {_INSTALL_TIMEOUT_S:g} s of {' '.join(step)}") from error
        if done.returncode:
            wrote = (done.stderr or done.stdout).strip()
            raise errors.ConsumerError(
                f"{_WHAT} cannot be fetched: {wrote}\nmake PyPI reachable, or put an installation into the cache"
            )
