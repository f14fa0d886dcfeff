"""The scheduler service is killed at every point that a Repack's moves pass, on a stock control plane; commands ask for
the moves. One history of the cluster judges each run: nothing lost, nothing doubled, no hold left, no budget broken.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from allocator.claims import contract, placement_annotation
from allocator.mig import gpu_models
from config.fail_points import POINTS
from kubeclient.changes import ChangeType
from testbed.control_plane import build, ports
from tests.e2e import history
from tests.e2e.history import Event, Recorder
from tests.e2e.scheduling import moving_stack
from tests.e2e.scheduling.stack import (
    MODEL,
    SECONDS,
    Document,
    ExtenderProcess,
    Stack,
    eventually,
    placements,
    pod,
)

pytestmark = pytest.mark.e2e

EACH_LIFE = {  # armed in every process: how far one comes
    "moves.written=kill@1": "one write, and nothing of what it announces",
    "moves.writing=kill@2": "one write and what it announces, and not the next",
}
ONCE = ("queue.held", "queue.released", "queue.evicted")  # each ends one process
NOT_PASSED = {"queue.nominated"}  # by the way of release that needs no queue of kube-scheduler's


@pytest.fixture(scope="module")
def stack(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The cluster, which the tests of this file share."""
    with moving_stack.started(binaries, tmp_path_factory.mktemp("moving")) as made:
        yield made


@pytest.fixture
def service(stack: Stack, tmp_path: Path) -> Iterator[ExtenderProcess]:
    """A service that carries out Repacks, which the tests start; no workloads are left."""
    made = ExtenderProcess(stack.plane.kubeconfig, tmp_path, *ports.choose_free(2), queue=True, moves=True)
    yield made
    made.stop()
    stack.plane.kubectl("delete", "poddisruptionbudgets,repacks", "--all")
    stack.plane.kubectl("uncordon", *(node.name for node in stack.fleet))
    stack.clear()


def lying_pod(stack: Stack, name: str, profile: str, node: int, start: int) -> Document:
    """A movable pod in a place of its own."""
    where = stack.fleet[node]
    made = pod(name, profile, nodeName=where.name, schedulerName="default-scheduler")
    promise = placement_annotation.Promise("main", where.gpus[0].uuid, profile, start)
    made["metadata"]["annotations"] = {
        contract.MOVABLE_ANNOTATION: "true",
        contract.PLACEMENT_ANNOTATION: placement_annotation.encode((promise,)),
    }
    return made


def adopting(name: str, profile: str, number: int) -> list[Document]:
    """A ReplicaSet of pods that lie there already, and a budget that lets one of them go at a time."""
    template = pod(f"{name}-0", profile, schedulerName="default-scheduler")
    meta = {"labels": {"app": name}, "annotations": {contract.MOVABLE_ANNOTATION: "true"}}
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": number, "selector": selector, "template": {"metadata": meta, "spec": template["spec"]}}
    budget = {"maxUnavailable": 1, "selector": selector}
    return [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": budget},
    ]


def scatter(stack: Stack) -> None:
    """Two pods of `a` on a GPU each, and one of `b` on the third, which has room for both."""
    stack.create(
        lying_pod(stack, "a-1", "2g.10gb", 0, 0),
        lying_pod(stack, "a-2", "2g.10gb", 1, 0),
        lying_pod(stack, "b-1", "3g.20gb", 2, 4),
        *adopting("a", "2g.10gb", 2),
        *adopting("b", "3g.20gb", 1),
    )
    eventually(lambda: running(stack) == 3, "they run")
    eventually(lambda: all(one["metadata"].get("ownerReferences") for one in stack.pods()), "they are adopted")
    eventually(lambda: all(allowed == 1 for allowed in disruptions(stack)), "their budgets are counted")


def disruptions(stack: Stack) -> list[int]:
    """How many disruptions each budget allows now."""
    listed = json.loads(stack.plane.kubectl("get", "pdb", "--output=json").stdout)["items"]
    return [one.get("status", {}).get("disruptionsAllowed", 0) for one in listed]


def running(stack: Stack) -> int:
    """How many pods run."""
    return sum(one["status"]["phase"] == "Running" for one in stack.pods())


def repack(stack: Stack, name: str) -> Document:
    """A Repack."""
    found: Document = json.loads(stack.plane.kubectl("get", "repack", name, "--output=json").stdout)
    return found


def is_done(stack: Stack, name: str) -> bool:
    """Whether a Repack has ended well."""
    return bool(repack(stack, name).get("status", {}).get("phase") == "Done")


def wish(stack: Stack, name: str, number: int) -> None:
    """So many whole GPUs are to be free, with as many moves as that takes and not one more."""
    wanted = {"requests": [{"name": "train", "profiles": {"7g.40gb": 1}, "count": number}]}
    budgets = {"moves": number, "perService": number, "parallel": 2}
    spec = {"wanted": wanted, "budgets": budgets, "mode": "Auto"}
    meta = {"name": name}
    stack.create({"apiVersion": "migsched.io/v1alpha1", "kind": "Repack", "metadata": meta, "spec": spec})


def holds_nothing(service: ExtenderProcess) -> bool:
    """Whether the service answers, and holds nothing for Repacks."""
    try:
        with urllib.request.urlopen(f"{service.api_url}/api/v1/snapshot", timeout=10) as answer:
            return b"repack/" not in answer.read()
    except OSError:  # the door of a process that was killed may have answered for the one that begins
        return False


