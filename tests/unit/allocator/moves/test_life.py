"""The tables of moves and Repacks: complete, drawn in docs/repacking.md, and the only way to change a state."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest

from allocator import errors
from allocator.moves import life
from allocator.moves.life import FINAL, PHASES, TRANSITIONS, MoveEvent, MoveState, RepackPhase
from allocator.moves.step import MoveStep

PAGE = Path(__file__).parents[4] / "docs" / "repacking.md"
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def step(state: MoveState = MoveState.PENDING) -> MoveStep:
    """A move in a state."""
    return MoveStep(1, "default/a", "uid-a", "ReplicaSet/a", "n1", "n2", (), 4_864, NOW, state)


def test_the_tables_are_complete() -> None:
    """Each state can be reached and left, and the final ones only be reached."""
    life.check()


@pytest.mark.parametrize(("state", "event"), list(itertools.product(MoveState, MoveEvent)))
def test_a_move_changes_by_the_table_alone(state: MoveState, event: MoveEvent) -> None:
    """An event of the table leads to its state, and any other raises and changes nothing."""
    if (state, event) in TRANSITIONS:
        assert step(state).after(event, NOW).state is TRANSITIONS[state, event]
    else:
        with pytest.raises(errors.LedgerError, match=f"cannot {event.value}"):
            step(state).after(event, NOW)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(RepackPhase, RepackPhase)))
def test_a_repack_changes_by_the_table_alone(before: RepackPhase, after: RepackPhase) -> None:
    """A phase goes over to those of the table and stays as it is, and to nothing else."""
    if after is before or after in PHASES[before]:
        assert life.phase_after(before, after) is after
    else:
        with pytest.raises(errors.LedgerError, match="does not go"):
            life.phase_after(before, after)


def test_a_move_that_may_have_disturbed_its_pod_counts_for_good() -> None:
    """Once its eviction is about to be asked for, a step counts, whatever becomes of it."""
    evicting = step(MoveState.HELD).after(MoveEvent.EVICT, NOW)
    assert evicting.disturbed
    assert evicting.after(MoveEvent.ABANDON, NOW, "refused").disturbed
    assert not step().after(MoveEvent.ABANDON, NOW).disturbed
    assert evicting.after(MoveEvent.ABANDON, NOW).state in FINAL


def test_the_page_draws_both_tables() -> None:
    """The diagrams in docs/repacking.md have the tables' arrows and no others."""
    _, phases, moves = PAGE.read_text(encoding="utf-8").split("stateDiagram-v2\n")
    drawn = [{line.strip() for line in part.split("```")[0].splitlines() if line.strip()} for part in (phases, moves)]
    assert drawn[0] - {"[*] --> Pending"} == {
        f"{before.value} --> {after.value}" for before, afters in PHASES.items() for after in afters
    }
    assert drawn[1] - {"[*] --> pending"} == {
        f"{state.value} --> {after.value}: {event.value}" for (state, event), after in TRANSITIONS.items()
    }
