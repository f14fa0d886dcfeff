"""The messages between the service and a worker process, over its standard input and output.

Each is its length in eight bytes, then its bytes. A job is pickled, since its task travels as a name to be imported;
an outcome is MessagePack and is checked, since what a worker says may be cut short.
"""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import IO

import msgspec

from scheduler.planner.port import PlannerJob, Task

HEAD = 8  # bytes of a length


class Done(msgspec.Struct, frozen=True, tag="done"):
    """An answer, as JSON."""

    answer: bytes


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The document cannot be meant: an InputError's parts, the value as text."""

    field: str
    shown: str
    fix: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The task raised something else; its traceback."""

    trace: str


class OutOfMemory(msgspec.Struct, frozen=True, tag="memory"):
    """The task met the worker's memory limit."""


Blocks = Sequence[bytes]
Outcome = Done | Refused | Failed | OutOfMemory

_OUTCOME: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)


def head(*blocks: bytes) -> bytes:
    """What goes before a message that consists of these blocks."""
    return sum(map(len, blocks)).to_bytes(HEAD, "big")


def read(stream: IO[bytes]) -> bytes | None:
    """The next message, None at the end of the stream or in the middle of a message."""
    length = stream.read(HEAD)
    if len(length) < HEAD:
        return None
    body = stream.read(int.from_bytes(length, "big"))
    return body if head(body) == length else None


def encode_job(task: Task, question: PlannerJob, left_s: float) -> tuple[Blocks, Blocks]:
    """A job as two messages: what to do, about what, and how many seconds are left; and the snapshot, if any."""
    return (pickle.dumps((task, replace(question, snapshot=None), left_s)),), question.snapshot or ()


def decode_job(body: bytes, snapshot: bytes) -> tuple[Task, PlannerJob, float]:
    """A job; imports the task's module. Only a worker does this, with what its own service sent."""
    task, question, left_s = pickle.loads(body)
    return task, replace(question, snapshot=(snapshot,) if snapshot else None), left_s


def encode_outcome(outcome: Outcome) -> bytes:
    """An outcome as bytes."""
    return msgspec.msgpack.encode(outcome)


def decode_outcome(body: bytes) -> Outcome:
    """An outcome. Raises msgspec.DecodeError for anything else."""
    return _OUTCOME.decode(body)
