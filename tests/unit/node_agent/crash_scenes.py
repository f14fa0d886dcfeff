"""Scenes in which an agent may die: a pod that runs and must not notice, a foreign slice, and what the agent is doing.

Together they pass every transition of a slice's life, which test_agent_crash.py checks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node_agent.cluster.pods import PodView
from node_agent.gpu.device import DeviceBusyError, NoRoomError
from simulator.gpu.faults import Call
from tests.unit.node_agent.world import World


@dataclass
class Scene:
    """A world in the middle of something: a pod that runs and must not notice, and what the agent is doing."""

    world: World
    bystander: PodView
    act: Callable[[], object]
    rebooted: bool = False  # so that even the bystander's slice is cut anew


def _with_bystander(root: Path, gpus: str = "a100-40gb:1") -> Scene:
    """A running pod on 1g.5gb@6, and a foreign slice on 1g.5gb@5."""
    world = World(root, gpus)
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
    scene.act, scene.rebooted = scene.world.step, True
    return scene


def restore_fails(root: Path) -> Scene:
    """The node rebooted and the driver refuses at first to cut the running pod's slice again."""
    scene = restore(root)
    scene.world.driver.faults.fail(Call.CREATE_GPU_INSTANCE, NoRoomError)

    def act() -> None:
        scene.world.step()
        scene.world.step(10.0)

    scene.act = act
    return scene


def restore_for_nobody(root: Path) -> Scene:
    """A pod ends while nobody knows whether its slice was cut again: the driver had not returned."""
    scene = _with_bystander(root, "a100-40gb:2")
    world = scene.world
    pod = world.bind("a", "2g.10gb", at=(world.place("2g.10gb", 0, gpu=1),))
    world.step()
    world.admit(pod)
    world.step()
    world.reboot()
    gate = world.driver.faults.hold(Call.CREATE_GPU_INSTANCE, gpu=world.gpus[1])
    world.step()
    world.end(pod, gone=True)
    gate.open()
    scene.act, scene.rebooted = lambda: world.step(10.0), True
    return scene


def cut_fails(root: Path) -> Scene:
    """The driver refuses at first to cut a bound pod's slice."""
    scene = cut_ahead(root)
    scene.world.driver.faults.fail(Call.CREATE_GPU_INSTANCE, NoRoomError)
    return scene


def hand_on(root: Path) -> Scene:
    """The kubelet asks again for the ids that an init container of the pod had."""
    scene = _with_bystander(root)
    world = scene.world
    pod = world.bind("a", "2g.10gb", at=(world.place("2g.10gb", 0),), listed=False)
    world.step()
    world.admit(pod, "first")
    ids = world.pods[pod.uid].devices["first", "nvidia.com/mig-2g.10gb"]
    scene.act = lambda: world.allocation.allocate("nvidia.com/mig-2g.10gb", ids)
    return scene


def vanished(root: Path) -> Scene:
    """Somebody destroyed an idle slice."""
    scene = free(root)
    world = scene.world
    world.step(10.0)
    place = world.place("4g.20gb", 0)
    there = world.instance(place)
    assert there is not None
    pod = next(one.view for one in world.pods.values() if one.view.name == "b")
    world.end(pod, gone=True)
    world.step(10.0)
    world.driver.find(place.gpu).destroy(there.gi_id)

    def act() -> None:
        world.bind("c", "1g.5gb", at=(world.place("1g.5gb", 0),))
        world.step()

    scene.act = act
    return scene


def destroy_refused(root: Path) -> Scene:
    """The driver would not destroy an idle slice whose room is wanted, at first."""
    scene = allocate(root)
    scene.world.driver.faults.fail(Call.DESTROY_COMPUTE_INSTANCE, DeviceBusyError)
    scene.world.bind("late", "4g.20gb", at=(scene.world.place("4g.20gb", 0),))

    def act() -> None:
        scene.world.step()
        scene.world.step(10.0)

    scene.act = act
    return scene


SCENES = (
    cut_ahead,
    cut_fails,
    allocate,
    hand_on,
    free,
    destroy_refused,
    vanished,
    adopt,
    restore,
    restore_fails,
    restore_for_nobody,
)
