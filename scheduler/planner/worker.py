"""A worker process of the planner: `python -m scheduler.planner.worker`, started by `process` only.

It takes jobs from its standard input, one at a time, and writes outcomes to its standard output. Before its first job
it makes itself the least important process of the machine: low CPU priority, bounded memory, and the first to be killed
where memory runs out. Where its standard input ends, because the service closed it or is gone, it ends at once, also in
the middle of a job.
"""

import argparse
import os
import queue
import sys
import threading
import traceback
from typing import IO, Any

import msgspec

from allocator import errors
from allocator.claims import snapshot_file
from config import document_text
from scheduler.child_process import lower_priority
from scheduler.planner import messages
from scheduler.planner.messages import Done, Failed, Outcome, OutOfMemory, Refused
from scheduler.planner.port import JobContext, PlannerJob

# The search gets this share of the time left: reading, further searches for one document and the answer need the rest.
SEARCH_SHARE = 0.8
_OOM_SCORE_ADJ_MAX = 1000  # of /proc/self/oom_score_adj


def main() -> None:
    """Work until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--memory-mib", type=int, required=True)
    arguments = parser.parse_args()
    outcomes = _take_standard_output()
    lower_priority(arguments.nice, arguments.memory_mib, _OOM_SCORE_ADJ_MAX)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(received,), daemon=True).start()
    while True:
        outcome = messages.encode_outcome(perform(received.get(), received.get()))
        outcomes.write(messages.length_prefix(outcome))
        outcomes.write(outcome)
        outcomes.flush()
        del outcome  # an idle worker does not keep a large answer


def perform(message: bytes, snapshot: bytes) -> Outcome:
    """Do one job, given by its two messages."""
    try:
        task, job, left_s = messages.decode_job(message)
        saved = snapshot_file.decode(snapshot) if snapshot else None
        terms = JobContext(saved, job.catalogues, job.time_limit_s, SEARCH_SHARE * left_s)
        return Done(msgspec.json.encode(task(read(job), terms)))
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


def read(job: PlannerJob) -> Any:
    """The job's document; an empty one is an empty mapping. Raises InputError for what cannot be read."""
    if not job.document.strip():
        return {}
    try:
        text = job.document.decode()
    except UnicodeError as error:
        raise errors.InputError("document", _start(job.document), f"must be UTF-8 text: {error}") from error
    return (document_text.load_json if job.is_json else document_text.load)(text, "document")


def _plain(text: str) -> str:
    """Text that can be sent, whatever the document spelled."""
    return text.encode(errors="backslashreplace").decode()


def _start(document: bytes) -> str:
    return document[:40].decode(errors="replace")


def _listen(received: "queue.SimpleQueue[bytes]") -> None:
    while (message := messages.read(sys.stdin.buffer)) is not None:
        received.put(message)
        del message  # an idle worker does not keep a large snapshot
    os._exit(0)  # no process waits for the answer


def _take_standard_output() -> IO[bytes]:
    """Standard output, for outcomes alone; from now on, what a library prints there goes to standard error."""
    outcomes = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return outcomes


if __name__ == "__main__":
    main()
