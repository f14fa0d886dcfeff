"""The queue's preemption on a stock kube-scheduler: victims of a ReplicaSet, a budget that forbids, and a kill between
eviction and release.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from allocator.claims import contract
from testbed.control_plane import build, ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import policy_gate
from tests.e2e.scheduling.queued_workloads import pod, priority_class, replicas
from tests.e2e.scheduling.stack import Document, ExtenderProcess, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e

PRIORITIES = {"low": 10, "urgent": 1000}


@pytest.fixture(scope="module")
def stack(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One node with one GPU, the gate, and kube-scheduler in its default configuration."""
    with ControlPlane(tmp_path_factory.mktemp("preempting"), binaries=binaries) as plane:
        plane.start_controller_manager()
        policy_gate.apply(plane)
        plane.apply([priority_class(name, value) for name, value in PRIORITIES.items()])
        plane.start_scheduler()
        with closing(Stack(plane, 1, 1)) as made:
            yield made


@pytest.fixture
def service(stack: Stack, tmp_path: Path) -> Iterator[ExtenderProcess]:
    """A service with the queue, which the tests start; no workloads are left."""
    made = ExtenderProcess(stack.plane.kubeconfig, tmp_path, *ports.choose_free(2), queue=True)
    stack.api_url = made.api_url
    yield made
    made.stop()
    stack.plane.kubectl("delete", "poddisruptionbudgets", "--all")
    stack.clear()


def run_pair(stack: Stack, **spec: Any) -> set[str]:
    """Two pods of a ReplicaSet fill the GPU; their UIDs."""
    stack.create(replicas("web", 2, "3g.20gb", priorityClassName="low", **spec))
    eventually(lambda: sum(one["status"]["phase"] == "Running" for one in stack.pods()) == 2, "the GPU is full")
    return {one["metadata"]["uid"] for one in stack.pods()}


def urgent(stack: Stack) -> Document:
    """The urgent pod as it is."""
    (found,) = (one for one in stack.pods() if one["metadata"]["name"] == "urgent-1")
    return found


def test_two_pods_go_for_one_that_needs_the_whole_gpu(stack: Stack, service: ExtenderProcess) -> None:
    """Both are evicted, the urgent pod is bound in their place, and their successors wait behind it."""
    service.start()
    victims = run_pair(stack)
    stack.create(pod("urgent-1", "7g.40gb", priorityClassName="urgent"))
    eventually(lambda: bool(urgent(stack)["spec"].get("nodeName")), "the urgent pod is bound")
    eventually(lambda: len(stack.pods()) == 3, "the successors are there")
    assert [one["metadata"]["name"] for one in bound(stack.pods())] == ["urgent-1"]
    assert not victims & {one["metadata"]["uid"] for one in stack.pods()}
    placements(stack, stack.pods())


def test_a_budget_that_forbids_is_kept_and_told(stack: Stack, service: ExtenderProcess) -> None:
    """As long as the budget allows one of the two, nobody goes, and explain says why; when it allows both, both go."""
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    service.start()
    victims = run_pair(stack)
    stack.create(budget)
    stack.create(pod("urgent-1", "7g.40gb", priorityClassName="urgent"))
    eventually(lambda: stack.explain("default/urgent-1")["code"] == "protected", "told why it waits")
    assert victims < {one["metadata"]["uid"] for one in stack.pods()}
    stack.plane.kubectl("patch", "pdb", "web", "--type=merge", '--patch={"spec":{"maxUnavailable":2}}')
    eventually(lambda: bool(urgent(stack)["spec"].get("nodeName")), "the urgent pod is bound")


def test_a_kill_between_eviction_and_release_costs_nobody_else_his_place(
    stack: Stack, service: ExtenderProcess
) -> None:
    """Killed after the first of two evictions, the next process evicts the second alone, and keeps the room."""
    service.start("queue.evicted=kill@1")
    victims = run_pair(stack, terminationGracePeriodSeconds=2)
    with stack.recorded() as seen:
        stack.create(pod("urgent-1", "7g.40gb", priorityClassName="urgent"))
        eventually(lambda: service.killed, "the service is killed in the middle")
        staying = {one["metadata"]["uid"] for one in stack.pods() if "deletionTimestamp" not in one["metadata"]}
        assert len(victims - staying) == 1
        service.start()
        eventually(lambda: bool(urgent(stack)["spec"].get("nodeName")), "the urgent pod is bound")
    placed = {one["metadata"]["uid"] for one in seen if contract.PLACEMENT_ANNOTATION in annotations(one)}
    assert placed == victims | {urgent(stack)["metadata"]["uid"]}
    placements(stack, stack.pods())


def annotations(document: Document) -> dict[str, str]:
    """Of an object."""
    return document["metadata"].get("annotations") or {}
