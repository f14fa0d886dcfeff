"""A worker process of the planner: `python -m scheduler.planner.worker`, started by `process` and by nobody else.

It takes jobs from its standard input, one at a time, and writes outcomes to its standard output. It makes itself the
least important process around: lowest CPU priority, bounded memory, and first to go should memory run out. When its
standard input ends, because the service wants it to or is gone, it ends at once, in the middle of a job too.
"""

import argparse
import contextlib
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any

import msgspec

from allocator import errors
from allocator.claims import snapshot_file
from config import document_text
from scheduler.planner import messages
from scheduler.planner.messages import Done, Failed, Outcome, OutOfMemory, Refused
from scheduler.planner.port import JobContext, PlannerJob

MARGIN = (
    0.8  # of the time left is for the search: reading, other questions of the same document and the answer need some
)
_FIRST_TO_GO = "1000"  # /proc/self/oom_score_adj
_MIB = 2**20


def main() -> None:
    """Work until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--memory-mib", type=int, required=True)
    given = parser.parse_args()
    answers = _private_output()
    _be_humble(given.nice, given.memory_mib)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(received,), daemon=True).start()
    while True:
        outcome = messages.encode_outcome(perform(received.get(), received.get()))
        answers.write(messages.head(outcome) + outcome)
        answers.flush()


def perform(body: bytes, snapshot: bytes) -> Outcome:
    """Do one job, given by its two messages."""
    try:
        task, question, left_s = messages.decode_job(body, snapshot)
        saved = snapshot_file.decode(snapshot) if snapshot else None
        terms = JobContext(saved, question.catalogues, question.time_limit_s, MARGIN * left_s)
        return Done(msgspec.json.encode(task(read(question), terms)))
    except errors.InputError as error:
        return Refused(_plain(error.field), _plain(error.shown), _plain(error.fix))
    except RecursionError:
        return Refused("document", "…", "is nested too deeply")
    except UnicodeEncodeError as error:  # YAML can spell half a character, and an answer repeats names
        return Refused("document", ascii(error.object[error.start : error.end]), "must be text that UTF-8 can hold")
    except MemoryError:
        return OutOfMemory()
    except Exception:
        return Failed(traceback.format_exc())


def read(question: PlannerJob) -> Any:
    """The question's document; an empty one is an empty mapping. Raises InputError for what cannot be read."""
    if not question.document.strip():
        return {}
    try:
        text = question.document.decode()
    except UnicodeError as error:
        raise errors.InputError("document", _start(question.document), f"must be UTF-8 text: {error}") from error
    return (document_text.load_json if question.is_json else document_text.load)(text, "document")


def _plain(text: str) -> str:
    """Text that can be sent, whatever the document spelled."""
    return text.encode(errors="backslashreplace").decode()


def _start(document: bytes) -> str:
    return document[:40].decode(errors="replace")


def _listen(received: "queue.SimpleQueue[bytes]") -> None:
    while True:
        body = messages.read(sys.stdin.buffer)
        if body is None:
            os._exit(0)  # nobody waits for what is being worked out
        received.put(body)


def _private_output() -> IO[bytes]:
    """Standard output for outcomes alone: what a library prints goes to standard error."""
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return private


def _be_humble(nice: int, memory_mib: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then ends its workers
    os.nice(nice)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib * _MIB, memory_mib * _MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not on every system, and nothing depends on it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


if __name__ == "__main__":
    main()
