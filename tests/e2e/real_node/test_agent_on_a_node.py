"""The node agent on a real kubelet, containerd and runc, behind kube-scheduler and our extender, on simulated GPUs."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from node_agent.gpu import device
from node_agent.slices import states
from simulator.gpu.faults import Call
from tests.e2e.real_node.agent_stack import (
    AgentStack,
    Document,
    is_over,
    is_restarted,
    is_running,
    is_same_container,
    pod,
    promises,
)

pytestmark = pytest.mark.e2e

PODS = int(os.environ.get("MIGSCHED_CHURN_PODS", "100"))
AT_ONCE = 20
LOST = '"event":"cannot follow"'
REGISTERED = '"nvidia.com/mig-3g.20gb","event":"registered"'
MIX = [["1g.5gb"]] * 5 + [["1g.10gb"], ["1g.5gb+me"], ["2g.10gb"], ["2g.10gb"], ["3g.20gb"], ["3g.20gb"]]
MIX += [["4g.20gb"], ["7g.40gb"], ["1g.5gb", "1g.5gb"], ["3g.20gb", "3g.20gb"]]


def test_nothing_is_missing_on_a_real_node(stack: AgentStack) -> None:
    """Beside a genuine kubelet and API server an agent that starts finds all its preconditions met."""
    stack.agent.stop()
    logged = len(stack.agent.log.read_text())
    stack.agent.start()
    stack.eventually(stack.serves, "the agent serves again")
    log = stack.agent.log.read_text()[logged:]
    assert '"event":"started"' in log
    assert "preconditions" not in log


def test_a_pod_gets_the_slice_that_its_annotation_names(stack: AgentStack) -> None:
    """A pod's process sees the MIG UUID of the very slice that kube-scheduler and extender chose and the GPU holds."""
    stack.empty()
    (made,) = stack.run(pod(stack, "first", ["3g.20gb"]))
    (promise,) = promises(made)
    seen = stack.visible("first")
    gpu, placement = stack.hardware.slices()[seen]
    assert (promise.gpu, promise.profile, promise.start) == (gpu, placement.profile, placement.start)
    assert placement.profile == "3g.20gb"
    stack.eventually(lambda: stack.reported() == {seen: ("allocated", "first")}, "the owner in the MigNode")
    assert stack.hardware.used() == {seen}
    assert len(stack.specs()) == len(stack.journal().grants) == 1
    events = stack.events("first", "SliceReady")
    assert [seen in one["message"] for one in events] == [True]

    stack.clear()
    assert stack.hardware.slices() == {seen: (gpu, placement)}  # kept warm for the next pod


@pytest.mark.timeout(120 + 2 * PODS)
def test_churn_leaves_nothing_and_never_shares_a_slot(stack: AgentStack) -> None:
    """Pods of mixed profiles that come and go, some deleted while they run, get slices of their own, all given back."""
    draw = random.Random(7)
    waiting = [pod(stack, f"churn-{n}", draw.choice(MIX), draw.choice((0.5, 2, 3600))) for n in range(PODS)]
    finite = {one["metadata"]["name"] for one in waiting if "sleep 3600" not in str(one["spec"])}
    ended: dict[str, Document] = {}
    last: tuple[list[Document], set[str]] = ([], set())
    while waiting or last[0]:
        found, marked = last
        over = {one["metadata"]["name"]: one for one in found if is_over(one)}
        ended |= over
        endless = {one["metadata"]["name"] for one in found if "sleep 3600" in str(one["spec"]) and is_running(one)}
        leaving = {one["metadata"]["name"] for one in found if "deletionTimestamp" in one["metadata"]}
        stack.delete(*sorted((over.keys() | endless & marked) - leaving))
        room = max(0, AT_ONCE - len(found))
        stack.create(*waiting[:room])
        del waiting[:room]
        last = _after(stack, last)
        _held_slices_are_apart(stack)
    assert finite <= ended.keys()
    assert [_why(one) for one in ended.values() if one["status"]["phase"] != "Succeeded"] == []
    for one in ended.values():
        _had_what_it_asked_for(stack, one)


