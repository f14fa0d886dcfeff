"""Builds `promtool`, and `selectors`, which asks Prometheus' parser, once into the cache. Called by tests.

promtool checks and tries rules and lints metrics; `go/main.go` says what `selectors` does. Both are built without
Prometheus' service discoveries, of which none is needed to read a file: that is most of its modules.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

_WHAT = "promtool"
_TIMEOUT_S = 60.0
_ARGUMENTS = ("build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", "remove_all_sd")
_PACKAGES = {"promtool": "github.com/prometheus/prometheus/cmd/promtool", "selectors": "."}


@dataclass(frozen=True, slots=True)
class PromPrograms:
    """Both programs, in one folder."""

    directory: Path

    def promtool(self, *arguments: str, standard_input: bytes = b"") -> "subprocess.CompletedProcess[str]":
        """Run promtool; what it wrote is text, both streams in `stdout`."""
        return subprocess.run(
            [self.directory / "promtool", *arguments],
            input=standard_input.decode(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def selectors(self, expressions: Sequence[str]) -> list[dict[str, Any]]:
        """What each PromQL expression selects, as `go/main.go` says."""
        done = subprocess.run(
            [self.directory / "selectors"],
            input=json.dumps(list(expressions)).encode(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers


def ensure_built(progress: Progress | None = None, *, cache: Path | None = None) -> PromPrograms:
    """The programs, building them first where this version is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `cache` is the cache's root, in
    place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    finished = root / "promtool" / key()
    build_cache.entry(finished, lambda partial: _build(partial, finished, root, tell), tell, what=_WHAT)
    return PromPrograms(finished)


def key() -> str:
    """The name of a build: a hash over the sources and the way they are built."""
    digest = hashlib.sha256(json.dumps([sys.platform, os.uname().machine, _ARGUMENTS, _PACKAGES]).encode())
    for path in sorted(SOURCES.glob("*.*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(partial: Path, finished: Path, root: Path, tell: Progress) -> None:
    match = re.search(r"^go ([\d.]+)$", (SOURCES / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise errors.BuildError(f"{SOURCES / 'go.mod'} does not say which Go it needs: add a line `go 1.26.0`")
    shared = root / "control-plane"  # one toolchain for all builds
    shared.mkdir(parents=True, exist_ok=True)
    with build_cache.locked(shared / "lock", tell, "with Go"):
        go = go_toolchain.ensure(tuple(int(part) for part in match[1].split(".")), shared, tell)
    started = time.monotonic()
    tell(f"building {_WHAT} from source with {go}: minutes the first time, seconds later")
    for program, package in _PACKAGES.items():
        command = [str(go), *_ARGUMENTS, "-ldflags", "-s -w", "-o", str(partial / program), package]
        build_cache.compile_go(command, SOURCES, finished.with_suffix(f".{program}.log"), tell, what=program)
    tell(f"built {_WHAT} in {time.monotonic() - started:.0f} s: {finished}")
