"""Which marks a fault makes, and which event ends which: the table of ends, event by event."""

import itertools

import msgspec
import pytest

from node_agent.health import marks, stored
from node_agent.health.faults import GpuFault
from node_agent.health.marks import End, Mark, Marks, Subject
from node_agent.health.policy import Effect, HealthPolicy
from node_agent.health.stored import StoredMark
from node_agent.health.xids import FaultClass

GPU = "GPU-0"
NOW = "2026-11-23T12:00:00Z"
CASES = tuple(marks.ENDS)


def fault(fault_class: FaultClass, xid: int = 94, gi_id: int | None = None) -> GpuFault:
    """A fault of a class."""
    return GpuFault(GPU, fault_class, f"XID {xid}", str(xid), xid, gi_id)


def ill(subject: Subject, effect: Effect, energy_mj: int | None = 100) -> Marks:
    """One mark of a GPU with instances 1 and 2, after its counter was noted."""
    policy = HealthPolicy(application=effect, gpu_reset=effect)
    fault_class = FaultClass.GPU_RESET if subject is Subject.GPU else FaultClass.APPLICATION
    gi_id = 1 if subject is Subject.SLICE else None
    whole = subject is Subject.WHOLE_GPU
    standing = () if whole else (1, 2)
    made = marks.with_fault({}, fault(fault_class, gi_id=gi_id), policy, standing, whole=whole, now=NOW)
    (mark,) = made.values()
    assert (mark.subject, mark.effect) == (subject, effect)
    return marks.after_reading(made, GPU, standing, energy_mj)


def ended(before: Marks, end: End) -> bool:
    """Whether an event ends the only mark."""
    (mark,) = before.values()
    standing = (1, 2) if mark.standing or mark.gi_id else ()
    after: Marks
    if end is End.DESTROYED:
        after = marks.after_reading(before, GPU, (2,), None)
    elif end is End.UNUSED:
        after = marks.after_use(before, mark.key)
    elif end is End.COUNTER_BACK:
        after = marks.after_reading(before, GPU, (2,) if mark.gi_id else (), 5)
    elif end is End.LOST_AND_BACK:
        after = marks.after_reading(marks.after_loss(before, [GPU]), GPU, standing, None)
    elif end is End.SETTING:
        after = marks.under(before.values(), HealthPolicy(ignored_xids=frozenset({94})))
    else:
        return True  # the journal drops all marks of another boot: test_marks_in_the_journal.py
    return not after


@pytest.mark.parametrize(("case", "end"), tuple(itertools.product(CASES, End)))
def test_exactly_the_listed_events_end_a_mark(case: tuple[Subject, Effect], end: End) -> None:
    """What the table lists ends it, and nothing else does; an instance that is gone ends its own mark only."""
    if case[0] is Subject.SLICE and end is End.COUNTER_BACK:
        return  # a reset takes the instance away, which is what ends it
    assert ended(ill(*case), end) is (end in marks.ENDS[case])


@pytest.mark.parametrize("case", CASES)
def test_every_mark_ends_and_says_how(case: tuple[Subject, Effect]) -> None:
    """Nothing latches: each has an end beside a reboot and a setting, and its message tells the remedy."""
    (mark,) = ill(*case).values()
    assert set(marks.ENDS[case]) - {End.REBOOT, End.SETTING}
    assert NOW in mark.message
    assert any(word in mark.message for word in ("restart the application", "reset"))


@pytest.mark.parametrize("effect", [Effect.CLOSE_GPU, Effect.MARK])
def test_a_reset_needs_the_counter_and_the_instances(effect: Effect) -> None:
    """A counter that went back beside an old instance is none, nor are instances gone without the counter."""
    before = ill(Subject.GPU, effect)
    kept = marks.after_reading(before, GPU, (2,), 5)
    assert list(kept) == [(GPU, None)]
    assert marks.after_reading(before, GPU, (), 101)
    assert marks.after_reading(before, GPU, (), None)
    assert marks.after_reading(kept, GPU, (2,), 6)  # from now on it counts from there
    assert not marks.after_reading(kept, GPU, (), 4)


