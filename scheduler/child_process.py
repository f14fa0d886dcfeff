"""What every process that the service starts makes of itself: less important than the service, and bounded.

Called by the programs of the planner's workers and of the gateway, before they do anything else.
"""

import contextlib
import os
import resource
import signal
from pathlib import Path

_MIB = 2**20


def lower_priority(nice: int, memory_mib: int, oom_score_adj: int) -> None:
    """Take less of the machine than the service: of its processors, its memory and its disk.

    `memory_mib` bounds the address space. `oom_score_adj` is that of /proc/self/oom_score_adj, at most 1000.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then ends this process
    os.nice(nice)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib * _MIB, memory_mib * _MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not on every system, and nothing depends on it
        Path("/proc/self/oom_score_adj").write_text(str(oom_score_adj))