def _after(stack: AgentStack, last: tuple[list[Document], set[str]]) -> tuple[list[Document], set[str]]:
    """All pods and those that have marked their slices, as soon as these are not what they were."""
    news = last

    def changed() -> bool:
        nonlocal news
        news = (stack.pods(), stack.marked())
        return news != last

    stack.eventually(changed, "something happens to a pod")
    return news


def _why(pod: Document) -> str:
    """Why a pod ended as it did, in one line: a whole status is more than a log of CI shows."""
    status = pod["status"]
    ends = [one.get("state", {}).get("terminated", {}) for one in status.get("containerStatuses", ())]
    told = [f"exit {end.get('exitCode')}: {end.get('message', '')!r}" for end in ends]
    return " ".join([pod["metadata"]["name"], status.get("reason", ""), status.get("message", ""), *told])


def _held_slices_are_apart(stack: AgentStack) -> None:
    held = sorted(p for p, record in stack.journal().records.items() if record.state in states.HELD)
    for n, one in enumerate(held):
        clash = [other for other in held[:n] if other.gpu == one.gpu and other.placement.overlaps(one.placement)]
        assert clash == [], f"{one} is held beside {clash}"


def _had_what_it_asked_for(stack: AgentStack, one: Document) -> None:
    (status,) = one["status"]["containerStatuses"]
    seen = status["state"]["terminated"]["message"].split(",")
    promised = promises(one)
    assert len(seen) == len(set(seen)) == len(promised)
    for name in seen:  # of pods that wait for one profile, any may get what was promised to another
        assert {place.profile for _, place in stack.hardware.held[name]} & {one.profile for one in promised}


def test_the_agent_is_killed_under_running_pods(stack: AgentStack) -> None:
    """Containers run on while the agent is dead; the next one keeps their slices and frees what ended meanwhile."""
    stays, _ = stack.run(pod(stack, "stays", ["2g.10gb"]), pod(stack, "goes", ["3g.20gb"]))
    seen, gone = stack.visible("stays"), stack.visible("goes")
    before = stack.hardware.slices()
    stack.agent.kill()
    stack.delete("goes")
    stack.eventually(lambda: [one["metadata"]["name"] for one in stack.pods()] == ["stays"], "the pod is gone")
    assert stack.hardware.used() == {seen}
    stack.agent.start()
    stack.eventually(
        lambda: stack.reported() == {**dict.fromkeys(before, ("idle", "")), seen: ("allocated", "stays")},
        "the slice of the pod that ended is idle, the other one is kept",
    )
    assert gone in before
    assert stack.hardware.slices() == before
    stack.eventually(stack.serves, "the devices are back")
    stack.run(pod(stack, "next", ["3g.20gb"]))
    assert is_same_container(stays, stack.get("pod", "stays"))
    assert stack.hardware.used() == {seen, stack.visible("next")}


def test_the_agent_is_killed_while_it_cuts(stack: AgentStack) -> None:
    """Pods whose slices were being cut when the agent died run after it, or are refused, and leave nothing."""
    faults = stack.hardware.driver.faults
    changes = stack.hardware.changes
    faults.latency_s[Call.CREATE_COMPUTE_INSTANCE] = 0.3
    stack.create(*(pod(stack, f"cut-{n}", ["1g.10gb"]) for n in range(4)))
    stack.eventually(lambda: stack.hardware.changes > changes, "a slice is being cut")
    stack.agent.kill()
    faults.clear()
    stack.agent.start()
    stack.eventually(lambda: all(is_running(one) or is_over(one) for one in stack.pods()), "every pod runs or is over")
    for one in stack.pods():
        assert is_running(one) or one["status"]["reason"] == "UnexpectedAdmissionError", one["status"]
    stack.eventually(stack.serves, "the devices are back")
    stack.run(pod(stack, "after", ["1g.10gb"]))


def test_the_kubelet_is_killed_under_running_pods(stack: AgentStack) -> None:
    """A new kubelet gets the same devices from the agent, running containers are not touched, and new pods run."""
    (stays,) = stack.run(pod(stack, "stays", ["4g.20gb"]))
    seen = stack.visible("stays")
    before = stack.hardware.slices()
    stack.node.kill_kubelet()
    assert stack.visible("stays") == seen
    stack.node.restart_kubelet()
    stack.eventually(stack.serves, "the devices are back")
    assert before.items() <= stack.hardware.slices().items()
    stack.run(pod(stack, "next", ["2g.10gb"]))  # idle slices may have to make room for it
    assert is_same_container(stays, stack.get("pod", "stays"))
    assert stack.hardware.slices()[seen] == before[seen]
    stack.eventually(lambda: stack.owners() == ["next", "stays"], "both own a slice")


