"""kill -9 at every point at which the agent writes its journal or changes a GPU: each one enumerated."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.mig.profile import GpuPlacement
from node_agent.slices import states
from node_agent.slices.states import RecordState, SliceEvent
from tests.unit.node_agent.agent_on_node import AgentOnNode, Crash
from tests.unit.node_agent.crash_scenes import SCENES, Scene, adopt, hand_on, restore_for_nobody

JOURNAL_ONLY = (adopt, hand_on, restore_for_nobody)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A case for each point that a scene passes: `point` is its number, the case's id its name."""
    if "point" in metafunc.fixturenames:
        metafunc.parametrize(
            ("scene", "point"),
            [
                pytest.param(scene, number, id=f"{scene.__name__}-{number}-{name.replace(' ', '-')}")
                for scene in SCENES
                for number, name in enumerate(points(scene))
            ],
        )


def points(scene: Callable[[Path], Scene]) -> list[str]:
    """The names of all points that a scene passes where nothing dies, in order."""
    with tempfile.TemporaryDirectory() as directory:
        made = scene(Path(directory))
        passed = _die_at(made.node, None)
        made.act()
        return passed


def _die_at(node: AgentOnNode, point: int | None) -> list[str]:
    """Let the process die at the point-th place from now; the names of the places passed."""
    passed: list[str] = []

    def reach(name: str) -> None:
        passed.append(name)
        if len(passed) - 1 == point:
            raise Crash

    node.store.before = lambda: reach("before write")
    node.store.after = lambda: reach("after write")
    node.devices.at = reach
    return passed


def _disarm(node: AgentOnNode) -> None:
    node.store.before = node.store.after = lambda: None
    node.devices.at = lambda _: None


def test_the_scenes_pass_every_transition(tmp_path: Path) -> None:
    """The points come from the code: no state and event of the table of a slice's life is left out."""
    passed: set[tuple[RecordState, SliceEvent]] = set()
    for scene in SCENES:
        made = scene(tmp_path / scene.__name__)
        made.node.passed.clear()
        made.act()
        passed |= made.node.passed
    assert passed == states.TRANSITIONS.keys()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.__name__))
def test_scenes_have_points(scene: Callable[[Path], Scene]) -> None:
    """Each scene passes journal writes, and changes the GPU where it has to."""
    passed = points(scene)
    assert {"before write", "after write"} <= set(passed)
    assert scene in JOURNAL_ONLY or any("create" in name or "destroy" in name for name in passed)


def test_whatever_dies_when(scene: Callable[[Path], Scene], point: int, tmp_path: Path) -> None:
    """After a crash at any point and a restart, bystander and foreign slice are untouched and nothing is lost."""
    made = scene(tmp_path)
    node, rebooted = made.node, made.rebooted
    mine = node.places_of(made.bystander)[0]
    before = None if rebooted else _serial(node, mine)
    passed = _die_at(node, point)
    with pytest.raises(Crash):
        made.act()
    assert len(passed) == point + 1
    _disarm(node)
    node.restart()
    for _ in range(3):
        node.step(10.0)
    there = node.instance(mine)
    assert there is not None
    assert there.whole
    assert rebooted or _serial(node, mine) == before
    assert rebooted or "1g.5gb@5" in node.instances()
    records = node.journal.records
    assert records[mine].state is RecordState.ALLOCATED
    assert {record.state for record in records.values()} <= {RecordState.IDLE, RecordState.ALLOCATED}
    ours = {str(place.placement) for place in records}
    assert set(node.instances()) - ours <= {"1g.5gb@5"}
    assert node.specs.names() == {name for ids in node.journal.grants for name in ids}


def _serial(node: AgentOnNode, place: GpuPlacement) -> int | None:
    there = node.instance(place)
    return None if there is None else node.driver.find(place.gpu).serial(there.gi_id)
