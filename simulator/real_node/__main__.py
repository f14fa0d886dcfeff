"""Builds and fetches what a real node needs, telling the terminal about it; for `make real-node`.

Where the machine cannot run a node anyway, it says why and makes nothing: the tests that need one skip.
"""

import sys

from allocator import errors
from simulator.real_node import build, debian, machine


def main() -> int:
    """Return the exit status: 0 also where there is nothing to make because no node could run."""
    lacks = machine.missing()
    if lacks:
        _say("no real node on this machine, and its tests will be skipped:", *(f"  - {lack}" for lack in lacks))
        return 0
    try:
        programs = build.ensure_built(_say)
        debian.ensure_installed(_say)
    except errors.MigschedError as exc:
        _say(str(exc))
        return 1
    print(programs.containerd.parent)  # noqa: T201 - a command's output
    return 0


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
