"""What can go wrong with the local control plane. Raised by this package, shown by the command line and by tests."""

from pathlib import Path

from allocator import errors

_SHOWN = 20  # lines of a log that a message repeats


class ControlPlaneError(errors.MigschedError):
    """The local control plane could not do what was asked."""


class BuildError(ControlPlaneError):
    """The programs could not be built: no Go, no modules, no room, or code that does not compile."""


class StartError(ControlPlaneError):
    """A program did not start, did not become ready in time, or died."""


class CommandError(ControlPlaneError):
    """kubectl answered with an error; the message repeats what it wrote."""


def with_log(problem: str, log: Path, *, offset: int = 0) -> str:
    """`problem` followed by the log's path and its last lines from byte `offset` on."""
    return f"{problem}; log: {log}\n{last_lines(log, offset=offset)}".rstrip()


def last_lines(log: Path, *, offset: int = 0) -> str:
    """The last lines of `log` from byte `offset` on, indented; empty where there is no such file."""
    try:
        written = log.read_bytes()[offset:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"  | {line}" for line in written.splitlines()[-_SHOWN:])