def test_the_api_server_is_lost(stack: AgentStack) -> None:
    """Without an API server slices stay as they are; with it back, the agent follows and reports as before."""
    (stays,) = stack.run(pod(stack, "stays", ["2g.10gb"]))
    before = stack.hardware.slices()
    lines = stack.agent.log.read_text().count(LOST)
    stack.cluster.kill_apiserver()
    stack.eventually(lambda: stack.agent.log.read_text().count(LOST) > lines, "the agent misses it")
    assert stack.hardware.slices() == before
    stack.cluster.restart_apiserver()
    stack.run(pod(stack, "next", ["2g.10gb"]))
    stack.eventually(lambda: stack.owners() == ["next", "stays"], "both own a slice")
    assert is_same_container(stays, stack.get("pod", "stays"))


def test_a_driver_that_fails_for_a_while_delays_pods_only(stack: AgentStack) -> None:
    """A pod whose slice cannot be cut at first gets it in the same Allocate call, and what was half made is undone."""
    faults = stack.hardware.driver.faults
    before = stack.agent.log.read_text().count("injected fault")
    faults.fail(Call.CREATE_GPU_INSTANCE, device.DeviceBusyError, times=2)
    faults.fail(Call.CREATE_COMPUTE_INSTANCE, device.DeviceBusyError)
    (made,) = stack.run(pod(stack, "patient", ["7g.40gb"]))
    (promise,) = promises(made)
    assert stack.hardware.slices()[stack.visible("patient")][0] == promise.gpu
    assert stack.events("patient", "SliceFailed") == []
    assert stack.agent.log.read_text().count("injected fault") == before + 3  # all of them struck


def test_pods_run_again_after_a_reboot(stack: AgentStack) -> None:
    """Where the agent is up before the kubelet sees its pods, they get slices cut anew at their old places."""
    names = ["boot-0", "boot-1"]
    before = stack.run(*(pod(stack, name, ["3g.20gb"], restart="Always") for name in names))
    seen = {name: stack.visible(name) for name in names}
    places = {name: stack.hardware.slices()[uuid] for name, uuid in seen.items()}
    stack.power_cut()
    stack.node.kill_kubelet()
    stack.agent.start()
    stack.eventually(lambda: set(stack.hardware.slices().values()) >= set(places.values()), "the slices are cut anew")
    stack.cluster.kill_apiserver()  # it knows the pods, the kubelet's disk only knows their devices
    registered = stack.agent.log.read_text().count(REGISTERED)
    with ThreadPoolExecutor(1) as pool:
        booting = pool.submit(stack.node.reboot)
        stack.eventually(lambda: stack.agent.log.read_text().count(REGISTERED) > registered, "devices are registered")
        stack.cluster.restart_apiserver()
        booting.result()
    stack.eventually(
        lambda: all(is_restarted(one, stack.get("pod", one["metadata"]["name"])) for one in before), "both run again"
    )
    for name in names:
        assert stack.visible(name) != seen[name]
        assert stack.hardware.slices()[stack.visible(name)] == places[name]
    stack.eventually(lambda: stack.owners() == names, "both own a slice")


def test_pods_refused_after_a_reboot_give_their_slices_back(stack: AgentStack) -> None:
    """A kubelet that sees its pods before the agent is up refuses them; their slices are free for others then."""
    stack.run(pod(stack, "early", ["3g.20gb"], restart="Always"))
    stack.power_cut()
    stack.node.reboot()
    stack.eventually(lambda: is_over(stack.get("pod", "early")), "the pod is refused")
    assert stack.get("pod", "early")["status"]["reason"] == "UnexpectedAdmissionError"
    stack.agent.start()
    stack.eventually(stack.serves, "the devices are back")
    stack.eventually(lambda: stack.owners() == [] and not stack.specs(), "nobody owns a slice")
    stack.run(pod(stack, "late", ["3g.20gb"]))
