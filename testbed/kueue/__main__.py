"""Builds Kueue, telling the terminal about it; for `make kueue`."""

import sys

from testbed import errors
from testbed.kueue import build


def main() -> int:
    """The exit status."""
    try:
        made = build.ensure_built(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - its output
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(made.directory)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
