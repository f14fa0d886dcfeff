"""Fetches Debian packages with the machine's own `apt-get`. Called by `testbed.node.debian`, `testbed.browser`
and `testbed.image`.

Whatever sources the machine has are used, and apt checks packages against the distribution's signed lists. Nothing is
installed, and root is not needed. Machines without package lists (container images are often so) get some for the time
of the download.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed import errors

_TIMEOUT_S = 300.0


class AptError(errors.BuildError):
    """Packages could not be fetched or read; the message repeats the program's words."""


def download(packages: Sequence[str], directory: Path) -> None:
    """Fetch packages, `NAME` or `NAME=VERSION` each, into `directory`, as .deb files.

    Raises AptError where this is no Debian, or a package is not to be had.
    """
    _with_lists(directory, lambda options: _download(packages, directory, options))


def download_with_missing(packages: Sequence[str], directory: Path) -> None:
    """The same, with what they depend on and this machine has not installed.

    Raises AptError as `download` does.
    """

    def attempt(options: Sequence[str]) -> None:
        simulated = ["apt-get", *options, "--simulate", "--no-install-recommends", "install", *packages]
        lines = run(simulated, directory).splitlines()
        missing = {line.split()[1].partition(":")[0] for line in lines if line.startswith("Inst ")}
        _download(sorted(missing | set(packages)), directory, options)

    _with_lists(directory, attempt)


def _download(packages: Sequence[str], directory: Path, options: Sequence[str]) -> None:
    run(["apt-get", *options, "--quiet", "download", *packages], directory)


def _with_lists(directory: Path, attempt: Callable[[Sequence[str]], None]) -> None:
    """`attempt` with the machine's package lists, or with fresh ones where there are none or they are too old."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise AptError("can only be fetched with apt-get and dpkg on Debian or Ubuntu")
    try:
        attempt([])
    except AptError:
        lists = directory / "apt"
        options = _own_lists(lists)
        steps: dict[str, Callable[[], object]] = {
            "update": lambda: run(["apt-get", *options, "--quiet", "update"], directory),
            "download": lambda: attempt(options),
        }
        for name, step in steps.items():
            try:
                step()
            except AptError as error:
                raise AptError(f"apt-get {name} failed: {error}") from error
        shutil.rmtree(lists)


def run(command: Sequence[str], directory: Path) -> str:
    """Run a command in `directory` and return what it wrote to standard output.

    Raises AptError with what it wrote last where it failed or does not end.
    """
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise AptError(f"no end after {_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise AptError(str(error)) from error
    if done.returncode:
        raise AptError((done.stderr or done.stdout).strip() or f"exit status {done.returncode}")
    return done.stdout


def _own_lists(directory: Path) -> list[str]:
    """The options that make apt keep package lists in `directory` and leave the system's alone."""
    for name in ("lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True)
    return ["-o", f"Dir::State::Lists={directory / 'lists'}", "-o", f"Dir::Cache={directory / 'cache'}"]
