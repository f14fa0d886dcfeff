"""Which process a pid file means. Called by `processes`.

A pid is used again some time after its process ended, so a file with only a number could one day name a stranger. The
file also keeps the start time that the kernel reports (field 22 of /proc/PID/stat, in clock ticks since boot).
"""

import contextlib
import os
import select
import signal
from pathlib import Path

_START_TIME = 22 - 3  # index of the field behind the command name, which may itself hold spaces and parentheses
_END_S = 10.0


def write(path: Path, pid: int) -> None:
    """Write the pid file of a running child (not reaped, so it has a start time)."""
    path.write_text(f"{pid} {start_time(pid)}\n", encoding="ascii")


def start_time(pid: int) -> str | None:
    """When process `pid` started, in clock ticks since boot, or None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[_START_TIME]


def read_running(path: Path) -> int | None:
    """The pid in the file if that very process still exists, else None."""
    fields = path.read_text(encoding="ascii").split()
    match fields:
        case [pid, started] if pid.isdigit() and start_time(int(pid)) == started:
            return int(pid)
        case _:
            return None


def end_leftovers(directory: Path) -> list[int]:
    """SIGKILL the process group of every process that the pid files in `directory` still name; return their pids."""
    ended: list[int] = []
    for path in sorted(directory.glob("*.pid")):
        pid = read_running(path)
        if pid is not None and _end_group(pid):
            ended.append(pid)
        path.unlink(missing_ok=True)
    return ended


def _end_group(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            os.killpg(pid, signal.SIGKILL)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(_END_S * 1000))
        finally:
            os.close(descriptor)
    return False
