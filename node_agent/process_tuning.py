"""Process tuning: what the agent leaves to the workloads of its node, and how soon its threads run. Called by service.

Loading modules leaves holes in the C library's heap, a tenth of the process, that only `malloc_trim` gives back. And a
thread that computes lets another one have the interpreter after five milliseconds at the earliest, by default: an
Allocate, which passes through several threads, would wait that long at each of them.
"""

import ctypes
import gc
import sys

SWITCH_INTERVAL_S = 0.0005


def release_memory() -> None:
    """Give unused memory back, where the C library can; once everything is loaded."""
    gc.collect()
    gc.freeze()  # what was loaded stays: later collections need not look at it
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def shorten_switch_interval() -> None:
    """Let the interpreter change threads often. For the whole process."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
