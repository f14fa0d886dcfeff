"""The port to work that is done elsewhere: what the API submits, what a task gets, and what can go wrong on the way.

Implemented by `pool`. A task is a function that a worker process can import by its name; the composition root brings
those that this room may not import, such as the simulation.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from allocator import errors
from allocator.claims.snapshot_file import Saved
from allocator.mig.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How much the planner may take; docs/settings.md explains each."""

    workers: int = 1
    queue: int = 4
    deadline_s: float = 60.0
    memory_mib: int = 1024
    nice: int = 19
    idle_s: float = 300.0

    @property
    def contended_s(self) -> float:
        """What one question may take while another client waits: so long that all who may wait have as much."""
        return self.deadline_s / (self.queue + 1)


@dataclass(frozen=True, slots=True)
class PlannerJob:
    """A document as it came, and what it is about.

    `is_json` says that the document is read as JSON, otherwise as YAML. `snapshot` is a snapshot file's text in chunks.
    `catalogues` are GPU models known beside the table. `time_limit_s` is how long the solver may search, None for the
    task's own default.
    """

    document: bytes
    is_json: bool = True
    snapshot: Sequence[bytes] | None = None
    catalogues: Mapping[str, Catalogue] = field(default_factory=dict)
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a task gets beside the document. `most_s` is what a search may take of the time left to the deadline."""

    saved: Saved | None
    catalogues: Mapping[str, Catalogue]
    asked_s: float | None
    most_s: float

    def time_limit_s(self, default_s: float) -> float:
        """How long to search: as asked or by default, and never past the deadline."""
        return min(default_s if self.asked_s is None else self.asked_s, self.most_s)


class Task(Protocol):
    """Work for a worker: a document in, an answer out that JSON can hold. A function at the top of a module.

    Raises InputError for a document that is not valid.
    """

    def __call__(self, document: Any, terms: JobContext) -> Any:
        """Do the work."""


@dataclass(frozen=True, slots=True)
class ServedTask:
    """A task that the API serves for another package, with the types of its document and its answer."""

    task: Task
    document: Any
    answer: Any


JobFactory = Callable[[], Awaitable[PlannerJob]]


class Planner(Protocol):
    """Where tasks are done."""

    async def submit(self, task: Task, make_job: JobFactory, client: str = "") -> bytes:
        """The answer as JSON. The job is made when it is its turn. To cancel is to stop the work.

        `client` says who asks: clients take turns. Raises DocumentError for what the task's InputError says, and the
        other PlannerErrors.
        """

    async def close(self) -> None:
        """Stop all work and give back what it takes; jobs in work or waiting end with ShuttingDownError."""


class PlannerError(errors.MigschedError):
    """A job has no answer."""


class DocumentError(PlannerError):
    """The document is not valid: the parts of the task's InputError, the value as text."""

    def __init__(self, field: str, shown: str, fix: str) -> None:
        super().__init__(f"{field}: {shown}: {fix}")
        self.field = field
        self.shown = shown
        self.fix = fix


class BusyError(PlannerError):
    """Too many jobs wait already; `retry_after_s` is about when the queue has room again."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"the planner is busy and {waiting} questions wait; ask again in about {retry_after_s} s")
        self.retry_after_s = retry_after_s


class PlannerDeadlineError(PlannerError):
    """The deadline came before the answer."""

    def __init__(self, deadline_s: float, waited_s: float, *, others_wait: bool = False) -> None:
        said = f"no answer within {deadline_s:g} s, {waited_s:.1f} s of them in the queue"
        if others_wait:
            said = f"no answer within {deadline_s:g} s, as long as one question may take while others wait"
        super().__init__(f"{said}; ask for less, or raise planner_deadline_s")


class TooLargeError(PlannerError):
    """The work needs more memory than a worker may have."""

    def __init__(self, memory_mib: int) -> None:
        super().__init__(f"the answer takes more than {memory_mib} MiB; ask for less, or raise planner_memory_mib")


class WorkerCrashedError(PlannerError):
    """The worker ended in the middle of the job."""


class ShuttingDownError(PlannerError):
    """The service is stopping."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; ask again")


class InternalError(PlannerError):
    """The task raised an unexpected exception; the log has it."""
