"""What a cycle of the queue costs, and what the queue takes of memory, as the cluster grows.

Called by `migsched bench cycle` and `bench all` through `measure`. Each size runs in a process of its own.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.benchmark import Progress

NODES = (1_000, 5_000, 15_000)
QUEUED = 10_000


def measure(
    nodes: Sequence[int] = NODES, queued: int = QUEUED, progress: Progress = lambda _: None
) -> list[dict[str, Any]]:
    """Rows of `benchmarks.servers.queue_process`, for each number of nodes of 8 GPUs."""
    rows: list[dict[str, Any]] = []
    for number in nodes:
        progress(f"cycle: {number} nodes, {queued} queued pods")
        command = [sys.executable, "-m", "benchmarks.servers.queue_process", str(number), str(queued)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        rows += msgspec.json.decode(done.stdout, type=list[dict[str, Any]])
    return rows
