"""Builds and fetches what a real node needs, telling the terminal about it; for `make real-node`.

Where the machine cannot run a node, it says why and makes nothing: the tests that need one skip.
"""

import sys

from testbed import errors as control_plane_errors
from testbed.node import errors, preparation, toolkit


def main() -> int:
    """The exit status: 0 also where there is nothing to make because no node could run."""
    try:
        prepared = preparation.ensure(_say)
        if toolkit.can_be_built():
            toolkit.ensure_built(_say)
    except errors.MachineError as error:
        _say("no real node on this machine, and its tests will be skipped:", *(f"  - {need}" for need in error.missing))
        return 0
    except control_plane_errors.BuildError as error:
        _say(str(error))
        return 1
    print(prepared.programs.containerd.parent)  # noqa: T201 - a command's output
    return 0


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
