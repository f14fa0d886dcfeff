"""Fetches the browser, telling the terminal about it; for `make browser`."""

import sys

from testbed import errors
from testbed.browser import build


def main() -> int:
    """The exit status. Where there can be no browser the tests of the page say so; in CI that fails."""
    try:
        chromium = build.ensure_installed(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 0
    print(chromium.executable)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
