"""Where `migsched` begins: only what it takes to end quietly when Ctrl-C comes while the libraries are loading."""

import sys

_INTERRUPTED = 128 + 2  # what a shell says of a program that SIGINT ended


def main() -> None:
    """Load the command line and run it."""
    try:
        from cli import main as command_line  # most of the time it takes to start

        command_line.main()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
