"""The journal keeps what is ill: written at once, gone with a reboot, absent for readers that do not know it."""

import json

import pytest

from node_agent.health import marks
from node_agent.health.faults import GpuFault
from node_agent.health.marks import Marks
from node_agent.health.policy import HealthPolicy
from node_agent.health.xids import FaultClass
from node_agent.slices.journal import Journal, JournalError
from tests.unit.node_agent.agent_on_node import MemoryStore

FAULT = GpuFault("GPU-0", FaultClass.GPU_RESET, "XID 79", "79", 79)
MARKS: Marks = marks.with_fault({}, FAULT, HealthPolicy(), (1, 2), whole=False, now="2026-11-23T12:00:00Z")


def loaded(store: MemoryStore, boot: str = "boot-1") -> Journal:
    """The journal of a new agent over what was written."""
    journal = Journal(store, boot)
    journal.load()
    return journal


def marked() -> MemoryStore:
    """A journal in which a GPU is ill."""
    store = MemoryStore()
    journal = loaded(store)
    journal.mark(MARKS)
    journal.keep_marks()
    return store


def test_what_fell_ill_is_written_at_once_and_once() -> None:
    """The driver reports it once; what is known already, or has ended, waits for the next write."""
    store = MemoryStore()
    journal = loaded(store)
    journal.keep_marks()
    assert store.writes == 0
    journal.mark(MARKS)
    journal.keep_marks()
    journal.keep_marks()
    assert store.writes == 1
    journal.mark({})
    journal.keep_marks()
    assert store.writes == 1
    journal.flush()
    assert loaded(store).marks == {}


def test_marks_are_read_back() -> None:
    """The next agent knows what the last one knew."""
    assert loaded(marked()).marks == MARKS


def test_a_reboot_ends_all_marks() -> None:
    """No GPU stays as it was."""
    assert loaded(marked(), "boot-2").marks == {}


def test_a_journal_without_marks_is_one_of_before() -> None:
    """An agent that does not know marks reads a journal in which nothing is ill, and the other way round."""
    store = MemoryStore()
    journal = loaded(store)
    journal.grant(("a",))
    journal.flush()
    assert store.content is not None
    assert set(json.loads(store.content)) == {"version", "boot", "grants"}
    store.content = b'{"version":1,"boot":"boot-1","slices":[],"grants":[]}'
    assert loaded(store).marks == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("gpu", ""), ("since", 5), ("causes", []), ("effect", "repair"), ("kind", "worse"), ("standing", [-1]), ("x", 1)],
)
def test_a_mark_that_cannot_be_meant_is_refused(field: str, value: object) -> None:
    """As everything in the journal: guessing could destroy a user's work."""
    store = marked()
    assert store.content is not None
    document = json.loads(store.content)
    document["marks"][0][field] = value
    store.content = json.dumps(document).encode()
    with pytest.raises(JournalError):
        loaded(store)
