"""Builds containerd, two CNI plugins and `go/` once into the cache. Called by `make`, `RealNode` and tests.

All are pure Go and pinned by `go/go.mod` and `go/go.sum`, so they are the same on every distribution and nothing is
installed. A cold build takes two to three minutes on two cores.
"""

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

_WHAT = "containerd"
_TAGS = "no_btrfs,no_zfs,no_devmapper"  # snapshotters that need libraries or devices


@dataclass(frozen=True, slots=True)
class NodeBinaries:
    """Paths of the programs, all in one folder, so that containerd finds its shim on its PATH."""

    containerd: Path
    shim: Path
    ctr: Path
    namespaces: Path
    cni: Path  # the folder of the CNI plugins

    @classmethod
    def within(cls, directory: Path) -> "NodeBinaries":
        """The paths that the programs have in a build's folder."""
        return cls(
            containerd=directory / "containerd",
            shim=directory / "containerd-shim-runc-v2",
            ctr=directory / "ctr",
            namespaces=directory / "real-node",
            cni=directory,
        )


def ensure_built(
    progress: Progress | None = None, *, sources: Path = SOURCES, cache: Path | None = None
) -> NodeBinaries:
    """The programs, building them first where this version of `sources` is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `sources` is a folder with go.mod,
    go.sum and the Go files; `cache` is the cache's root, in place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    finished = root / "real-node" / key(sources)
    build_cache.entry(finished, lambda partial: _build(sources, partial, finished, root, tell), tell, what=_WHAT)
    return NodeBinaries.within(finished)


def key(sources: Path = SOURCES) -> str:
    """The name of a build: a hash over the sources and the way they are built."""
    digest = hashlib.sha256()
    for path in sorted([*sources.glob("*.go"), *sources.glob("go.*")]):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    platform = f"{sys.platform}-{os.uname().machine}"
    digest.update(json.dumps([_arguments(containerd_version(sources)), platform]).encode())
    return digest.hexdigest()[:16]


def containerd_version(sources: Path = SOURCES) -> str:
    """The version of containerd in go.mod, e.g. `2.4.2`."""
    return go_toolchain.from_go_mod(
        sources / "go.mod", r"^\s*github\.com/containerd/containerd/v2 v([\d.]+)(?: // indirect)?$"
    )


def _arguments(version: str) -> list[str]:
    """The arguments of `go`: our own program, and the programs of the `tool` lines in go.mod."""
    settings = f"-s -w -X github.com/containerd/containerd/v2/version.Version={version}"
    return ["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", _TAGS, "-ldflags", settings]


def _build(sources: Path, partial: Path, finished: Path, root: Path, tell: Progress) -> None:
    needed = tuple(int(part) for part in go_toolchain.from_go_mod(sources / "go.mod", r"^go ([\d.]+)$").split("."))
    shared = root / "control-plane"  # one toolchain for both builds
    shared.mkdir(parents=True, exist_ok=True)
    with build_cache.locked(shared / "lock", tell, "with Go"):
        go = go_toolchain.ensure(needed, shared, tell)
    started = time.monotonic()
    version = containerd_version(sources)
    tell(f"building containerd {version} from source with {go}: minutes the first time, seconds later")
    command = [str(go), *_arguments(version), "-o", f"{partial}/", ".", "tool"]
    build_cache.compile_go(command, sources, finished.with_suffix(".log"), tell, what=_WHAT)
    tell(f"built containerd {version} in {time.monotonic() - started:.0f} s: {finished}")