def judge(stack: Stack, service: ExtenderProcess, name: str, events: Sequence[Event], moves: int) -> None:
    """What must be true of a history in which a Repack was carried out with so many moves."""
    assert history.violations(events, gpu_models.find(MODEL)) == []
    steps = repack(stack, name)["status"]["steps"]
    assert [step["state"] for step in steps] == ["confirmed"] * moves
    gone = {event.object["metadata"]["uid"] for event in events if event.type is ChangeType.DELETED}
    assert gone & _pods(events) == {step["uid"] for step in steps}, "others went than were to be moved"
    here = {one["metadata"]["uid"]: one for one in stack.pods()}
    for step in steps:
        came = here[step["replacement"]]
        (promise,) = placement_annotation.decode(came["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION])
        assert (came["spec"]["nodeName"], promise.gpu, promise.start) == (
            step["node"],
            step["slices"][0]["gpu"],
            step["slices"][0]["start"],
        )
    assert history.most_away(events) <= 1, "a budget was broken"
    placements(stack, stack.pods())
    eventually(lambda: holds_nothing(service), "nothing is held")


def _pods(events: Sequence[Event]) -> set[str]:
    return {event.object["metadata"]["uid"] for event in events if event.path == history.PODS}


def carry_out(
    stack: Stack, service: ExtenderProcess, name: str, moves: int, failing: Callable[[], str]
) -> tuple[int, Sequence[Event]]:
    """A Repack, while each process is armed with what `failing` says: how many were killed, and the history."""
    recorder, killed = Recorder(stack.plane.kubeconfig), 0
    try:
        service.start(failing())
        wish(stack, name, moves)

        def done() -> bool:
            nonlocal killed
            if service.killed:
                killed += 1
                service.start(failing())
            return is_done(stack, name)

        eventually(done, "the moves are made", 2 * SECONDS)
        killed += service.killed
        service.kill()
        service.start()
        eventually(lambda: running(stack) == 3, "everybody runs")
    finally:
        events = recorder.stop()
    return killed, events


def test_every_point_that_moves_pass_is_killed_at() -> None:
    """No fail point of the executor or of the releases that it needs is left out here."""
    ours = {point for point in POINTS if point.startswith(("moves.", "queue."))}
    assert ours - NOT_PASSED == {failure.partition("=")[0] for failure in EACH_LIFE} | set(ONCE)


@pytest.mark.parametrize("failure", EACH_LIFE)
def test_moves_are_made_by_processes_that_write_once(stack: Stack, service: ExtenderProcess, failure: str) -> None:
    """Each process dies right after its first write, or before its second: together they make the move once."""
    scatter(stack)
    killed, events = carry_out(stack, service, "room", 1, lambda: failure)
    assert killed >= 2
    judge(stack, service, "room", events, 1)


def test_moves_are_made_over_a_kill_at_each_step_of_a_release(stack: Stack, service: ExtenderProcess) -> None:
    """A process dies after an eviction, with a place handed over, and with the replacement released."""
    scatter(stack)

    def failing() -> str:
        acted = set(re.findall(r"point=(\S+)|\"point\": ?\"([^\"]+)\"", service.log()))
        left = [point for point in ONCE if not any(point in pair for pair in acted)]
        return " ".join(f"{point}=kill@1" for point in left)

    killed, events = carry_out(stack, service, "room", 1, failing)
    assert killed == len(ONCE)
    judge(stack, service, "room", events, 1)


def migsched(stack: Stack, *arguments: str, text: str = "") -> str:
    """What the command prints, with the administrator's rights."""
    environment: dict[str, Any] = {**os.environ, "KUBECONFIG": str(stack.plane.kubeconfig)}
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_ask_for_moves_and_approve_them(stack: Stack, service: ExtenderProcess) -> None:
    """`repack --apply` proposes, `repack approve` has it made, and `drain` cordons a node and empties it, while agents
    are dead for a part of it.
    """
    service.start()
    scatter(stack)
    before = {one["metadata"]["uid"] for one in stack.pods()}
    document = json.dumps({"requests": [{"name": "train", "profiles": {"7g.40gb": 1}}], "budgets": {"moves": 1}})
    assert "room is made" in migsched(stack, "repack", "-", "--apply", "room", text=document)
    eventually(lambda: repack(stack, "room").get("status", {}).get("phase") == "Proposed", "moves are proposed")
    assert before == {one["metadata"]["uid"] for one in stack.pods()}, "nobody goes before it is approved"
    with stack.agents_killed():
        assert "room is approved" in migsched(stack, "repack", "approve", "room")
        eventually(lambda: repack(stack, "room")["status"]["steps"][0]["state"] == "replaced", "it waits for agents")
    eventually(lambda: is_done(stack, "room"), "the move is made")
    node = next(node.name for node in stack.fleet if any(one["spec"]["nodeName"] == node.name for one in stack.pods()))
    assert f"{node} is cordoned" in migsched(stack, "drain", node)
    eventually(lambda: is_done(stack, f"drain-{node}"), "the node is drained")
    eventually(lambda: running(stack) == 3, "everybody runs")
    assert all(one["spec"]["nodeName"] != node for one in stack.pods())
    eventually(lambda: holds_nothing(service), "nothing is held")
