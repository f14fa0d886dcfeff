"""The Python part of an image: locked wheels, or the product's own, with compiled bytecode. Called by `build`.

Wheels are chosen for the images' Python, not for the one that runs this, and nothing of them is executed. Bytecode is
compiled by the images' Python itself, from below its root file system, and is never compared with its source again
(PEP 552, unchecked): a layer's times do not matter, and a container that cannot write starts as fast as any.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from testbed.image import errors, oci_archive

VERSION = "3.11"
SITE = Path(f"opt/migsched/lib/python{VERSION}/site-packages")
SCRIPTS = ("migsched", "kubectl-mig")  # as pyproject.toml has them
PROGRAMS = Path("opt/migsched/bin")
PYTHON = Path(f"usr/bin/python{VERSION}")
STANDARD_LIBRARY = Path(f"usr/lib/python{VERSION}")

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 900.0
_GLIBC = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}  # Debian 12's
_LEFT_OUT = (  # of third-party packages
    "*/tests/*",
    "*.pyi",
    "numpy/_core/include/*",
    "numpy/f2py/*",
    # one module per kind and verb, imported by name only, which raw requests never do: 65 MB
    "kubernetes/client/api/[!_]*",
    "kubernetes/client/models/[!_]*",
    "kubernetes/aio/client/api/[!_]*",
    "kubernetes/aio/client/models/[!_]*",
)
_OF_THE_INSTALLER = ("bin/*", ".lock", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED", "*.dist-info/direct_url.json")
_SCRIPT = """#!/opt/migsched/bin/python
from cli.__main__ import main

main()
"""


def install(requirements: Path, root: Path) -> None:
    """Put the wheels that a hashed lock names below `root`, without what no container needs.

    Raises ImageError where one is not to be had, or differs from its hash.
    """
    site = root / SITE
    site.mkdir(parents=True)
    _run(
        [
            *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps"),
            *("--link-mode=copy", "--only-binary=:all:", "--require-hashes", f"--python-version={VERSION}"),
            *(f"--python-platform={_GLIBC[oci_archive.architecture()]}", f"--target={site}"),
            f"--requirements={requirements}",
        ],
        what=f"installing {requirements.name}",
    )
    _leave_out(site, (*_LEFT_OUT, *_OF_THE_INSTALLER))


def build_wheel(place: Path) -> Path:
    """The product's wheel, built in `place`; the same sources give the same bytes.

    Raises ImageError where it cannot be built.
    """
    _run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)],
        what="building the wheel",
        SOURCE_DATE_EPOCH=str(oci_archive.EPOCH_S),
    )
    (wheel,) = place.glob("*.whl")
    return wheel


def install_product(wheel: Path, root: Path) -> None:
    """Put the product's wheel below `root`, with its programs and an environment of its own."""
    site = root / SITE
    site.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    programs = root / PROGRAMS
    programs.mkdir(parents=True)
    for name in SCRIPTS:
        (programs / name).write_text(_SCRIPT, encoding="ascii")
        (programs / name).chmod(0o755)
    (programs / "python").symlink_to(f"/{PYTHON}")
    configuration = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {VERSION}\n"
    (root / "opt/migsched/pyvenv.cfg").write_text(configuration, encoding="ascii")


def compile_bytecode(folder: Path, inside: Path, base: Path) -> None:
    """Compile all Python below `folder`, which containers see as `inside`, with the Python of the file system `base`.

    Raises ImageError where that Python does not run here, or finds what it cannot compile.
    """
    libraries = [str(path) for path in sorted((base / "usr/lib").glob("*-linux-gnu"))]
    (loader,) = (base / "usr/lib").glob("*-linux-gnu/ld-linux-*.so.*")
    _run(
        [
            *(str(loader), "--library-path", ":".join(libraries), str(base / PYTHON), "-S", "-m", "compileall", "-qq"),
            *("--invalidation-mode=unchecked-hash", "-s", str(folder), "-p", str(inside), "-j", "1", str(folder)),
        ],
        what=f"compiling {inside}",
        PYTHONHOME=str(base / "usr"),
        PYTHONHASHSEED="0",
        PYTHONDONTWRITEBYTECODE="1",
    )


def _leave_out(site: Path, patterns: Sequence[str]) -> None:
    for path in sorted(site.rglob("*"), reverse=True):
        name = path.relative_to(site).as_posix()
        if any(fnmatch(name, pattern) for pattern in patterns):
            path.unlink() if not path.is_dir() else shutil.rmtree(path)
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _run(command: Sequence[str], *, what: str, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command,
            cwd=_ROOT,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.ImageError(f"{what}: {error}") from error
    if done.returncode:
        raise errors.ImageError(f"{what} failed: {(done.stderr or done.stdout).strip()}")
