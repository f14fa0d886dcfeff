"""Builds the web page into the product's package; for `make web`."""

import sys

from testbed import errors
from testbed.web import build


def main() -> int:
    """The exit status."""
    try:
        build.build(build.BUILT, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - its output
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
