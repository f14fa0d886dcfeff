"""A container that asks for slices and whole GPUs reads the UUIDs of all of them in one variable."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.mig.profile import WHOLE_GPU, GpuPlacement
from kubeclient import objects
from node_agent.cluster import pods
from node_agent.cluster.node_pod import NodePod, NodePodSpec
from node_agent.cluster.pods import PodView
from node_agent.reconciler import Reconciler
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import AgentOnNode

SMALL = "nvidia.com/mig-1g.5gb"


@pytest.fixture
def node(tmp_path: Path) -> AgentOnNode:
    """Three A100-40GB, of which the last two have MIG mode off."""
    node = AgentOnNode(tmp_path, "a100-40gb:3")
    for gpu in node.gpus[1:]:
        mode = node.driver.find(gpu).mode
        mode.current = mode.pending = False
    node.step()
    return node


def seen(node: AgentOnNode, place: GpuPlacement) -> list[str] | None:
    """The UUIDs behind the CDI name of a slice; None without a specification."""
    name = device_ids.set_name([device_ids.device_id(place)])
    path = node.specs.directory / f"migsched-slice-{name}.json"
    if not path.exists():
        return None
    (device,) = json.loads(path.read_text())["devices"]
    variables = dict(variable.split("=", 1) for variable in device["containerEdits"]["env"])
    assert variables["NVIDIA_VISIBLE_DEVICES"] == variables["MIGSCHED_VISIBLE_DEVICES"]
    return str(variables["MIGSCHED_VISIBLE_DEVICES"]).split(",")


def uuid(node: AgentOnNode, place: GpuPlacement) -> str:
    """The UUID of a slice that stands."""
    there = node.instance(place)
    assert there is not None
    return str(there.mig_uuid)


def both(node: AgentOnNode, name: str = "both", start: int = 0, whole: int = 1) -> tuple[PodView, GpuPlacement]:
    """A pod whose container asks for a small slice, promised at a place, and for whole GPUs."""
    place = node.place("1g.5gb", start)
    pod = node.bind(name, "1g.5gb", at=(place,))
    asking = node.pods[pod.uid].view = replace(pod, whole=(("main", whole),))
    return asking, place


def give(node: AgentOnNode, pod: PodView, resource: str, *ids: str) -> None:
    """The kubelet allocates and remembers it."""
    node.allocation.allocate(resource, ids)
    node.pods[pod.uid].devices["main", resource] = ids


@pytest.mark.parametrize("whole_first", [True, False])
def test_the_name_of_the_slices_shows_the_whole_gpus_too(node: AgentOnNode, whole_first: bool) -> None:
    """Whichever the kubelet asks for first, the slice's name has no specification until both are known."""
    pod, place = both(node)
    node.step()
    order = [(SMALL, device_ids.device_id(place)), (WHOLE_GPU, node.gpus[1])]
    for resource, id_ in reversed(order) if whole_first else order:
        node.allocation.allocate(resource, [id_])
        assert seen(node, place) is None
        node.pods[pod.uid].devices["main", resource] = (id_,)
    assert not node.step().urgent
    assert seen(node, place) == [uuid(node, place), node.gpus[1]]


def test_all_whole_gpus_are_waited_for(node: AgentOnNode) -> None:
    """A container that asks for two of them sees nothing before PodResources lists both."""
    pod, place = both(node, whole=2)
    node.step()
    give(node, pod, SMALL, device_ids.device_id(place))
    give(node, pod, WHOLE_GPU, *node.gpus[1:])
    node.pods[pod.uid].devices["main", WHOLE_GPU] = (node.gpus[1],)
    assert node.step().urgent
    assert seen(node, place) is None
    node.pods[pod.uid].devices["main", WHOLE_GPU] = tuple(node.gpus[1:])
    node.step()
    assert seen(node, place) == [uuid(node, place), *sorted(node.gpus[1:])]


def test_other_containers_keep_to_their_own(node: AgentOnNode) -> None:
    """A pod with a slice alone, and one with a whole GPU alone, are shown nothing of the one that has both."""
    pod, place = both(node)
    alone = node.bind("alone", "1g.5gb", at=(node.place("1g.5gb", 1),))
    whole = node.bind("whole")
    node.pods[whole.uid].view = replace(whole, whole=(("main", 1),))
    node.step()
    give(node, whole, WHOLE_GPU, node.gpus[2])
    give(node, pod, WHOLE_GPU, node.gpus[1])
    give(node, pod, SMALL, device_ids.device_id(place))
    give(node, alone, SMALL, device_ids.device_id(node.place("1g.5gb", 1)))
    node.step()
    assert seen(node, place) == [uuid(node, place), node.gpus[1]]
    assert seen(node, node.place("1g.5gb", 1)) == [uuid(node, node.place("1g.5gb", 1))]


def test_the_next_container_of_a_slice_does_not_inherit_the_gpu(node: AgentOnNode) -> None:
    """What lay beside a slice is forgotten when the slice is handed on, also to a pod of the same name."""
    pod, place = both(node)
    node.step()
    give(node, pod, WHOLE_GPU, node.gpus[1])
    give(node, pod, SMALL, device_ids.device_id(place))
    node.step()
    node.end(pod)
    node.step(10.0)
    again, _ = both(node)
    node.step()
    give(node, again, SMALL, device_ids.device_id(place))
    assert seen(node, place) is None
    give(node, again, WHOLE_GPU, node.gpus[2])
    node.step()
    assert seen(node, place) == [uuid(node, place), node.gpus[2]]


@pytest.mark.parametrize("reboot", [False, True])
def test_a_new_agent_shows_them_before_the_kubelet_answers(node: AgentOnNode, reboot: bool) -> None:
    """Restarted, also after a reboot, it knows from the journal which GPUs lie beside a slice."""
    pod, place = both(node)
    node.step()
    give(node, pod, WHOLE_GPU, node.gpus[1])
    give(node, pod, SMALL, device_ids.device_id(place))
    node.step()
    for name in node.specs.names():
        node.specs.drop(name)
    node.kubelet_up = node.api_up = False
    if reboot:
        node.reboot()
    else:
        node.restart()
    node.step()
    assert seen(node, place) == [uuid(node, place), node.gpus[1]]


def test_a_pod_without_cdi_is_told(node: AgentOnNode) -> None:
    """With environment variables the kubelet keeps one of two values: an Event names both kinds."""
    both(node)
    node.hear()
    told = Reconciler(node.state, node.executor, None, node.metrics).step().events
    (hidden,) = (event for event in told if event.reason == "SliceHidden")
    assert "asks for 1g.5gb and nvidia.com/gpu" in hidden.message


@pytest.mark.parametrize(("quantity", "number"), [("2", 2), (2, 2), ("0", 0), ("1k", 0), ("-1", 0), ("9" * 40, 0)])
def test_whole_gpus_are_counted_by_container(quantity: str | int, number: int) -> None:
    """Limits count, or requests alone; a quantity that is no plain number is none."""
    asked = {WHOLE_GPU: quantity, SMALL: "1"}
    spec = NodePodSpec(
        containers=(
            objects.Container("limits", objects.Resources(dict(asked))),
            objects.Container("requests", objects.Resources(None, dict(asked))),
            objects.Container("none"),
        ),
        init_containers=(objects.Container("prepare", objects.Resources(dict(asked))),),
    )
    pod = pods.view(NodePod(objects.Meta("a", "default", "uid-a"), spec))
    assert pod is not None
    assert dict(pod.whole) == dict.fromkeys(("limits", "requests", "prepare"), number)
    assert set(pod.mixed) == ({"limits", "requests"} if number else set())
