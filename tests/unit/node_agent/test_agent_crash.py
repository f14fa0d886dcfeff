"""kill -9 at every point at which the agent writes its journal or changes a GPU: each one enumerated."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.mig.profile import GpuPlacement
from node_agent.slices import states
from node_agent.slices.states import RecordState, SliceEvent
from tests.unit.node_agent.crash_scenes import SCENES, Scene, adopt, hand_on, restore_for_nobody
from tests.unit.node_agent.world import Crash, World

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
        passed = _die_at(made.world, None)
        made.act()
        return passed


def _die_at(world: World, point: int | None) -> list[str]:
    """Let the process die at the point-th place from now; the names of the places passed."""
    passed: list[str] = []

    def reach(name: str) -> None:
        passed.append(name)
        if len(passed) - 1 == point:
            raise Crash

    world.store.before = lambda: reach("before write")
    world.store.after = lambda: reach("after write")
    world.devices.at = reach
    return passed


def _disarm(world: World) -> None:
    world.store.before = world.store.after = lambda: None
    world.devices.at = lambda _: None


def test_the_scenes_pass_every_transition(tmp_path: Path) -> None:
    """The points come from the code: no state and event of the table of a slice's life is left out."""
    passed: set[tuple[RecordState, SliceEvent]] = set()
    for scene in SCENES:
        made = scene(tmp_path / scene.__name__)
        made.world.passed.clear()
        made.act()
        passed |= made.world.passed
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
    world, rebooted = made.world, made.rebooted
    mine = world.places_of(made.bystander)[0]
    before = None if rebooted else _serial(world, mine)
    passed = _die_at(world, point)
    with pytest.raises(Crash):
        made.act()
    assert len(passed) == point + 1
    _disarm(world)
    world.restart()
    for _ in range(3):
        world.step(10.0)
    there = world.instance(mine)
    assert there is not None
    assert there.whole
    assert rebooted or _serial(world, mine) == before
    assert rebooted or "1g.5gb@5" in world.instances()
    records = world.journal.records
    assert records[mine].state is RecordState.ALLOCATED
    assert {record.state for record in records.values()} <= {RecordState.IDLE, RecordState.ALLOCATED}
    ours = {str(place.placement) for place in records}
    assert set(world.instances()) - ours <= {"1g.5gb@5"}
    assert world.specs.names() == {name for ids in world.journal.grants for name in ids}


def _serial(world: World, place: GpuPlacement) -> int | None:
    there = world.instance(place)
    return None if there is None else world.driver.find(place.gpu).serial(there.gi_id)
