"""The queue's order, its gangs, and the one table of what may happen to a queued pod."""

from pathlib import Path

import pytest

from allocator import errors
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.queueing.gang import Gang
from allocator.queueing.life import TRANSITIONS, QueueEvent, QueueState
from allocator.queueing.pod_queue import PodQueue
from allocator.queueing.queued_pod import QueuedPod
from tests.builders import request

DOCS = Path(__file__).parents[4] / "docs"


def queued(
    name: str, *, priority: int = 0, created: str = "2026-01-01T00:00:00Z", gang: Gang | None = None
) -> QueuedPod:
    asks = PodConstraints(requests=Amounts(1_000, 2, 3, 1))
    return QueuedPod(f"uid-{name}", "default", name, "1", priority, created, request("1g.5gb"), asks, gang=gang)


def names(queue: PodQueue) -> list[list[str]]:
    return [[pod.name for pod in unit] for unit in queue.waiting()]


def test_the_more_important_come_first_then_the_older() -> None:
    """Priority decides, then age, then the name."""
    queue = PodQueue()
    for pod in (
        queued("young", created="2026-01-02T00:00:00Z"),
        queued("b"),
        queued("a"),
        queued("urgent", priority=9, created="2026-01-03T00:00:00Z"),
    ):
        queue.add(pod)
    assert names(queue) == [["urgent"], ["a"], ["b"], ["young"]]
    assert queue.position("uid-b") == 2


def test_a_gang_waits_for_its_last_pod_and_stands_where_its_first_stands() -> None:
    """An incomplete gang is not placed; a complete one is one unit."""
    gang, queue = Gang("default", "g", 2), PodQueue()
    queue.add(queued("first", gang=gang))
    queue.add(queued("single"))
    assert names(queue) == [["single"]]
    assert queue.missing(gang) == 1
    queue.add(queued("second", gang=gang))
    assert names(queue) == [["first", "second"], ["single"]]


def test_a_bound_member_counts_and_its_successor_is_placed_alone() -> None:
    """Members that have their nodes make a gang complete."""
    gang, queue = Gang("default", "g", 2), PodQueue()
    for name in ("first", "second"):
        queue.add(queued(name, gang=gang))
        queue.apply(f"uid-{name}", QueueEvent.HOLD, node="n")
        queue.apply(f"uid-{name}", QueueEvent.BIND)
    queue.end("uid-first")
    queue.add(queued("third", gang=gang))
    assert names(queue) == [["third"]]


@pytest.mark.parametrize("state", QueueState)
@pytest.mark.parametrize("event", QueueEvent)
def test_only_what_the_table_has_may_happen(state: QueueState, event: QueueEvent) -> None:
    """Every other event raises and changes nothing."""
    queue = PodQueue()
    start = queued("a")
    holds = state in (QueueState.HELD, QueueState.RELEASED)
    start = QueuedPod(
        **{**{name: getattr(start, name) for name in start.__slots__}, "state": state, "node": "n" * holds}
    )
    queue.add(start)
    if (state, event) in TRANSITIONS:
        after = queue.apply(start.uid, event, node="n")
        assert (after.state if after else None) is TRANSITIONS[state, event]
    else:
        with pytest.raises(errors.LedgerError):
            queue.apply(start.uid, event, node="n")
        assert queue.get(start.uid) == start
    queue.check()


def test_pods_on_their_way_to_a_node_are_counted_there() -> None:
    """From the hold to the Binding a pod's CPU and memory count on its node."""
    queue = PodQueue()
    queue.add(queued("a"))
    assert queue.amounts_on("n") == Amounts()
    queue.apply("uid-a", QueueEvent.HOLD, node="n")
    assert queue.amounts_on("n") == Amounts(1_000, 2, 3, 1)
    queue.apply("uid-a", QueueEvent.GIVE_UP)
    assert queue.amounts_on("n") == Amounts()


def test_the_page_draws_the_table() -> None:
    """The diagram in docs/queue.md has the table's arrows and no others."""
    page = (DOCS / "queue.md").read_text(encoding="utf-8")
    block = page.partition("stateDiagram-v2\n")[2].partition("```")[0]
    drawn = {line.strip() for line in block.splitlines() if line.strip()} - {"[*] --> queued"}
    arrows = {
        f"{state.value} --> {after.value if after else '[*]'}: {event.value}"
        for (state, event), after in TRANSITIONS.items()
        if after is not state
    }
    assert drawn == arrows
