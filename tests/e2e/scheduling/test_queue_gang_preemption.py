"""The queue's preemption for a gang on a stock kube-scheduler: the cheapest victims on several nodes go together, and
nobody of lower priority gets their room.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from allocator.claims import contract
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION
from testbed.control_plane import build, ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import policy_gate
from tests.e2e.scheduling.queued_workloads import POD_GROUPS, pod, priority_class, replicas
from tests.e2e.scheduling.stack import Document, ExtenderProcess, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e

LOW, MIDDLE, URGENT, POLITE = "low", "middle", "urgent", "polite"
PRIORITY_CLASSES = [
    priority_class(LOW, 10),
    priority_class(MIDDLE, 100),
    priority_class(URGENT, 1000),
    priority_class(POLITE, 1000, "Never"),
]
GROUP_LABEL = "scheduling.x-k8s.io/pod-group"
ALL_GPUS = 4
SLOW = "tests.migsched.io/slow"  # a finalizer: the pod ends when the test lets it


@pytest.fixture(scope="module")
def stack(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two nodes, `at: a` and `at: b`, with two GPUs each; the gate, and kube-scheduler in its default configuration."""
    with ControlPlane(tmp_path_factory.mktemp("preempting-gangs"), binaries=binaries) as plane:
        plane.start_controller_manager()
        policy_gate.apply(plane)
        plane.apply(PRIORITY_CLASSES)
        plane.apply(POD_GROUPS)
        plane.start_scheduler()
        with closing(Stack(plane, 2, 2)) as made:
            for node, letter in zip(made.fleet, "ab", strict=True):
                plane.kubectl("label", "node", node.name, f"at={letter}")
            yield made


@pytest.fixture
def service(stack: Stack, tmp_path: Path) -> Iterator[ExtenderProcess]:
    """A service with the queue, which the tests start; no workloads are left."""
    made = ExtenderProcess(stack.plane.kubeconfig, tmp_path, *ports.choose_free(2), queue=True)
    stack.api_url = made.api_url
    yield made
    made.stop()
    stack.plane.kubectl("delete", "poddisruptionbudgets,podgroups.scheduling.x-k8s.io", "--all")
    stack.plane.kubectl("delete", "replicasets,pods", "--all", "--wait=false")
    eventually(lambda: not running(stack), "all are told to end")
    let_go(stack)
    stack.clear()


def gang(*profiles: str, priority: str = URGENT) -> Sequence[Document]:
    """Pods that name their gang and its size in annotations."""
    says = {GANG_ANNOTATION: "train", GANG_SIZE_ANNOTATION: str(len(profiles))}
    return [
        pod(f"train-{number}", profile, annotations=says, priorityClassName=priority)
        for number, profile in enumerate(profiles)
    ]


def run(stack: Stack, *sets: Document) -> dict[str, Document]:
    """Have all pods of these ReplicaSets run; the pods by UID."""
    stack.create(*sets)
    names = {one["metadata"]["name"]: one["spec"]["replicas"] for one in sets}
    eventually(lambda: len(running(stack, *names)) == sum(names.values()), "all of them run")
    return {one["metadata"]["uid"]: one for one in running(stack, *names)}


def running(stack: Stack, *apps: str) -> Sequence[Document]:
    """The pods of these apps, or of all, that run and are not told to end."""
    found = stack.pods(*([f"--selector=app in ({','.join(apps)})"] if apps else ()))
    return [one for one in found if one["status"]["phase"] == "Running" and "deletionTimestamp" not in one["metadata"]]


def waits_for(stack: Stack, name: str, victim: str) -> bool:
    """Whether a pod is told that it waits for a victim to end."""
    told = stack.explain(f"default/{name}")
    return told["code"] == "making_room" and victim in told["reason"]


def is_kept_from(stack: Stack, name: str, gang: str) -> bool:
    """Whether a pod is told that room for it is kept for pods of a gang."""
    told = stack.explain(f"default/{name}")
    return "room_kept" in told["counts"] and f"default/{gang}-" in json.dumps(told["notes"])


def let_go(stack: Stack) -> None:
    """Let those pods end that have a finalizer and are told to."""
    for one in stack.pods():
        if "deletionTimestamp" in one["metadata"]:
            name = one["metadata"]["name"]
            stack.plane.kubectl("patch", "pod", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}')


def uids(documents: Sequence[Document]) -> set[str]:
    """Of objects."""
    return {one["metadata"]["uid"] for one in documents}


def placed(seen: Sequence[Document]) -> set[str]:
    """The UIDs of those that were given a place."""
    return uids([one for one in seen if contract.PLACEMENT_ANNOTATION in (one["metadata"].get("annotations") or {})])


