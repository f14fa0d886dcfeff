"""Builds Helm once into the cache. Called by `make helm` and by tests of deploy/chart.

Pure Go, pinned by `go/go.mod` and `go/go.sum`. A cold build takes minutes; it shares compiled packages with the control
plane, whose version of Kubernetes' libraries it uses.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

_WHAT = "Helm"
_PACKAGE = "helm.sh/helm/v3/cmd/helm"


def ensure_built(progress: Progress | None = None, *, sources: Path = SOURCES, cache: Path | None = None) -> Path:
    """The path of `helm`, building it first where this version is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `sources` is a folder with go.mod
    and go.sum; `cache` is the cache's root, in place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    finished = root / "helm" / key(sources)
    build_cache.entry(finished, lambda partial: _build(sources, partial, finished, root, tell), tell, what=_WHAT)
    return finished / "helm"


def key(sources: Path = SOURCES) -> str:
    """The name of a build: a hash over the module and the way it is built."""
    how = json.dumps([sys.platform, os.uname().machine, _arguments(sources)])
    digest = hashlib.sha256(how.encode())
    for path in sorted(sources.glob("go.*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def helm_version(sources: Path = SOURCES) -> str:
    """The version of Helm in go.mod, e.g. `v3.22.0`."""
    return go_toolchain.from_go_mod(sources / "go.mod", r"^\s*helm\.sh/helm/v3 (v[\d.]+)(?: // indirect)?$")


def _arguments(sources: Path) -> list[str]:
    """The arguments of `go`: without the versions set, Helm calls itself v3 and takes the cluster for an old one."""
    minor = go_toolchain.from_go_mod(sources / "go.mod", r"^\s*k8s\.io/client-go v0\.(\d+)\.\d+(?: // indirect)?$")
    values = {"internal/version.version": helm_version(sources)}
    for package in ("chartutil", "lint/rules"):
        values |= {f"pkg/{package}.k8sVersionMajor": "1", f"pkg/{package}.k8sVersionMinor": minor}
    settings = " ".join(f"-X helm.sh/helm/v3/{name}={value}" for name, value in values.items())
    return ["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", f"-s -w {settings}"]


def _build(sources: Path, partial: Path, finished: Path, root: Path, tell: Progress) -> None:
    needed = tuple(int(part) for part in go_toolchain.from_go_mod(sources / "go.mod", r"^go ([\d.]+)$").split("."))
    shared = root / "control-plane"  # one toolchain for all builds
    shared.mkdir(parents=True, exist_ok=True)
    with build_cache.locked(shared / "lock", tell, "with Go"):
        go = go_toolchain.ensure(needed, shared, tell)
    started = time.monotonic()
    version = helm_version(sources)
    tell(f"building Helm {version} from source with {go}: minutes the first time, seconds later")
    command = [str(go), *_arguments(sources), "-o", f"{partial}/", _PACKAGE]
    build_cache.compile_go(command, sources, finished.with_suffix(".log"), tell, what=_WHAT)
    tell(f"built Helm {version} in {time.monotonic() - started:.0f} s: {finished}")


def main() -> int:
    """Build, telling the terminal about it; for `make helm`."""
    try:
        program = ensure_built(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - a command's output
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(program)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
