"""Shapes of pods on a real kubelet: init containers, sidecars, several containers, whole GPUs, no CDI."""

import pytest

from simulator.gpu import events
from simulator.gpu.events import GpuEvent
from tests.e2e.real_node.agent_stack import AgentStack, container, is_running, is_same_container, pod, pod_of, promises

pytestmark = pytest.mark.e2e


def told(status: list[dict[str, dict[str, dict[str, str]]]]) -> list[str]:
    """The termination messages of containers."""
    return [one["state"]["terminated"]["message"] for one in status]


def test_an_init_container_hands_its_slice_on(stack: AgentStack) -> None:
    """The kubelet gives the app container the device that an ordinary init container had, and both see one slice."""
    init = container("first", ["2g.10gb"], seconds=0)
    (made,) = stack.run(pod_of(stack, "handed", container("main", ["2g.10gb"]), init=[init]))
    seen = stack.visible("handed")
    assert told(made["status"]["initContainerStatuses"]) == [seen]
    assert [placement.profile for _, placement in stack.hardware.slices().values()].count("2g.10gb") >= 1
    stack.eventually(lambda: stack.owners() == ["handed"], "one slice is the pod's")


def test_init_containers_that_need_more_than_the_app_are_counted(stack: AgentStack) -> None:
    """A pod whose init container asks for another profile than its app gets both, each in its container."""
    init = container("first", ["3g.20gb"], seconds=0)
    (made,) = stack.run(pod_of(stack, "two-steps", container("main", ["1g.5gb"]), init=[init]))
    (first,), (main,) = told(made["status"]["initContainerStatuses"]), [stack.visible("two-steps")]
    slices = stack.hardware.slices()
    assert [slices[one][1].profile for one in (first, main)] == ["3g.20gb", "1g.5gb"]
    assert sorted(one.profile for one in promises(made)) == ["1g.5gb", "3g.20gb"]


def test_a_slice_that_only_an_init_container_has_takes_no_other(stack: AgentStack) -> None:
    """It is reported as its pod's, all other slots of its GPU can be used, and it comes back when the pod is gone."""
    init = container("compile", ["1g.5gb"], seconds=0)
    stack.run(pod_of(stack, "init-only", container("main", []), init=[init]))
    stack.eventually(lambda: stack.owners() == ["init-only"], "the kubelet's checkpoint names its pod")
    stack.run(pod(stack, "others", ["7g.40gb"] * 7), pod(stack, "beside", ["1g.5gb"] * 6))
    stack.delete("init-only")
    stack.eventually(lambda: "init-only" not in stack.owners(), "its slice is given back")
    stack.run(pod(stack, "after", ["1g.5gb"]))


def test_a_sidecar_keeps_its_slice_beside_the_app(stack: AgentStack) -> None:
    """A restartable init container has a slice of its own for as long as the pod lives."""
    sidecar = container("side", ["1g.5gb"]) | {"restartPolicy": "Always"}
    stack.run(pod_of(stack, "pair", container("main", ["1g.5gb"]), init=[sidecar]))
    stack.eventually(lambda: stack.owners() == ["pair", "pair"], "both slices are the pod's")
    stack.eventually(lambda: len(stack.hardware.used()) == 2, "both are in use")


def test_each_container_sees_its_own_slices(stack: AgentStack) -> None:
    """Of a pod with several containers and several slices, each container sees exactly what it asked for."""
    wanted = {"a": ["1g.5gb", "1g.5gb"], "b": ["3g.20gb"], "c": ["2g.10gb", "2g.10gb"]}
    stack.run(pod_of(stack, "many", *(container(name, profiles) for name, profiles in wanted.items())))
    slices = stack.hardware.slices()
    seen = {name: stack.visible("many", name).split(",") for name in wanted}
    assert {name: [slices[one][1].profile for one in found] for name, found in seen.items()} == wanted
    everything = [one for found in seen.values() for one in found]
    assert len(set(everything)) == len(everything)
    assert stack.hardware.used() == set(everything)


def test_runtimes_without_cdi_are_served_by_the_environment(stack: AgentStack) -> None:
    """With inject=env the container's own environment names its slices, and there is no CDI specification."""
    stack.agent.stop()
    stack.agent.start(inject="env")
    try:
        stack.eventually(stack.serves, "the agent serves")
        stack.run(pod(stack, "plain", ["1g.5gb", "1g.5gb"]))
        slices = stack.hardware.slices()
        assert [slices[one][1].profile for one in stack.visible("plain").split(",")] == ["1g.5gb"] * 2
        assert stack.specs() == frozenset()
        stack.clear()
    finally:
        stack.agent.stop()
        stack.agent.start()
        stack.eventually(stack.serves, "the agent serves as before")


def test_whole_gpus_are_served_beside_slices(stack: AgentStack) -> None:
    """GPUs with MIG mode off are given away whole as nvidia.com/gpu, while slices are cut on the others; a container
    that has both sees both.
    """
    driver = stack.hardware.driver
    stack.empty()
    stack.run(pod(stack, "slice", ["3g.20gb"]))
    before = stack.get("pod", "slice")
    gpu = next(one for one in driver.by_index() if not one.instances())
    switch(stack, gpu.uuid, enabled=False)
    try:
        stack.eventually(lambda: allocatable(stack, "nvidia.com/gpu") == 1, "the kubelet offers a whole GPU")
        whole = container("main", [])
        whole["resources"] = {"limits": {"nvidia.com/gpu": 1}}
        stack.create(pod_of(stack, "whole", whole))
        stack.eventually(lambda: is_running(stack.get("pod", "whole")), "it runs")
        assert stack.visible("whole") == gpu.uuid
        stack.run(pod(stack, "more", ["7g.40gb"]))
        assert stack.hardware.slices()[stack.visible("more")][0] != gpu.uuid
        assert is_same_container(before, stack.get("pod", "slice"))
        stack.eventually(lambda: gpu.uuid in stack.hardware.used(), "the whole GPU is marked")
        stack.delete("whole")
        stack.eventually(lambda: gpu.uuid not in stack.hardware.used(), "the whole GPU is given back")
        both = container("main", ["3g.20gb"])
        both["resources"]["limits"]["nvidia.com/gpu"] = 1
        stack.run(pod_of(stack, "both", both))
        slice_, whole_gpu = stack.visible("both").split(",")
        assert (stack.hardware.slices()[slice_][1].profile, whole_gpu) == ("3g.20gb", gpu.uuid)
        stack.delete("both")
        stack.eventually(lambda: gpu.uuid not in stack.hardware.used(), "the whole GPU is given back again")
    finally:
        switch(stack, gpu.uuid, enabled=True)
    stack.eventually(lambda: allocatable(stack, "nvidia.com/gpu") == 0, "it is cut again")
    stack.eventually(stack.serves, "all GPUs offer slices")


def switch(stack: AgentStack, gpu: str, *, enabled: bool) -> None:
    """Somebody switches MIG mode of an empty GPU; the driver tells of it."""
    one = stack.hardware.driver.find(gpu)
    assert one.set_mode(enabled) == 0
    stack.hardware.driver.emit(GpuEvent(gpu, events.MIG_CONFIG_CHANGE))


def allocatable(stack: AgentStack, resource: str) -> int:
    """How many of a resource the kubelet offers."""
    return int(stack.get("node", stack.node.name)["status"]["allocatable"].get(resource, 0))
