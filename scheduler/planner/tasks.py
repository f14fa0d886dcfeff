"""The tasks of this room: plan, capacity and repack, exactly as the commands of these names answer, and remedy.

Each imports its part of the allocator when it is called: the solver is loaded in a worker, never in the service.
"""

from typing import Any

from allocator import errors
from scheduler.planner.port import JobContext


def plan(document: Any, terms: JobContext) -> Any:
    """`migsched plan`, which also knows the GPU models of the cluster."""
    from allocator.planning import plan as answers

    return answers.answer(document, terms.time_limit_s(answers.DEFAULT_TIME_LIMIT_S), terms.catalogues)


def capacity(document: Any, terms: JobContext) -> Any:
    """`migsched capacity` on the cluster, or on the fleet that the document describes."""
    from allocator.planning import capacity as answers

    limit_s = terms.time_limit_s(answers.DEFAULT_TIME_LIMIT_S)
    return answers.answer(document, terms.saved, limit_s, terms.catalogues)


def repack(document: Any, terms: JobContext) -> Any:
    """`migsched repack` on the cluster. Raises InputError where no snapshot came with the job."""
    from allocator.planning import repack as answers

    if terms.saved is None:
        raise errors.InputError("snapshot", None, "is missing; a repack is about a cluster")
    return answers.answer(document, terms.saved, terms.time_limit_s(answers.DEFAULT_TIME_LIMIT_S))


def remedy(document: Any, terms: JobContext) -> Any:
    """What would make room for a pod of the cluster. Raises InputError where no snapshot came with the job."""
    from allocator.planning import remedy as answers

    if terms.saved is None:
        raise errors.InputError("snapshot", None, "is missing; a remedy is about a cluster")
    return answers.answer(document, terms.saved, terms.time_limit_s(answers.DEFAULT_TIME_LIMIT_S), terms.catalogues)
