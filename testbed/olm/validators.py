"""Operator Framework's own validators of bundles, built once into the cache. Called by tests; `go/main.go` says how.

`go/go.mod` pins the module operator-framework/api. `opm`, which validates catalogues too, is in operator-registry,
which is not used: tests check catalogues by a schema of our own.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import build_cache, errors, go_toolchain
from testbed.progress import Progress

SOURCES = Path(__file__).parent / "go"

_WHAT = "OLM's validators"
_PROGRAM = "validators"
_TIMEOUT_S = 60.0
_ARGUMENTS = ("build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", "-s -w")


@dataclass(frozen=True, slots=True)
class OlmValidators:
    """The built program."""

    program: Path

    def judge(self, bundle: Path) -> list[str]:
        """What they say against a bundle's folder, errors and warnings as text.

        Raises CommandError where the folder cannot be read as a bundle.
        """
        done = subprocess.run(
            [self.program, str(bundle)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise errors.CommandError(f"{done.stderr.strip()}; make bundle writes the folder again")
        verdicts: list[dict[str, Any]] = json.loads(done.stdout)
        return [f"{one['name']}: {said}" for one in verdicts for said in (*one["errors"], *one["warnings"])]


def ensure_built(progress: Progress | None = None, *, cache: Path | None = None) -> OlmValidators:
    """The validators, building them first where this version is not in the cache yet.

    `progress` hears one line every few seconds while there is something to wait for. `cache` is the cache's root, in
    place of MIGSCHED_CACHE and `.cache`.

    Raises BuildError where the build failed; the message says why and what to do, and names the log.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    finished = root / "olm" / key()
    build_cache.entry(finished, lambda partial: _build(partial, finished, root, tell), tell, what=_WHAT)
    return OlmValidators(finished / _PROGRAM)


def key() -> str:
    """The name of a build: a hash over the sources and the way they are built."""
    digest = hashlib.sha256(json.dumps([sys.platform, os.uname().machine, _ARGUMENTS]).encode())
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
    tell(f"building {_WHAT} from source with {go}: a minute the first time, seconds later")
    command = [str(go), *_ARGUMENTS, "-o", str(partial / _PROGRAM), "."]
    build_cache.compile_go(command, SOURCES, finished.with_suffix(".log"), tell, what=_WHAT)
    tell(f"built {_WHAT} in {time.monotonic() - started:.0f} s: {finished}")


def main() -> int:
    """Build, telling the terminal about it; for `make olm-validators`."""
    try:
        built = ensure_built(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - a command's output
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(built.program)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
