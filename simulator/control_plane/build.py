"""Builds the control plane's programs once into a cache. Called by `make control-plane`, `ControlPlane` and tests.

The cache is `.cache/control-plane/` beside the repository's other files (the variable MIGSCHED_CACHE names another
`.cache`). A build's folder is named after the hash of everything that goes into it and appears there by one rename, so
its presence means it is whole. A cold build compiles some 2,800 Go packages and takes minutes; Go's own cache makes the
next one, after a change to `go/`, a matter of seconds.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simulator.control_plane import errors, go_toolchain

SOURCES = Path(__file__).parent / "go"
CACHE_VARIABLE = "MIGSCHED_CACHE"

Progress = Callable[[str], None]

_EXECUTABLE = "control-plane"
_PROGRESS_SECONDS = 5.0
_HINTS = (  # what Go writes → what to do about it
    ("no space left on device", "the disk is full: a cold build needs about 5 GB for Go's caches and the programs"),
    ("signal: killed", "the compiler was killed, most likely for want of memory: 4 GB free are enough"),
    ("dial tcp", "the Go module proxy is not reachable: set GOPROXY to one that is"),
    ("proxyconnect", "the Go module proxy is not reachable: set GOPROXY to one that is"),
    ("checksum mismatch", "a module differs from go.sum: run `go clean -modcache`, or look at who changed it"),
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the programs, all links to one executable that goes by the name it is called by."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kubelet: Path
    kubectl: Path

    @classmethod
    def within(cls, directory: Path) -> "Binaries":
        """Return the paths that the programs have in a build's folder."""
        return cls(**{field: directory / field.replace("_", "-") for field in cls.__slots__})

    def __iter__(self) -> Iterator[Path]:
        return (getattr(self, field) for field in self.__slots__)


def ensure_built(progress: Progress | None = None, *, sources: Path = SOURCES, cache: Path | None = None) -> Binaries:
    """Return the programs, building them first where this version of `sources` is not in the cache yet.

    Args:
        progress: told one line every few seconds while there is something to wait for.
        sources: folder with go.mod, go.sum and the Go files.
        cache: the cache's root, in place of MIGSCHED_CACHE and `.cache`.

    Raises:
        BuildError: the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    root = (cache or cache_root()) / "control-plane"
    built = root / key(sources)
    if not built.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / "lock", tell):
            if not built.is_dir():  # somebody else may have built it while we waited
                _build(sources, built, tell)
    return Binaries.within(built)


def cache_root() -> Path:
    """Return the folder for what can be made again: $MIGSCHED_CACHE, else `.cache` at the repository's root."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).absolute() if named else SOURCES.parents[2] / ".cache"


def key(sources: Path = SOURCES) -> str:
    """Return the name of a build: a hash over the sources and the way they are built.

    Go's version is in it as go.mod's `go` line, so that a finished build is found again without asking Go.
    """
    digest = hashlib.sha256()
    for path in sorted([*sources.glob("*.go"), *sources.glob("go.*")]):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    digest.update(json.dumps([_arguments(kubernetes_version(sources)), _platform()]).encode())
    return digest.hexdigest()[:16]


def kubernetes_version(sources: Path = SOURCES) -> str:
    """Return the version of Kubernetes in go.mod, e.g. `v1.36.4`."""
    return _from_go_mod(sources, r"^\s*k8s\.io/kubernetes (v[\d.]+)$")


def _go_version(sources: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in _from_go_mod(sources, r"^go ([\d.]+)$").split("."))


def _from_go_mod(sources: Path, pattern: str) -> str:
    match = re.search(pattern, (sources / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise errors.BuildError(f"{sources / 'go.mod'} has no line like {pattern}")
    return match[1]


def _arguments(version: str) -> list[str]:
    """Return the arguments of `go`: without the version set, Kubernetes calls itself v0.0.0-master."""
    major, minor, _patch = version.removeprefix("v").split(".")
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    settings = " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())
    # -v writes each package as it is compiled, for the progress line; -buildvcs: our own commits do not matter to it
    return ["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", f"-s -w {settings}"]


def _platform() -> str:
    return f"{sys.platform}-{os.uname().machine}"


@contextlib.contextmanager
def _locked(path: Path, tell: Progress) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel gives it up for us if we die."""
    with path.open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process is building the control plane: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(sources: Path, built: Path, tell: Progress) -> None:
    for abandoned in built.parent.glob("*.partial"):  # of builds that were killed: we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    go = go_toolchain.ensure(_go_version(sources), built.parent, tell)
    partial = built.with_name(f"{built.name}.{os.getpid()}.partial")
    partial.mkdir()
    started = time.monotonic()
    version = kubernetes_version(sources)
    tell(f"building etcd and Kubernetes {version} from source with {go}: minutes the first time, seconds later")
    try:
        _compile(go, sources, partial / _EXECUTABLE, built.with_suffix(".log"), tell)
        for link in Binaries.within(partial):
            link.symlink_to(_EXECUTABLE)
        partial.rename(built)
    except OSError as exc:
        raise errors.BuildError(f"cannot write the programs to {built}: {exc.strerror}") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    tell(f"built Kubernetes {version} in {time.monotonic() - started:.0f} s: {built}")


def _compile(go: Path, sources: Path, executable: Path, log: Path, tell: Progress) -> None:
    command = [str(go), *_arguments(kubernetes_version(sources)), "-o", str(executable), "."]
    started = time.monotonic()
    with log.open("wb") as output:
        compiler = subprocess.Popen(
            command,
            cwd=sources,
            env=go_toolchain.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while True:
            try:
                status = compiler.wait(_PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                tell(_progress_line(log, time.monotonic() - started))
    except BaseException:  # Ctrl-C: the compilers are in a group of their own
        os.killpg(compiler.pid, signal.SIGKILL)
        compiler.wait()
        raise
    if status:
        raise errors.BuildError(_explain(log, status))


def _progress_line(log: Path, seconds: float) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    fetched = sum(line.startswith("go: downloading") for line in lines)
    return f"  {seconds:4.0f} s: {fetched} modules fetched, {len(lines) - fetched} packages compiled"


def _explain(log: Path, status: int) -> str:
    written = log.read_text(encoding="utf-8", errors="replace")
    hints = [hint for sign, hint in _HINTS if sign in written]
    return errors.with_log(f"building the control plane failed ({'; '.join(hints) or f'go exited {status}'})", log)


def main() -> int:
    """Build, telling the terminal about it; for `make control-plane`."""
    try:
        programs = ensure_built(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - a command's output
    except errors.BuildError as exc:
        print(exc, file=sys.stderr)  # noqa: T201
        return 1
    print(programs.kubectl.parent)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