def test_the_cheapest_on_two_nodes_go_together_and_nobody_else_gets_their_room(
    stack: Stack, service: ExtenderProcess
) -> None:
    """Of the least important those go that the gang needs, on both nodes; it starts when the last one is gone, and
    until then neither successors nor new pods get what is free already.
    """
    service.start()
    staying = run(
        stack,
        replicas("middle-a", 1, "7g.40gb", priorityClassName=MIDDLE, nodeSelector={"at": "a"}),
        replicas("middle-b", 1, "7g.40gb", priorityClassName=MIDDLE, nodeSelector={"at": "b"}),
    )
    half = replicas("half-b", 1, "4g.20gb", priorityClassName=LOW, nodeSelector={"at": "b"})
    half["spec"]["template"]["metadata"]["finalizers"] = [SLOW]
    victims = run(
        stack,
        replicas("whole-a", 1, "7g.40gb", priorityClassName=LOW, nodeSelector={"at": "a"}),
        half,
    )
    staying |= run(stack, replicas("rest-b", 1, "3g.20gb", priorityClassName=LOW, nodeSelector={"at": "b"}))
    with stack.recorded() as seen:
        stack.create(*gang("7g.40gb", "4g.20gb"))
        eventually(lambda: not running(stack, "whole-a"), "the first victim goes")
        stack.create(*(pod(f"late-{number}", "1g.5gb", priorityClassName=LOW) for number in range(4)))
        eventually(lambda: is_kept_from(stack, "late-3", "train"), "the new pods are told for whom room is kept")
        eventually(lambda: len(stack.pods("--selector=app=whole-a")) == 1, "there is a successor")
        eventually(lambda: all(waits_for(stack, f"train-{number}", "half-b-") for number in range(2)), "told for whom")
        assert not running(stack, "train")
        let_go(stack)
        eventually(lambda: len(running(stack, "train")) == 2, "the whole gang runs")
    members = {one["metadata"]["name"]: one for one in running(stack, "train")}
    nodes = [members[f"train-{number}"]["spec"]["nodeName"] for number in range(2)]
    assert nodes == [node.name for node in stack.fleet]
    assert staying.keys() | uids(list(members.values())) == uids(bound(stack.pods()))
    assert placed(seen) - victims.keys() - staying.keys() == uids(list(members.values()))
    order = [one["metadata"]["uid"] for one in seen]
    last_of_victims = max(place for place, uid in enumerate(order) if uid in victims)
    first_place = min(place for place, one in enumerate(seen) if placed([one]) & uids(list(members.values())))
    assert last_of_victims < first_place
    placements(stack, stack.pods())


def test_a_budget_over_both_nodes_is_kept_for_a_pod_group(stack: Stack, service: ExtenderProcess) -> None:
    """As long as the budget lets one of the two go that a PodGroup needs, nobody goes, and explain says why; when it
    lets both go, the whole group runs, and no third one went.
    """
    service.start()
    web = run(stack, replicas("web", ALL_GPUS, "7g.40gb", priorityClassName=LOW))
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    group = {
        "apiVersion": "scheduling.x-k8s.io/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": "train"},
        "spec": {"minMember": 2},
    }
    stack.create(budget, group)
    stack.plane.kubectl("wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb/web", "--timeout=60s")
    for number in range(2):
        member = pod(f"train-{number}", "7g.40gb", priorityClassName=URGENT)
        member["metadata"]["labels"][GROUP_LABEL] = "train"
        stack.create(member)
    eventually(lambda: stack.explain("default/train-1")["code"] == "protected", "told why it waits")
    assert uids(running(stack, "web")) == web.keys()
    stack.plane.kubectl("patch", "pdb", "web", "--type=merge", '--patch={"spec":{"maxUnavailable":2}}')
    eventually(lambda: len(running(stack, "train")) == 2, "the whole group runs")
    left = uids(running(stack, "web"))
    assert len(left) == ALL_GPUS - 2
    assert left < web.keys()
    placements(stack, stack.pods())


def test_nobody_goes_for_a_gang_that_may_not_preempt(stack: Stack, service: ExtenderProcess) -> None:
    """With `preemptionPolicy: Never` the gang waits until room arises by itself, and is the first to get it."""
    service.start()
    web = run(stack, replicas("web", ALL_GPUS, "7g.40gb", priorityClassName=LOW))
    stack.create(pod("late-1", "7g.40gb", priorityClassName=LOW))
    with stack.recorded() as seen:
        stack.create(*gang("7g.40gb", "7g.40gb", priority=POLITE))
        eventually(lambda: "no room for all of it at once" in stack.explain("default/train-0")["reason"], "it waits")
        stack.plane.kubectl("scale", "replicaset/web", f"--replicas={ALL_GPUS - 2}")
        eventually(lambda: len(running(stack, "train")) == 2, "the whole gang runs")
    of_web = uids([one for one in seen if one["metadata"]["labels"]["app"] == "web"])
    assert of_web < web.keys(), "a pod that was evicted would have a successor"
    assert not running(stack, "late")


def test_a_kill_in_mid_eviction_costs_the_gang_no_room_and_nobody_else_a_place(
    stack: Stack, service: ExtenderProcess
) -> None:
    """Killed after the first of two evictions, the next process evicts one more, and gives both rooms to the gang."""
    service.start("queue.evicted=kill@1")
    web = run(stack, replicas("web", ALL_GPUS, "7g.40gb", priorityClassName=LOW))
    with stack.recorded() as seen:
        stack.create(*gang("7g.40gb", "7g.40gb"))
        eventually(lambda: service.killed, "the service is killed in the middle")
        assert len(running(stack, "web")) == ALL_GPUS - 1
        service.start()
        eventually(lambda: len(running(stack, "train")) == 2, "the whole gang runs")
    assert placed(seen) - web.keys() == uids(running(stack, "train"))
    assert len(uids(running(stack, "web")) & web.keys()) == ALL_GPUS - 2
    placements(stack, stack.pods())
