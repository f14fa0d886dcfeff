"""Repacks carried out on a stock kube-scheduler: proposed for a pod that waits, approved, made in order; a budget that
forbids, a foreign pod in the place, and kills in the middle of a plan.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allocator.claims import contract, placement_annotation
from cli import api_client, repack_objects
from testbed.control_plane import build, ports
from tests.e2e.scheduling import moving_stack
from tests.e2e.scheduling.queued_workloads import pod
from tests.e2e.scheduling.stack import Document, ExtenderProcess, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e

OWNERS = ("a", "b", "c")


@pytest.fixture(scope="module")
def stack(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The cluster, which the tests of this file share."""
    with moving_stack.started(binaries, tmp_path_factory.mktemp("moving")) as made:
        yield made


@pytest.fixture
def service(stack: Stack, tmp_path: Path) -> Iterator[ExtenderProcess]:
    """A service that proposes moves, which the tests start; no workloads are left."""
    made = ExtenderProcess(
        stack.plane.kubeconfig,
        tmp_path,
        *ports.choose_free(2),
        queue=True,
        moves=True,
        moves_on_refusal="Approve",
        moves_after_s=0,
    )
    stack.api_url = made.api_url
    yield made
    made.stop()
    stack.plane.kubectl("delete", "poddisruptionbudgets,repacks", "--all")
    stack.clear()


def replicas(name: str, profile: str) -> Document:
    """A ReplicaSet of one pod that may be moved."""
    template = pod("x-1", profile, annotations={contract.MOVABLE_ANNOTATION: "true"})
    template["metadata"]["labels"] = {"app": name}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}}
    template = {key: template[key] for key in ("metadata", "spec")}
    template["metadata"].pop("name")
    meta = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": {**spec, "template": template}}


def fragment(stack: Stack) -> None:
    """One movable pod of 3g on each GPU: fillers keep them apart, and go."""
    for owner in OWNERS:
        stack.create(pod(f"filler-{owner}", "4g.20gb"))
        eventually(lambda: running(stack) == len(stack.pods()), "the filler runs")
        stack.create(replicas(owner, "3g.20gb"))
        eventually(lambda n=owner: bool(stack.pods(f"--selector=app={n}")), "its pod is there")  # type: ignore[misc]
        eventually(lambda: running(stack) == len(stack.pods()), "its pod runs")
    stack.delete(*(f"filler-{owner}" for owner in OWNERS))
    eventually(lambda: len(stack.pods()) == len(OWNERS), "the fillers are gone")
    assert len({one["spec"]["nodeName"] for one in stack.pods()}) == len(OWNERS)


def running(stack: Stack) -> int:
    return sum(one["status"]["phase"] == "Running" for one in stack.pods())


def repack(stack: Stack) -> Document:
    """The one Repack there is, nothing before there is one."""
    items: list[Document] = json.loads(stack.plane.kubectl("get", "repacks", "--output=json").stdout)["items"]
    return items[0] if items else {}


def status(stack: Stack) -> Document:
    """What the Repack says of itself."""
    found: Document = repack(stack).get("status", {})
    return found


def proposed(stack: Stack) -> Document:
    """The Repack that is proposed for a pod of a whole GPU, which waits."""
    stack.create(pod("train-1", "7g.40gb"))
    eventually(lambda: status(stack).get("phase") == "Proposed", "moves are proposed")
    return repack(stack)


def approve(stack: Stack, name: str) -> None:
    """As `migsched repack approve` does it."""
    repack_objects.approve(api_client.Address(kubeconfig=stack.plane.kubeconfig), name)


def train_runs(stack: Stack) -> None:
    """The pod that room was made for runs, everybody else does again, and the Repack is done."""
    eventually(lambda: status(stack).get("phase") == "Done", f"the Repack is done: {status(stack)}")
    eventually(lambda: running(stack) == len(stack.pods()), "everybody runs")
    assert len(bound(stack.pods("--selector=app=train"))) == 1
    placements(stack, stack.pods())


def test_moves_are_proposed_approved_and_made(stack: Stack, service: ExtenderProcess) -> None:
    """A pod of a whole GPU waits; the proposed move is made once it is approved, the replacement gets the held place,
    and both are told.
    """
    service.start()
    fragment(stack)
    before = {one["metadata"]["uid"] for one in stack.pods()}
    made = proposed(stack)
    (step,) = made["status"]["steps"]
    assert made["spec"]["mode"] == "Approve"
    assert step["state"] == "pending"
    assert before < {one["metadata"]["uid"] for one in stack.pods()}, "nobody goes before it is approved"
    approve(stack, made["metadata"]["name"])
    train_runs(stack)
    after = {one["metadata"]["uid"]: one for one in stack.pods()}
    (moved,) = before - after.keys()
    assert moved == step["uid"]
    (step,) = status(stack)["steps"]
    came = after[step["replacement"]]
    (promise,) = placement_annotation.decode(came["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION])
    assert (step["state"], came["spec"]["nodeName"]) == ("confirmed", step["node"])
    assert (promise.gpu, promise.start) == (step["slices"][0]["gpu"], step["slices"][0]["start"])
    events = json.loads(stack.plane.kubectl("get", "events", "--output=json").stdout)["items"]
    told = {(one["reason"], one["involvedObject"].get("uid")) for one in events}
    assert {("Moving", moved), ("Moved", step["replacement"])} <= told


def test_a_budget_that_forbids_is_waited_for_over_a_kill(stack: Stack, service: ExtenderProcess) -> None:
    """While a PodDisruptionBudget allows nobody to go the Repack says so; after SIGKILL the next process goes on, and
    again after one between the eviction and anything else.
    """
    service.start()
    fragment(stack)
    made = proposed(stack)
    (step,) = made["status"]["steps"]
    name = step["service"].partition("/")[2]
    selector = {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}
    budget: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}}
    stack.create({**budget, "spec": selector})
    approve(stack, made["metadata"]["name"])
    eventually(lambda: "PodDisruptionBudget" in status(stack).get("message", ""), "told what it waits for")
    assert status(stack)["steps"][0]["state"] == "evicting"
    service.kill()
    service.start("queue.evicted=kill@1")
    eventually(lambda: service.killed or "PodDisruptionBudget" in status(stack).get("message", ""), "it goes on")
    stack.plane.kubectl("delete", "pdb", name)
    eventually(lambda: service.killed, "killed between the eviction and what comes after")
    service.start()
    train_runs(stack)
    assert [(one["state"], one["uid"]) for one in status(stack)["steps"]] == [("confirmed", step["uid"])]


def test_a_foreign_pod_in_the_place_has_it_planned_anew(stack: Stack, service: ExtenderProcess) -> None:
    """A pod that another scheduler bound lies in the place: nobody is evicted for the old plan, another one is made."""
    service.start()
    fragment(stack)
    made = proposed(stack)
    (step,) = made["status"]["steps"]
    (slice_,) = step["slices"]
    promise = placement_annotation.Promise("main", slice_["gpu"], "1g.5gb", slice_["start"])
    foreign = pod("foreign-1", "1g.5gb", nodeName=step["node"])
    foreign["metadata"]["annotations"] = {contract.PLACEMENT_ANNOTATION: placement_annotation.encode((promise,))}
    stack.create(foreign)
    eventually(lambda: running(stack) == len(OWNERS) + 1, "the foreign pod runs")
    approve(stack, made["metadata"]["name"])
    train_runs(stack)
    last = status(stack)
    assert last["plans"] > 1
    assert [one["state"] for one in last["steps"]] == ["confirmed"]
    assert last["steps"][0]["node"] != step["node"] or last["steps"][0]["slices"] != step["slices"]
