"""The node agent as a process of its own, on GPUs that another process simulates.

`python -m tests.e2e.real_node.agent_process SOCKET BOOT`, with settings in MIGSCHED_AGENT_… as for `migsched agent`,
from which it differs only in where the GPUs are.
"""

import asyncio
import sys
from pathlib import Path

from node_agent import service, settings
from tests.e2e.real_node.hardware import RemoteDevices


def main(socket: str, boot: str) -> None:
    """Run the agent until SIGTERM."""
    asyncio.run(service.run(settings.load(), lambda: RemoteDevices(Path(socket)), boot=boot, simulated=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
