"""The node agent as a process of its own, on GPUs that another process simulates.

`python -m tests.e2e.real_node.agent_process SOCKET BOOT [STATE WHEN]`, with settings in MIGSCHED_AGENT_… as for
`migsched agent`, from which it differs only in where the GPUs are, and in that it can be told to die: with SIGKILL,
`before` or `after` the journal's first write in which some slice has come to that state. With a `driver_root` the GPUs
count as real: their device nodes and the driver's files are below it.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from config import fail_points
from node_agent import service, settings
from node_agent.slices import journal_file
from tests.e2e.real_node.hardware import RemoteDevices


def main(socket: str, boot: str, state: str = "", when: str = "") -> None:
    """Run the agent until SIGTERM."""
    if state:
        _die_at(state, when)
    fail_points.arm(os.environ)
    wanted = settings.load()
    simulated = wanted.driver_root is None
    asyncio.run(service.run(wanted, lambda: RemoteDevices(Path(socket)), boot=boot, simulated=simulated))


def _die_at(state: str, when: str) -> None:
    """Let the process kill itself as soon as a write brings a slice to a state it did not have."""
    write = journal_file.FileStore.write

    def in_state(content: bytes | None) -> set[tuple[str, str, int]]:
        slices = json.loads(content or b"{}").get("slices", [])
        return {(one["gpu"], one["profile"], one["start"]) for one in slices if one["state"] == state}

    def write_and_die(self: journal_file.FileStore, content: bytes) -> None:
        new = in_state(content) - in_state(self.read())
        if new and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, content)
        if new:
            os.kill(os.getpid(), signal.SIGKILL)

    journal_file.FileStore.write = write_and_die  # type: ignore[method-assign]  # in this process alone


if __name__ == "__main__":
    main(*sys.argv[1:])
