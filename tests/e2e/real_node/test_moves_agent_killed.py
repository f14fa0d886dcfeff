"""The agent's process is killed inside a move on a real kubelet and containerd: the next agent makes it good, the move
ends or is planned anew, and one history of the cluster judges what came.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from allocator.claims import contract
from allocator.mig import gpu_models
from tests.e2e import history
from tests.e2e.history import Recorder
from tests.e2e.real_node.agent_stack import GPUS, AgentStack, Document, container, is_over, is_running, pod_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # a machine under load starts pods slowly

QUEUED = "default-scheduler"
SECONDS = 90.0
KIND = {"apiVersion": "migsched.io/v1alpha1", "kind": "Repack"}


@dataclass(frozen=True)
class Death:
    """Where the agent dies: `before` or `after` the first write that brings a slice to a state, or at a fail point."""

    name: str
    write: tuple[str, ...] = ()
    fail_point: str = ""


DEATHS = (
    Death("the held place is to be cut for the successor", write=("cutting", "after")),
    Death("the successor's slice is cut and not yet its own", write=("allocated", "before")),
    Death("the moved pod's slice is to be destroyed for who waits", write=("destroying", "after")),
    Death("what became of the slices is to be reported", fail_point="agent.report=kill@4"),
)
FURTHER = (
    Death("before the cut is noted", write=("cutting", "before")),
    Death("the successor's slice is its own and the kubelet is not answered", write=("allocated", "after")),
    Death("before the slice is given up", write=("destroying", "before")),
    Death("in a step", fail_point="agent.step=kill@12"),
)
ALL = os.environ.get("MIGSCHED_FAILURES") == "all"  # `make fail-points`


def alone(stack: AgentStack, name: str, profile: str) -> Document:
    """A pod without a controller, which no Repack touches."""
    return pod_of(stack, name, container("main", [profile]), schedulerName=QUEUED)


def replica(stack: AgentStack, name: str, profile: str) -> Document:
    """A ReplicaSet of one pod that may be moved; a pod that the kubelet refused is made anew."""
    spec = pod_of(stack, name, container("main", [profile]), schedulerName=QUEUED, restartPolicy="Always")["spec"]
    labels, movable = {"app": name}, {contract.MOVABLE_ANNOTATION: "true"}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": movable}, "spec": spec},
        },
    }


@pytest.fixture(scope="module")
def crowded(queued: AgentStack) -> Iterator[AgentStack]:
    """All but two of the GPUs are in use as a whole."""
    queued.recover()
    queued.run(*(alone(queued, f"whole-{number}", "7g.40gb") for number in range(GPUS - 2)))
    yield queued
    queued.recover()


@pytest.fixture
def fragmented(crowded: AgentStack) -> Iterator[AgentStack]:
    """The other two have half of their room free each: beside `stays`, and beside `moves`, which may be moved."""
    crowded.run(alone(crowded, "filler-1", "4g.20gb"), alone(crowded, "stays", "3g.20gb"))
    crowded.run(alone(crowded, "filler-2", "4g.20gb"))
    crowded.create(replica(crowded, "moves", "3g.20gb"))
    crowded.eventually(lambda: len(living(crowded, "moves")) == 1, "the pod to be moved runs", SECONDS)
    crowded.delete("filler-1", "filler-2")
    crowded.eventually(lambda: crowded.owners() == [*moved(crowded), "stays", *wholes()], "the fillers are gone")
    destroy_idle(crowded)
    yield crowded
    crowded.cluster.kubectl("delete", "repacks,poddisruptionbudgets,replicasets", "--all")
    crowded.delete("stays")
    crowded.eventually(lambda: crowded.owners() == wholes() == names(crowded), "what the test made is gone", SECONDS)


def destroy_idle(stack: AgentStack) -> None:
    """Another program destroys the idle slices: what is cut and destroyed from now on is for the move."""
    idle = {uuid for uuid, (state, _) in stack.reported().items() if state == "idle"}
    for gpu in stack.hardware.driver.by_index():
        for instance in gpu.instances():
            if instance.mig_uuid in idle:
                gpu.destroy(instance.gi_id)
    stack.eventually(lambda: not idle & stack.reported().keys(), "the agent has noticed")


def wholes() -> list[str]:
    """The pods that have a GPU each, in order."""
    return [f"whole-{number}" for number in range(GPUS - 2)]


def names(stack: AgentStack) -> list[str]:
    """All pods that there are, in order."""
    return sorted(one["metadata"]["name"] for one in stack.pods())


def living(stack: AgentStack, owner: str) -> list[Document]:
    """The pods of a ReplicaSet that run and are not told to end."""
    return [
        one
        for one in stack.pods()
        if one["metadata"].get("labels", {}).get("app") == owner
        and "deletionTimestamp" not in one["metadata"]
        and is_running(one)
    ]


def moved(stack: AgentStack) -> list[str]:
    """The names of the pods of `moves` that run."""
    return [one["metadata"]["name"] for one in living(stack, "moves")]


def gpu_of(stack: AgentStack, pod: str) -> str:
    """The GPU of a pod's only slice, as its container reads it."""
    return stack.hardware.slices()[stack.visible(pod)][0]


