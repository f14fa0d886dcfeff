"""Builds the control plane's programs once into a cache. Called by `make control-plane`, `ControlPlane` and tests.

A build's folder in the cache is named after the hash of everything that goes into it. A cold build compiles some 2,800
Go packages and takes minutes; Go's own cache makes the next one, after a change to `go/`, a matter of seconds.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

Progress = Progress

_EXECUTABLE = "control-plane"
_WHAT = "the control plane"


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
        """The paths that the programs have in a build's folder."""
        return cls(**{field: directory / field.replace("_", "-") for field in cls.__slots__})

    def __iter__(self) -> Iterator[Path]:
        return (getattr(self, field) for field in self.__slots__)


def ensure_built(progress: Progress | None = None, *, sources: Path = SOURCES, cache: Path | None = None) -> Binaries:
    """The programs, building them first where this version of `sources` is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `sources` is a folder with go.mod,
    go.sum and the Go files; `cache` is the cache's root, in place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    built = (cache or build_cache.root()) / "control-plane" / key(sources)
    build_cache.entry(built, lambda partial: _build(sources, partial, built, tell), tell, what=_WHAT)
    return Binaries.within(built)


def key(sources: Path = SOURCES) -> str:
    """The name of a build: a hash over the sources and the way they are built.

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
    """The version of Kubernetes in go.mod, e.g. `v1.36.4`."""
    return _from_go_mod(sources, r"^\s*k8s\.io/kubernetes (v[\d.]+)$")


def _go_version(sources: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in _from_go_mod(sources, r"^go ([\d.]+)$").split("."))


def _from_go_mod(sources: Path, pattern: str) -> str:
    match = re.search(pattern, (sources / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise errors.BuildError(f"{sources / 'go.mod'} has no line like {pattern}")
    return match[1]


def _arguments(version: str) -> list[str]:
    """The arguments of `go`: without the version set, Kubernetes calls itself v0.0.0-master."""
    major, minor, _patch = version.removeprefix("v").split(".")
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    settings = " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())
    # -v writes each package as it is compiled, for the progress line; -buildvcs: our own commits do not matter to it
    return ["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", f"-s -w {settings}"]


def _platform() -> str:
    return f"{sys.platform}-{os.uname().machine}"


def _build(sources: Path, partial: Path, built: Path, tell: Progress) -> None:
    go = go_toolchain.ensure(_go_version(sources), built.parent, tell)
    started = time.monotonic()
    version = kubernetes_version(sources)
    tell(f"building etcd and Kubernetes {version} from source with {go}: minutes the first time, seconds later")
    command = [str(go), *_arguments(version), "-o", str(partial / _EXECUTABLE), "."]
    build_cache.compile_go(command, sources, built.with_suffix(".log"), tell, what=_WHAT)
    for link in Binaries.within(partial):
        link.symlink_to(_EXECUTABLE)
    tell(f"built Kubernetes {version} in {time.monotonic() - started:.0f} s: {built}")


def main() -> int:
    """Build, telling the terminal about it; for `make control-plane`."""
    try:
        programs = ensure_built(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - a command's output
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(programs.kubectl.parent)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
