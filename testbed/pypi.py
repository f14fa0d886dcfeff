"""Programs that PyPI has, put into the cache by hashed requirements. Called by `web.node` and `scanner`."""

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from testbed import errors
from testbed.progress import Progress

_TIMEOUT_S = 300.0


def key(requirements: Path) -> str:
    """The name of what is installed by a file of requirements for this Python on this machine."""
    locked = requirements.read_bytes() + f"{platform.machine()} {sys.version_info[:2]}".encode()
    return hashlib.sha256(locked).hexdigest()[:16]


def install(directory: Path, requirements: Path, tell: Progress, *, what: str) -> None:
    """Install what a file of requirements names, each with its hash, into a folder.

    `what` it is, for messages. Raises BuildError where it cannot be fetched.
    """
    tell(f"fetching {what} from PyPI")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable] if uv else pip
    command += ["--require-hashes", "--target", str(directory), "--requirement", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise errors.BuildError(f"{what}: no end after {_TIMEOUT_S:g} s of {' '.join(command)}") from error
    if done.returncode:
        raise errors.BuildError(f"{what} cannot be fetched: {(done.stderr or done.stdout).strip()}")