def test_an_instance_that_was_cut_again_is_no_witness() -> None:
    """What stands after its place was seen empty, or after it was destroyed, did not stand before."""
    seen_gone = marks.after_reading(ill(Subject.GPU, Effect.CLOSE_GPU), GPU, (2,), 100)
    assert not marks.after_reading(marks.after_reading(seen_gone, GPU, (1,), 101), GPU, (1,), 5)
    destroyed = marks.without_instance(marks.without_instance(ill(Subject.GPU, Effect.CLOSE_GPU), GPU, 1), GPU, 2)
    assert not marks.after_reading(destroyed, GPU, (1, 2), 5)


def test_the_counter_is_noted_seldom() -> None:
    """Each note is a write of the journal: only the first, and each doubling."""
    before = ill(Subject.GPU, Effect.CLOSE_GPU)
    assert marks.after_reading(before, GPU, (1, 2), 199) is before
    assert marks.after_reading(before, GPU, (1, 2), None) is before
    (later,) = marks.after_reading(before, GPU, (1, 2), 200).values()
    assert later.energy_mj == 200


def test_a_fault_of_an_application_that_is_not_attributed_concerns_every_instance() -> None:
    """As NVML has it; without instances it concerns nothing."""
    policy, unattributed = HealthPolicy(), fault(FaultClass.APPLICATION)
    made = marks.with_fault({}, unattributed, policy, (1, 2), whole=False, now=NOW)
    assert set(made) == {(GPU, 1), (GPU, 2)}
    assert marks.with_fault({}, unattributed, policy, (), whole=False, now=NOW) == {}


def test_a_fault_that_asks_for_a_reset_is_the_gpus_whatever_it_names() -> None:
    """The attribution is kept as a cause, not as what is ill."""
    made = marks.with_fault({}, fault(FaultClass.GPU_RESET, 79, gi_id=1), HealthPolicy(), (1,), whole=False, now=NOW)
    assert set(made) == {(GPU, None)}


def test_one_mark_for_what_is_ill_already() -> None:
    """The first time counts and causes are collected, each once and the last few; the stronger class counts."""
    policy = HealthPolicy()
    made: Marks = {}
    for number, xid in enumerate((94, 94, 31, 13, 8, 11)):
        now = f"2026-11-23T12:00:0{number}Z"
        made = marks.with_fault(made, fault(FaultClass.APPLICATION, xid, 1), policy, (1,), whole=False, now=now)
    (mark,) = made.values()
    assert mark.since == "2026-11-23T12:00:00Z"
    assert [cause.xid for cause in mark.causes] == [31, 13, 8, 11]
    whole: Marks = marks.with_fault({}, fault(FaultClass.APPLICATION), policy, (), whole=True, now=NOW)
    whole = marks.with_fault(whole, fault(FaultClass.GPU_RESET, 79), policy, (), whole=True, now="later")
    (mark,) = whole.values()
    assert (mark.subject, mark.since) == (Subject.GPU, NOW)
    assert marks.after_use(whole, (GPU, None)) != {}


def test_an_ignored_fault_marks_nothing() -> None:
    """The same mapping comes back, so nothing is written."""
    before = ill(Subject.GPU, Effect.CLOSE_GPU)
    assert marks.with_fault(before, fault(FaultClass.IGNORED), HealthPolicy(), (1,), whole=False, now=NOW) is before


def test_other_gpus_are_left_alone() -> None:
    """What is seen of one GPU says nothing of another."""
    before = ill(Subject.GPU, Effect.CLOSE_GPU)
    assert marks.after_reading(before, "GPU-1", (), 0) is before
    assert marks.after_loss(before, ["GPU-1"]) is before
    assert marks.without_instance(before, "GPU-1", 1) is before


def test_other_settings_change_the_effect() -> None:
    """After a restart with other settings a mark does what they say now."""
    kept = marks.under(ill(Subject.GPU, Effect.CLOSE_GPU).values(), HealthPolicy(gpu_reset=Effect.MARK))
    (mark,) = kept.values()
    assert mark.effect is Effect.MARK
    assert not mark.closes
    assert marks.under([mark], HealthPolicy(gpu_reset=Effect.IGNORE)) == {}


@pytest.mark.parametrize("case", CASES)
def test_a_mark_survives_the_disk(case: tuple[Subject, Effect]) -> None:
    """What is written is read back as it was."""
    (mark,) = marks.after_loss(ill(*case)).values()
    written = msgspec.json.encode(stored.stored(mark))
    read: Mark = stored.restored(msgspec.json.decode(written, type=StoredMark))
    assert read == mark
