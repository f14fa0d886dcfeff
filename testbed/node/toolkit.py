"""Builds NVIDIA's `nvidia-ctk` and `nvidia-cdi-hook` once into the cache. Called by tests of what containers are given.

The module that pins them is the one that the product's image is built from. nvidia-ctk binds to C, so a C compiler is
needed; neither needs a driver to be built, or to describe one by its files. A cold build takes a minute on two cores.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parents[2] / "deploy" / "images" / "toolkit"
COMPILER = "gcc"

_WHAT = "NVIDIA's container toolkit"
_MODULE = "github.com/NVIDIA/nvidia-container-toolkit/cmd"
_ARGUMENTS = ("build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly")
_STATIC = "-linkmode external -extldflags '-static -Wl,--unresolved-symbols=ignore-in-object-files'"
_LINKED = {"nvidia-ctk": "-s -w", "nvidia-cdi-hook": f"-s -w {_STATIC}"}  # the hook as in the image, for any host


@dataclass(frozen=True, slots=True)
class ToolkitPrograms:
    """Both programs, in one folder."""

    directory: Path

    @property
    def ctk(self) -> Path:
        """Describes the driver below a root as a CDI specification."""
        return self.directory / "nvidia-ctk"

    @property
    def hook(self) -> Path:
        """What the specification has the container runtime run."""
        return self.directory / "nvidia-cdi-hook"


def can_be_built() -> bool:
    """Whether this machine has a C compiler."""
    return shutil.which(COMPILER) is not None


def ensure_built(progress: Progress | None = None, *, cache: Path | None = None) -> ToolkitPrograms:
    """The programs, building them first where this version is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `cache` is the cache's root, in
    place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where there is no C compiler, or the build failed; the message says what to do.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    finished = root / "container-toolkit" / key()
    build_cache.entry(finished, lambda partial: _build(partial, finished, root, tell), tell, what=_WHAT)
    return ToolkitPrograms(finished)


def key() -> str:
    """The name of a build: a hash over the module and the way it is built."""
    how = json.dumps([sys.platform, os.uname().machine, _ARGUMENTS, _LINKED])
    digest = hashlib.sha256(how.encode())
    for path in sorted(SOURCES.glob("go.*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(partial: Path, finished: Path, root: Path, tell: Progress) -> None:
    if not can_be_built():
        raise errors.BuildError(f"{_WHAT} needs a C compiler to be built: install {COMPILER}")
    module = (SOURCES / "go.mod").read_text(encoding="utf-8")
    match = re.search(r"^go ([\d.]+)$", module, re.MULTILINE)
    needed = tuple(int(part) for part in match[1].split(".")) if match else (1, 26, 6)
    shared = root / "control-plane"  # one toolchain for all builds
    shared.mkdir(parents=True, exist_ok=True)
    with build_cache.locked(shared / "lock", tell, "with Go"):
        go = go_toolchain.ensure(needed, shared, tell)
    started = time.monotonic()
    tell(f"building {_WHAT} from source with {go}: a minute the first time, seconds later")
    for program, linked in _LINKED.items():
        command = [str(go), *_ARGUMENTS, "-ldflags", linked, "-o", f"{partial}/", f"{_MODULE}/{program}"]
        build_cache.compile_go(command, SOURCES, finished.with_suffix(f".{program}.log"), tell, what=program, cgo=True)
    tell(f"built {_WHAT} in {time.monotonic() - started:.0f} s: {finished}")
