"""Scenes in which an agent may die: a pod that runs and must not notice, a foreign slice, and what the agent is doing.

Together they pass every transition of a slice's life, which test_agent_crash.py checks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node_agent.cluster.pods import PodView
from node_agent.gpu.device import DeviceBusyError, NoRoomError
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode


@dataclass
class Scene:
    """A node in the middle of something: a pod that runs and must not notice, and what the agent is doing."""

    node: AgentOnNode
    bystander: PodView
    act: Callable[[], object]
    rebooted: bool = False  # so that even the bystander's slice is cut anew


def _with_bystander(root: Path, gpus: str = "a100-40gb:1") -> Scene:
    """A running pod on 1g.5gb@6, and a foreign slice on 1g.5gb@5."""
    node = AgentOnNode(root, gpus)
    node.foreign("1g.5gb", 5)
    pod = node.bind("bystander", "1g.5gb", at=(node.place("1g.5gb", 6),))
    node.step()
    node.admit(pod)
    node.run(pod)
    node.step()
    return Scene(node, pod, lambda: None)


def cut_ahead(root: Path) -> Scene:
    """A bound pod's slice is cut before the kubelet asks."""
    scene = _with_bystander(root)
    scene.node.bind("a", "3g.20gb", at=(scene.node.place("3g.20gb", 0),))
    scene.act = scene.node.step
    return scene


def allocate(root: Path) -> Scene:
    """The kubelet asks for a slice that has to be cut, in the room of an idle one."""
    scene = _with_bystander(root)
    node = scene.node
    old = node.bind("old", "1g.5gb", at=(node.place("1g.5gb", 1),))
    node.step()
    node.admit(old)
    node.step()
    node.end(old, gone=True)
    node.step(10.0)
    pod = node.bind("a", "3g.20gb")
    node.hear()
    scene.act = lambda: node.admit(pod)
    return scene


def free(root: Path) -> Scene:
    """A pod is over and its slice is taken back, then destroyed for the next."""
    scene = _with_bystander(root)
    node = scene.node
    pod = node.bind("a", "2g.10gb", at=(node.place("2g.10gb", 2),))
    node.step()
    node.admit(pod)
    node.step()
    node.end(pod, gone=True)
    node.bind("b", "4g.20gb", at=(node.place("4g.20gb", 0),))

    def act() -> None:
        node.step(10.0)
        node.step()

    scene.act = act
    return scene


def adopt(root: Path) -> Scene:
    """The journal is lost and what the kubelet lists is taken over."""
    scene = _with_bystander(root)
    scene.node.store.content = None
    scene.node.restart()
    scene.act = scene.node.step
    return scene


def restore(root: Path) -> Scene:
    """The node rebooted and the running pod's slice is cut again."""
    scene = _with_bystander(root)
    scene.node.reboot()
    scene.act, scene.rebooted = scene.node.step, True
    return scene


def restore_fails(root: Path) -> Scene:
    """The node rebooted and the driver refuses at first to cut the running pod's slice again."""
    scene = restore(root)
    scene.node.driver.faults.fail(Call.CREATE_GPU_INSTANCE, NoRoomError)

    def act() -> None:
        scene.node.step()
        scene.node.step(10.0)

    scene.act = act
    return scene


def restore_for_nobody(root: Path) -> Scene:
    """A pod ends while nobody knows whether its slice was cut again: the driver had not returned."""
    scene = _with_bystander(root, "a100-40gb:2")
    node = scene.node
    pod = node.bind("a", "2g.10gb", at=(node.place("2g.10gb", 0, gpu=1),))
    node.step()
    node.admit(pod)
    node.step()
    node.reboot()
    gate = node.driver.faults.hold(Call.CREATE_GPU_INSTANCE, gpu=node.gpus[1])
    node.step()
    node.end(pod, gone=True)
    gate.open()
    scene.act, scene.rebooted = lambda: node.step(10.0), True
    return scene


def cut_fails(root: Path) -> Scene:
    """The driver refuses at first to cut a bound pod's slice."""
    scene = cut_ahead(root)
    scene.node.driver.faults.fail(Call.CREATE_GPU_INSTANCE, NoRoomError)
    return scene


def hand_on(root: Path) -> Scene:
    """The kubelet asks again for the ids that an init container of the pod had."""
    scene = _with_bystander(root)
    node = scene.node
    pod = node.bind("a", "2g.10gb", at=(node.place("2g.10gb", 0),), listed=False, init="prepare")
    node.step()
    node.admit(pod, "first")
    ids = node.pods[pod.uid].devices["first", "nvidia.com/mig-2g.10gb"]
    scene.act = lambda: node.allocation.allocate("nvidia.com/mig-2g.10gb", ids)
    return scene


def vanished(root: Path) -> Scene:
    """Somebody destroyed an idle slice."""
    scene = free(root)
    node = scene.node
    node.step(10.0)
    place = node.place("4g.20gb", 0)
    there = node.instance(place)
    assert there is not None
    pod = next(pod_.view for pod_ in node.pods.values() if pod_.view.name == "b")
    node.end(pod, gone=True)
    node.step(10.0)
    node.driver.find(place.gpu).destroy(there.gi_id)

    def act() -> None:
        node.bind("c", "1g.5gb", at=(node.place("1g.5gb", 0),))
        node.step()

    scene.act = act
    return scene


def destroy_refused(root: Path) -> Scene:
    """The driver would not destroy an idle slice whose room is wanted, at first."""
    scene = allocate(root)
    scene.node.driver.faults.fail(Call.DESTROY_COMPUTE_INSTANCE, DeviceBusyError)
    scene.node.bind("late", "4g.20gb", at=(scene.node.place("4g.20gb", 0),))

    def act() -> None:
        scene.node.step()
        scene.node.step(10.0)

    scene.act = act
    return scene


def fall_ill(root: Path) -> Scene:
    """A pod's slice falls ill, and is destroyed instead of kept once the pod is over."""
    scene = _with_bystander(root)
    node = scene.node
    place = node.place("2g.10gb", 0)
    pod = node.bind("a", "2g.10gb", at=(place,))
    node.step()
    node.admit(pod)
    node.run(pod)
    node.step()
    there = node.instance(place)
    assert there is not None
    node.driver.xid(place.gpu, 94, there.gi_id, 0)

    def act() -> None:
        node.step()
        node.end(pod, gone=True)
        node.step(10.0)

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
    fall_ill,
)
