"""The three ways of letting a queued pod go to its place, on the genuine control plane; and the gate itself."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from allocator.queueing.release import QueueRelease
from testbed.control_plane import build, scheduler_config
from testbed.control_plane.control_plane import ControlPlane
from tests import gate_cases
from tests.e2e import policy_gate
from tests.e2e.scheduling.stack import Stack, bound, eventually, placements
from tests.e2e.scheduling.stack import pod as pod_of_migsched

pytestmark = pytest.mark.e2e
NODES, GPUS = 2, 1
PODS = NODES * GPUS * 7


@pytest.fixture(scope="module")
def plane(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the gate, and kube-scheduler in its default configuration, without an extender."""
    with ControlPlane(tmp_path_factory.mktemp("modes"), binaries=binaries) as started:
        policy_gate.apply(started)
        started.start_scheduler()
        yield started


@pytest.fixture(params=list(QueueRelease))
def stack(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Two nodes of one A100-40GB, and our queue, which releases pods in one of the ways."""
    with closing(Stack(plane, NODES, GPUS)) as started:
        started.serve(queue=True, queue_release=request.param)
        if request.param is QueueRelease.EXTENDER:
            started.schedule(name="kube-scheduler-that-asks")
        yield started
        started.clear()


def pod(name: str, scheduler: str) -> dict[str, Any]:
    """A pod that asks for a small slice."""
    return pod_of_migsched(name, "1g.5gb", schedulerName=scheduler)


def test_every_way_fills_the_fleet_to_the_last_slot(stack: Stack, request: pytest.FixtureRequest) -> None:
    """Each pod is bound where its place was held and shows the way; one of a scheduler that does not ask is pinned."""
    way = QueueRelease(request.node.callspec.params["stack"])
    scheduler = scheduler_config.PROFILE if way is QueueRelease.EXTENDER else "default-scheduler"
    with stack.recorded() as seen:
        stack.create(*(pod(f"small-{n}", scheduler) for n in range(PODS - 1)), pod("other-1", "default-scheduler"))
        eventually(lambda: len(bound(stack.pods())) == PODS, f"{PODS} pods bound")
        eventually(lambda: sum(bool(each["spec"].get("nodeName")) for each in seen) >= PODS, "all of it was seen")
    held = placements(stack, stack.pods())
    assert {len(there) for there in held.values()} == {7}
    for each in stack.pods():
        is_pinned = "nodeAffinity" in each["spec"].get("affinity", {})
        asks = each["spec"]["schedulerName"] == scheduler_config.PROFILE
        assert is_pinned is (way is QueueRelease.PIN or (way is QueueRelease.EXTENDER and not asks))
    nominated = {each["metadata"]["name"] for each in seen if each["status"].get("nominatedNodeName")}
    assert len(nominated) == (PODS if way is QueueRelease.NOMINATE else 0)


def test_the_gate_is_given_to_whom_the_table_says(plane: ControlPlane) -> None:
    """The policy gates the pods of `tests.gate_cases` as listed there."""
    eventually(lambda: gates(plane, gate_cases.CASES["asks"][0]) != [], "the policy is in force")
    assert {name: gates(plane, document) for name, (document, _) in gate_cases.CASES.items()} == {
        name: list(expected) for name, (_, expected) in gate_cases.CASES.items()
    }


def gates(plane: ControlPlane, document: dict[str, Any]) -> list[str]:
    """The gates that a pod would have, had it been created."""
    whole = {"apiVersion": "v1", "kind": "Pod", **document}
    whole["metadata"] = {**whole["metadata"], "name": "tried"}
    done = plane.kubectl(
        "create", "--dry-run=server", "--output=json", "--filename=-", standard_input=json.dumps(whole)
    )
    return gate_cases.gates_of(json.loads(done.stdout))