def phase(stack: AgentStack) -> str:
    """Where the Repack stands."""
    shown: Document = json.loads(stack.cluster.kubectl("get", "repack", "room", "--output=json").stdout)
    return str(shown.get("status", {}).get("phase", ""))


@pytest.mark.parametrize("death", DEATHS + FURTHER * ALL, ids=lambda death: death.name)
def test_a_move_survives_the_agent(fragmented: AgentStack, death: Death) -> None:
    """Who waits runs on the GPU that was emptied, the moved pod's successor on its own slice; nothing is held."""
    stack = fragmented
    before, emptied = moved(stack), gpu_of(stack, moved(stack)[0])
    stack.agent.stop()
    stack.agent.start(*death.write, fail_points=death.fail_point)
    stack.eventually(lambda: stack.agent.killed or stack.serves(), "the agent serves", SECONDS)
    recorder = Recorder(stack.cluster.kubeconfig)
    deaths = 0
    try:
        selector = {"matchLabels": {"app": "moves"}}
        budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "moves"}}
        wanted = {"requests": [{"name": "train", "profiles": {"7g.40gb": 1}}]}
        room = {"wanted": wanted, "budgets": {"moves": 1}, "mode": "Auto"}
        stack.create(replica(stack, "train", "7g.40gb"))
        stack.cluster.apply([budget | {"spec": {"maxUnavailable": 1, "selector": selector}}])
        stack.cluster.apply([KIND | {"metadata": {"name": "room"}, "spec": room}])

        def done() -> bool:
            nonlocal deaths
            if stack.agent.killed:
                deaths += 1
                stack.agent.start()
            return deaths > 0 and len(living(stack, "train")) == len(living(stack, "moves")) == 1

        stack.eventually(done, "the agent was killed, who waited runs, and so does the successor", SECONDS)
        stack.eventually(lambda: phase(stack) == "Done", "the Repack is done", SECONDS)
        stack.eventually(stack.serves, "the devices are back", SECONDS)
    finally:
        events = recorder.stop()
    (train,) = (one["metadata"]["name"] for one in living(stack, "train"))
    (successor,) = moved(stack)
    assert deaths == 1
    assert successor not in before
    assert gpu_of(stack, train) == emptied
    assert gpu_of(stack, successor) == gpu_of(stack, "stays")
    present = {one["metadata"]["name"] for one in stack.pods() if not is_over(one)}
    stack.eventually(lambda: set(stack.owners()) == present, "each has its slice, and nobody else has one", SECONDS)
    stack.eventually(lambda: stack.claims() == len(present), "no place is held for anybody else", SECONDS)
    assert history.violations(events, gpu_models.find("a100-40gb")) == []
    violations, stack.hardware.violations = stack.hardware.violations, []
    assert violations == []
