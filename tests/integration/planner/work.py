"""Tasks for tests of the planner's workers: each does one thing that real tasks do, or must never do."""

import ctypes
import os
import resource
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allocator import errors
from scheduler.planner.port import JobContext


def echo(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """What came, and from where it was answered."""
    return {
        "document": document,
        "pid": os.getpid(),
        "nice": os.nice(0),
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "limit_s": terms.time_limit_s(5.0),
        "models": sorted(terms.catalogues),
        "nodes": None if terms.saved is None else [node.name for node in terms.saved.snapshot.nodes],
    }


def refuse(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """Refuses every document."""
    raise errors.InputError("fleet[0].count", document, "write a number")


def descend(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """Follows a document down without end; names that it cannot encode end it."""
    str(document).encode() if isinstance(document, str) else [name.encode() for name in document]
    return descend(document, terms)


def fail(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """A defect."""
    raise RuntimeError("a defect")


def noisy(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """Writes to standard output, as libraries do."""
    os.write(1, b"presolve: 12 rows\n")
    print("solved")  # noqa: T201 - what it is about
    return {"said": True}


def hoard(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """Takes more memory than a worker may have."""
    return {"bytes": len(bytearray(8 * 2**30))}


def die(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """Ends as a crash in a library would."""
    os.kill(os.getpid(), signal.SIGABRT)
    raise AssertionError("alive")


def endless(document: Any, terms: JobContext) -> Mapping[str, Any]:
    """Says in a file that it began, then works until it is killed; no Python code runs meanwhile."""
    Path(document["began"]).write_text(str(os.getpid()))
    while True:
        ctypes.CDLL(None).sleep(1000)
        time.sleep(0)
