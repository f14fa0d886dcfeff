"""Things made once and kept: programs built from Go sources, unpacked packages. Called by the `build` modules.

The cache is `.cache/` beside the repository's other files (the variable MIGSCHED_CACHE names another). What is made
appears in it by one rename, so its presence means that it is whole; a process that comes while it is being made waits.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from testbed import errors, go_toolchain
from testbed.progress import Progress

CACHE_VARIABLE = "MIGSCHED_CACHE"


_PROGRESS_S = 5.0
_HINTS = (  # what Go writes → what to do about it
    ("no space left on device", "the disk is full: a cold build needs about 5 GB for Go's caches and the programs"),
    ("signal: killed", "the compiler was killed, most likely for want of memory: 4 GB free are enough"),
    ("dial tcp", "the Go module proxy is not reachable: set GOPROXY to one that is"),
    ("proxyconnect", "the Go module proxy is not reachable: set GOPROXY to one that is"),
    ("checksum mismatch", "a module differs from go.sum: run `go clean -modcache`, or look at who changed it"),
)


def root() -> Path:
    """The folder for what can be made again: $MIGSCHED_CACHE, else `.cache` at the repository's root."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).absolute() if named else Path(__file__).parents[1] / ".cache"


def entry(finished: Path, make: Callable[[Path], None], tell: Progress, *, what: str) -> Path:
    """`finished`, having `make` fill it first where it is not there.

    `finished` is a folder; others beside it are other versions of the same thing. `make` fills the folder that it is
    given; what it raises is passed on, and nothing is kept. `tell` hears that another process is making it already;
    `what` is being made, for that message.

    Raises BuildError where the folder cannot be written to.
    """
    if not finished.is_dir():
        try:
            finished.parent.mkdir(parents=True, exist_ok=True)
            with locked(finished.parent / "lock", tell, what):
                _make(finished, make)
        except OSError as error:
            raise errors.BuildError(
                f"cannot write {what} to {finished}: {error.strerror or error}; {CACHE_VARIABLE} names another folder"
            ) from error
    return finished


def _make(finished: Path, make: Callable[[Path], None]) -> None:
    """Fill the folder, unless another process did while we waited for the lock."""
    if finished.is_dir():
        return
    for abandoned in finished.parent.glob("*.partial"):  # by makers that were killed: we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    partial = finished.with_name(f"{finished.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        make(partial)
        partial.rename(finished)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, tell: Progress, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel gives it up for us if we die."""
    with path.open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"another process is building {what}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile_go(
    command: Sequence[str], sources: Path, log: Path, tell: Progress, *, what: str, cgo: bool = False
) -> None:
    """Run `go build …` in `sources`, its output in `log`, and tell every few seconds how far it is. `cgo`: with C.

    Raises BuildError where it failed; the message says why and what to do, and names the log.
    """
    started = time.monotonic()
    with log.open("wb") as output:
        compiler = subprocess.Popen(
            command,
            cwd=sources,
            env=go_toolchain.environment(cgo=cgo),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while True:
            try:
                status = compiler.wait(_PROGRESS_S)
                break
            except subprocess.TimeoutExpired:
                tell(_progress_line(log, time.monotonic() - started))
    except BaseException:  # Ctrl-C: the compilers are in a group of their own
        os.killpg(compiler.pid, signal.SIGKILL)
        compiler.wait()
        raise
    if status:
        raise errors.BuildError(_explain(log, status, what))


def _progress_line(log: Path, elapsed_s: float) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    fetched = sum(line.startswith("go: downloading") for line in lines)
    return f"  {elapsed_s:4.0f} s: {fetched} modules fetched, {len(lines) - fetched} packages compiled"


def _explain(log: Path, status: int, what: str) -> str:
    written = log.read_text(encoding="utf-8", errors="replace")
    hints = [hint for sign, hint in _HINTS if sign in written]
    return errors.with_log(f"building {what} failed ({'; '.join(hints) or f'go exited {status}'})", log)
