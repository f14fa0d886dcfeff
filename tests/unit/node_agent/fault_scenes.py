"""Scenes in which the driver reports faults, and what is seen of it: in the MigNode, in Events, in metrics."""

from allocator.claims.report import GpuReport, Slice
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pod_events import ILL_EVENT
from node_agent.cluster.pods import PodView
from tests.unit.node_agent.agent_on_node import AgentOnNode


def running(node: AgentOnNode, name: str, profile: str, start: int, gpu: int = 0) -> PodView:
    """A pod that runs on a slice."""
    pod = node.bind(name, profile, at=(node.place(profile, start, gpu),))
    node.step()
    node.admit(pod)
    node.started(pod)
    node.run(pod)
    node.step()
    return pod


def xid(node: AgentOnNode, number: int, place: GpuPlacement | None = None, gpu: int = 0) -> None:
    """The driver reports an XID, attributed to the slice at a place or not."""
    instance = None if place is None else node.instance(place)
    gi_id = None if instance is None else instance.gi_id
    node.driver.xid(node.gpus[gpu], number, gi_id, None if gi_id is None else 0)


def serial(node: AgentOnNode, place: GpuPlacement) -> int:
    """Which creation the slice at a place is of."""
    instance = node.instance(place)
    assert instance is not None
    return node.driver.find(place.gpu).serial(instance.gi_id) or 0


def shown(node: AgentOnNode, gpu: int = 0) -> GpuReport:
    """What the MigNode says of a GPU."""
    assert node.outcome is not None
    return node.outcome.report.gpus[gpu]


def shown_slice(node: AgentOnNode, place: GpuPlacement) -> Slice:
    """What the MigNode says of a slice."""
    gpu = next(gpu for gpu in node.outcome.report.gpus if gpu.uuid == place.gpu) if node.outcome else None
    assert gpu is not None
    return next(slice_ for slice_ in gpu.slices if slice_.placement == place.placement)


def told(node: AgentOnNode, pod: PodView, reason: str = ILL_EVENT) -> list[str]:
    """The Events of the last step on a pod."""
    events = node.outcome.events if node.outcome else ()
    return [event.message for event in events if event.uid == pod.uid and event.reason == reason]


def counted(node: AgentOnNode, code: str, fault_class: str) -> float:
    """How many XIDs of a number and class were counted."""
    labels = {"xid": code, "class": fault_class}
    return node.metrics.registry.get_sample_value("migsched_agent_xids_total", labels) or 0.0
