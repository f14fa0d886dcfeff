"""kill -9 at every point at which the agent writes its journal or changes a GPU: each one enumerated."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from node_agent.pods import PodView
from node_agent.slices import Place, State
from tests.unit.node_agent.world import Crash, World

DIE_AT = 40  # more points than any scenario has; a scenario that ends before its point proves nothing and is counted


@dataclass
class Scene:
    """A world in the middle of something: a pod that runs and must not notice, and what the agent is doing."""

    world: World
    bystander: PodView
    act: Callable[[], object]


def _with_bystander(root: Path) -> Scene:
    """A running pod on 1g.5gb@6, and a foreign slice on 1g.5gb@5."""
    world = World(root)
    world.foreign("1g.5gb", 5)
    pod = world.bind("bystander", "1g.5gb", at=(world.place("1g.5gb", 6),))
    world.step()
    world.admit(pod)
    world.run(pod)
    world.step()
    return Scene(world, pod, lambda: None)


def cut_ahead(root: Path) -> Scene:
    """A bound pod's slice is cut before the kubelet asks."""
    scene = _with_bystander(root)
    scene.world.bind("a", "3g.20gb", at=(scene.world.place("3g.20gb", 0),))
    scene.act = scene.world.step
    return scene


def allocate(root: Path) -> Scene:
    """The kubelet asks for a slice that has to be cut, in the room of an idle one."""
    scene = _with_bystander(root)
    world = scene.world
    old = world.bind("old", "1g.5gb", at=(world.place("1g.5gb", 1),))
    world.step()
    world.admit(old)
    world.step()
    world.end(old, gone=True)
    world.step(10.0)
    pod = world.bind("a", "3g.20gb")
    world.hear()
    scene.act = lambda: world.admit(pod)
    return scene


def free(root: Path) -> Scene:
    """A pod is over and its slice is taken back, then destroyed for the next."""
    scene = _with_bystander(root)
    world = scene.world
    pod = world.bind("a", "2g.10gb", at=(world.place("2g.10gb", 2),))
    world.step()
    world.admit(pod)
    world.step()
    world.end(pod, gone=True)
    world.bind("b", "4g.20gb", at=(world.place("4g.20gb", 0),))

    def act() -> None:
        world.step(10.0)
        world.step()

    scene.act = act
    return scene


def adopt(root: Path) -> Scene:
    """The journal is lost and what the kubelet lists is taken over."""
    scene = _with_bystander(root)
    scene.world.store.content = None
    scene.world.restart()
    scene.act = scene.world.step
    return scene


def restore(root: Path) -> Scene:
    """The node rebooted and the running pod's slice is cut again."""
    scene = _with_bystander(root)
    scene.world.reboot()
    scene.act = scene.world.step
    return scene


SCENES = (cut_ahead, allocate, free, adopt, restore)


def _die_at(world: World, point: int) -> list[str]:
    """Let the process die at the point-th place from now; the names of the places passed."""
    passed: list[str] = []

    def reach(name: str) -> None:
        passed.append(name)
        if len(passed) == point + 1:
            raise Crash

    world.store.before = lambda: reach("before write")
    world.store.after = lambda: reach("after write")
    world.devices.at = reach
    return passed


def _disarm(world: World) -> None:
    world.store.before = world.store.after = lambda: None
    world.devices.at = lambda _: None


@pytest.mark.parametrize("scene", SCENES, ids=lambda one: str(one.__name__))
def test_scenes_have_points(scene: Callable[[Path], Scene], tmp_path: Path) -> None:
    """Each scenario passes journal writes, and all but the taking over change the GPU, within the points enumerated."""
    one = scene(tmp_path)
    passed = _die_at(one.world, DIE_AT)
    one.act()
    assert {"before write", "after write"} <= set(passed)
    assert scene is adopt or any("create" in name or "destroy" in name for name in passed)
    assert len(passed) < DIE_AT


@pytest.mark.parametrize("point", range(DIE_AT))
@pytest.mark.parametrize("scene", SCENES, ids=lambda one: str(one.__name__))
def test_whatever_dies_when(scene: Callable[[Path], Scene], point: int, tmp_path: Path) -> None:
    """After a crash at any point and a restart, bystander and foreign slice are untouched and nothing is lost."""
    one = scene(tmp_path)
    world, rebooted = one.world, scene is restore
    mine = world.places_of(one.bystander)[0]
    before = None if rebooted else _serial(world, mine)
    _die_at(world, point)
    try:
        one.act()
    except Crash:
        _disarm(world)
        world.restart()
    _disarm(world)
    for _ in range(3):
        world.step(10.0)
    there = world.instance(mine)
    assert there is not None
    assert there.whole
    assert rebooted or _serial(world, mine) == before
    assert rebooted or "1g.5gb@5" in world.instances()
    records = world.journal.records
    assert records[mine].state is State.ALLOCATED
    assert {record.state for record in records.values()} <= {State.IDLE, State.ALLOCATED}
    ours = {str(place.placement) for place in records}
    assert set(world.instances()) - ours <= {"1g.5gb@5"}
    assert world.specs.names() == {name for ids in world.journal.grants for name in ids}


def _serial(world: World, place: Place) -> int | None:
    there = world.instance(place)
    return None if there is None else world.driver.find(place.gpu).serial(there.gi_id)
