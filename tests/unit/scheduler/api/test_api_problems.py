"""Whatever keeps the planner from answering is one JSON shape with a documented status."""

from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from allocator.placement import policy
from kubeclient.changes import UnreadableObject
from scheduler.api import Context, build
from scheduler.api.documentation import EXAMPLES
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.feed import Feed
from scheduler.metrics import Metrics
from scheduler.page.repack_actions import RepackActions
from scheduler.planner.port import (
    BusyError,
    DocumentError,
    InternalError,
    JobFactory,
    PlannerDeadlineError,
    ShuttingDownError,
    Task,
    TooLargeError,
    WorkerCrashedError,
)
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer


class Failing:
    """A planner that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def submit(self, task: Task, make_job: JobFactory, client: str = "") -> bytes:
        """Raise."""
        del task, make_job, client
        raise self._error

    async def close(self) -> None:
        """Nothing to do."""


def client(error: Exception, unreadable: Callable[[], Iterable[UnreadableObject]] = tuple) -> httpx.AsyncClient:
    """A client of the API over a planner that raises this."""
    state, cluster = ClusterCache(policy.DEFAULT, lambda: None), MemoryCluster(MemoryServer())
    context = Context(
        state=state,
        metrics=Metrics(),
        ready=lambda: True,
        refresh=lambda: None,
        snapshots=Snapshots(state, cluster),
        planner=Failing(error),
        simulate=None,
        max_body=1000,
        feed=Feed(),
        repacks=RepackActions(state, cluster, None),
        unreadable=unreadable,
    )
    transport = httpx.ASGITransport(build(context), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://api")


PROBLEMS: list[tuple[Exception, int, dict[str, str]]] = [
    (BusyError(4, 30), 503, {"Retry-After": "30"}),
    (ShuttingDownError(), 503, {"Retry-After": "5"}),
    (PlannerDeadlineError(60, 12.3), 504, {}),
    (TooLargeError(1024), 413, {}),
    (WorkerCrashedError("the planner was killed (SIGKILL) before it had the answer; ask again"), 502, {}),
    (InternalError("the planner failed; see the log of the migsched scheduler"), 500, {}),
]


@pytest.mark.parametrize(("error", "status", "headers"), PROBLEMS, ids=[type(e).__name__ for e, *_ in PROBLEMS])
async def test_each_error_of_the_planner_is_a_documented_answer(
    error: Exception, status: int, headers: dict[str, str]
) -> None:
    """The status fits, the text is the error's, and the OpenAPI document has it as an example."""
    async with client(error) as asking:
        answer = await asking.post("/api/v1/plan", json={})
    assert (answer.status_code, answer.json()) == (status, {"detail": str(error)})
    assert {name: answer.headers.get(name) for name in headers} == headers
    assert answer.json() in [one.answer for one in EXAMPLES.problems[str(status)]]


async def test_a_document_that_cannot_be_meant_names_field_value_and_fix() -> None:
    """The parts of the refusal are fields of the answer."""
    async with client(DocumentError("demand", "[1]", "write a mapping")) as asking:
        answer = await asking.post("/api/v1/plan", json={})
    expected: dict[str, Any] = {"field": "demand", "value": "[1]", "fix": "write a mapping"}
    assert (answer.status_code, answer.json()) == (400, {"detail": "demand: [1]: write a mapping", **expected})


async def test_a_defect_says_no_more_than_where_to_look() -> None:
    """An unforeseen error is 500 without a traceback."""
    async with client(ZeroDivisionError("secret")) as asking:
        answer = await asking.post("/api/v1/plan", json={})
    assert (answer.status_code, "log" in answer.json()["detail"]) == (500, True)
    assert "secret" not in answer.text


@pytest.mark.parametrize("asked", ["default/deep", "deep", "uid-deep"])
async def test_a_pod_that_cannot_be_read_is_named(asked: str) -> None:
    """Asked about a pod that was left out, the API says that it is there and why it is not looked at."""
    left_out = UnreadableObject("default", "deep", "uid-deep", "is nested too deeply")
    async with client(BusyError(1, 1), unreadable=lambda: [left_out]) as api:
        answer = await api.get("/api/v1/explain", params={"pod": asked})
    assert answer.status_code == 404
    assert "default/deep is left out, since it cannot be read: is nested too deeply" in answer.text
