"""Builds the control plane's programs once into a cache. Called by `make control-plane`, `ControlPlane` and tests.

A build's folder in the cache is named after the hash of everything that goes into it, so the builds of several versions
of Kubernetes lie side by side. A cold build compiles some 2,800 Go packages and takes minutes; Go's own cache makes the
next one, after a change to `go/`, a matter of seconds.

`go/go.mod` names the version of Kubernetes that is built; `go/kubernetes-vX.Y.Z.mod`, each with its `.sum`, are others.
MIGSCHED_KUBERNETES chooses one of them.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

Progress = Progress

VERSION_VARIABLE = "MIGSCHED_KUBERNETES"

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

    Raises BuildError where the build failed, or MIGSCHED_KUBERNETES names a version that `sources` does not have; the
    message says why and what to do, and names the log of a build.
    """
    tell = progress or (lambda _line: None)
    built = (cache or build_cache.root()) / "control-plane" / key(sources)
    build_cache.entry(built, lambda partial: _build(sources, partial, built, tell), tell, what=_WHAT)
    return Binaries.within(built)


def key(sources: Path = SOURCES) -> str:
    """The name of a build: a hash over the sources and the way they are built.

    Go's version is in it as go.mod's `go` line, so that a finished build is found again without asking Go.
    """
    module = _module_file(sources)
    digest = hashlib.sha256()
    modules = [*sources.glob("go.*")] if module.name == "go.mod" else [module, module.with_suffix(".sum")]
    for path in sorted([*sources.glob("*.go"), *modules]):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    digest.update(json.dumps([_arguments(module), _platform()]).encode())
    return digest.hexdigest()[:16]


def kubernetes_version(sources: Path = SOURCES) -> str:
    """The version of Kubernetes that is built: MIGSCHED_KUBERNETES's, else `default_version`.

    Raises BuildError where MIGSCHED_KUBERNETES names a version that `sources` does not have.
    """
    return _required(_module_file(sources))


def default_version(sources: Path = SOURCES) -> str:
    """The version of Kubernetes in go.mod, e.g. `v1.37.2`."""
    return _required(sources / "go.mod")


def versions(sources: Path = SOURCES) -> tuple[str, ...]:
    """The versions of Kubernetes that there are, e.g. `v1.36.4`; the one in go.mod first."""
    return (default_version(sources), *sorted(_required(path) for path in sources.glob("kubernetes-v*.mod")))


def _module_file(sources: Path) -> Path:
    """The go.mod of the version that is built, or the file in its place."""
    named = os.environ.get(VERSION_VARIABLE)
    if not named:
        return sources / "go.mod"
    wanted = f"v{named.removeprefix('v')}"
    there = versions(sources)
    if wanted not in there:
        fix = "use one of " + ", ".join(version.removeprefix("v") for version in there)
        raise errors.BuildError(f"{VERSION_VARIABLE}: there is no Kubernetes {named!r} in {sources}: {fix}")
    return sources / ("go.mod" if wanted == there[0] else f"kubernetes-{wanted}.mod")


def _required(module: Path) -> str:
    return go_toolchain.from_go_mod(module, r"^\s*k8s\.io/kubernetes (v[\w.-]+)$")


def _go_version(module: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in go_toolchain.from_go_mod(module, r"^go ([\d.]+)$").split("."))


def _arguments(module: Path) -> list[str]:
    """The arguments of `go`: without the version set, Kubernetes calls itself v0.0.0-master."""
    version = _required(module)
    major, minor = version.removeprefix("v").split(".")[:2]
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    settings = " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())
    # -v writes each package as it is compiled, for the progress line; -buildvcs: our own commits do not matter to it
    other = [] if module.name == "go.mod" else [f"-modfile={module.name}"]  # go finds the .sum beside it
    return ["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", *other, "-ldflags", f"-s -w {settings}"]


def _platform() -> str:
    return f"{sys.platform}-{os.uname().machine}"


def _build(sources: Path, partial: Path, built: Path, tell: Progress) -> None:
    module = _module_file(sources)
    go = go_toolchain.ensure(_go_version(module), built.parent, tell)
    started = time.monotonic()
    version = _required(module)
    tell(f"building etcd and Kubernetes {version} from source with {go}: minutes the first time, seconds later")
    command = [str(go), *_arguments(module), "-o", str(partial / _EXECUTABLE), "."]
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
