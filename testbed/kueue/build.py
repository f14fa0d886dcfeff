"""Builds Kueue from its Go module, once into the cache, with the manifests of that version. Called by tests.

The manifests are copied from the module: Go's own cache need not be there when the program runs.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

_WHAT = "Kueue"
_MODULE = "sigs.k8s.io/kueue"
_PACKAGE = f"{_MODULE}/cmd/kueue"
_ARGUMENTS = ("build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly")
_MANIFESTS = ("crd/bases", "rbac", "webhook")  # of the module's config/components
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class KueueFiles:
    """The program and its manifests, in one folder."""

    directory: Path

    @property
    def program(self) -> Path:
        """Kueue's controller manager."""
        return self.directory / "kueue"

    def manifests(self, part: str) -> list[Path]:
        """The files of a part of config/components, such as `crd/bases`, sorted by name."""
        return sorted((self.directory / "config" / part).glob("*.yaml"))


def ensure_built(progress: Progress | None = None, *, cache: Path | None = None) -> KueueFiles:
    """The program, building it first where this version is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `cache` is the cache's root, in
    place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    finished = root / "kueue" / key()
    build_cache.entry(finished, lambda partial: _build(partial, finished, root, tell), tell, what=_WHAT)
    return KueueFiles(finished)


def key() -> str:
    """The name of a build: a hash over the sources and the way they are built."""
    digest = hashlib.sha256(json.dumps([sys.platform, os.uname().machine, _ARGUMENTS, _MANIFESTS]).encode())
    for path in sorted(SOURCES.glob("*.*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(partial: Path, finished: Path, root: Path, tell: Progress) -> None:
    needed = go_toolchain.from_go_mod(SOURCES / "go.mod", r"^go ([\d.]+)$")
    shared = root / "control-plane"  # one toolchain for all builds
    shared.mkdir(parents=True, exist_ok=True)
    with build_cache.locked(shared / "lock", tell, "with Go"):
        go = go_toolchain.ensure(tuple(int(part) for part in needed.split(".")), shared, tell)
    started = time.monotonic()
    tell(f"building {_WHAT} from source with {go}: minutes the first time, seconds later")
    command = [str(go), *_ARGUMENTS, "-ldflags", "-s -w", "-o", str(partial / "kueue"), _PACKAGE]
    build_cache.compile_go(command, SOURCES, finished.with_suffix(".log"), tell, what=_WHAT)
    for part in _MANIFESTS:
        _copy(_module(go) / "config" / "components" / part, partial / "config" / part)
    tell(f"built {_WHAT} in {time.monotonic() - started:.0f} s: {finished}")


def _module(go: Path) -> Path:
    """Where Go has unpacked the module; it is read-only."""
    done = subprocess.run(
        [go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", _MODULE],
        cwd=SOURCES,
        env=go_toolchain.environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode or not done.stdout.strip():
        raise errors.BuildError(f"go list -m {_MODULE}: {done.stderr.strip()}; correct {SOURCES / 'go.mod'}")
    return Path(done.stdout.strip())


def _copy(source: Path, to: Path) -> None:
    """Copy a folder's YAML files, with the rights of new files."""
    to.mkdir(parents=True)
    for path in source.glob("*.yaml"):
        shutil.copyfile(path, to / path.name)
