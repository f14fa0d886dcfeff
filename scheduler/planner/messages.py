"""The messages between the service and a worker process, over its standard input and output. Of `process` and `worker`.

Framing: each message is its length in eight bytes, then its bytes. A job is pickled, since its task travels as a name
to be imported; an outcome is MessagePack and is checked, since what a worker writes may be cut short.
"""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import IO

import msgspec

from scheduler.planner.port import PlannerJob, Task

LENGTH_BYTES = 8


class Done(msgspec.Struct, frozen=True, tag="done"):
    """An answer, as JSON."""

    answer: bytes


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The document is not valid: an InputError's parts, the value as text."""

    field: str
    shown: str
    fix: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The task raised another exception; its traceback."""

    trace: str


class OutOfMemory(msgspec.Struct, frozen=True, tag="memory"):
    """The task met the worker's memory limit."""


Chunks = Sequence[bytes]  # a message in parts, so that a large one is never copied into one string
Outcome = Done | Refused | Failed | OutOfMemory

_OUTCOME: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)


def length_prefix(*chunks: bytes) -> bytes:
    """What goes before a message that consists of these chunks."""
    return sum(map(len, chunks)).to_bytes(LENGTH_BYTES, "big")


def read(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the stream ends, between two messages or inside one."""
    prefix = stream.read(LENGTH_BYTES)
    if len(prefix) < LENGTH_BYTES:
        return None
    message = stream.read(int.from_bytes(prefix, "big"))
    return message if length_prefix(message) == prefix else None


def encode_job(task: Task, job: PlannerJob, left_s: float) -> tuple[Chunks, Chunks]:
    """A job as two messages: the task, the job and how many seconds are left; then the snapshot, empty for none."""
    return (pickle.dumps((task, replace(job, snapshot=None), left_s)),), job.snapshot or ()


def decode_job(message: bytes) -> tuple[Task, PlannerJob, float]:
    """A job without its snapshot; imports the task's module. Only a worker calls this, with what its service sent."""
    task, job, left_s = pickle.loads(message)
    return task, job, left_s


def encode_outcome(outcome: Outcome) -> bytes:
    """An outcome as bytes."""
    return msgspec.msgpack.encode(outcome)


def decode_outcome(message: bytes) -> Outcome:
    """An outcome. Raises msgspec.DecodeError for anything else."""
    return _OUTCOME.decode(message)
