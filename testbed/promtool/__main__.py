"""Builds promtool, telling the terminal about it; for `make promtool`."""

import sys

from testbed import errors
from testbed.promtool import build


def main() -> int:
    """The exit status."""
    try:
        programs = build.ensure_built(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - its output
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(programs.directory)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
