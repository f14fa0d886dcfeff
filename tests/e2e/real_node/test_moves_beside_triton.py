"""A Repack on a real kubelet and containerd: a pod is moved next to real Triton, and who waits gets its GPU."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from allocator.claims import contract
from tests.e2e.real_node.agent_stack import GPUS, AgentStack, Document, container, is_running, pod_of
from tests.e2e.real_node.consumers import SECONDS, Consumers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # a machine under load starts servers slowly

QUEUED = "default-scheduler"
PAUSE_S = 0.02  # between two requests


@contextmanager
def asked_all_the_time(consumers: Consumers, address: str) -> Iterator[list[str]]:
    """Triton is asked again and again; the slices that answered, in order. Fails with the first request that does."""
    slices: list[str] = []
    failures: list[Exception] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(PAUSE_S):
            try:
                slices.append(consumers.ask_triton(address)["SLICE"])
            except (OSError, AssertionError) as error:
                failures.append(error)
                return

    asking = threading.Thread(target=ask, name="ask Triton")
    asking.start()
    try:
        yield slices
    finally:
        over.set()
        asking.join()
    assert failures == []


def alone(stack: AgentStack, name: str, profile: str) -> Document:
    """A pod without a controller, which no Repack touches."""
    return pod_of(stack, name, container("main", [profile]), schedulerName=QUEUED)


def replica(stack: AgentStack, name: str, profile: str) -> Document:
    """A ReplicaSet of one pod that may be moved."""
    spec = pod_of(stack, name, container("main", [profile]), schedulerName=QUEUED, restartPolicy="Always")["spec"]
    labels, movable = {"app": name}, {contract.MOVABLE_ANNOTATION: "true"}
    template = {"metadata": {"labels": labels, "annotations": movable}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def only(consumers: Consumers, prefix: str) -> tuple[str, str, str]:
    """Pod, slice and GPU of the only pod that has a slice and a name that begins so; empty where there is none yet."""
    named = [(pod, *what) for pod, what in consumers.slices().items() if pod.startswith(prefix)]
    return named[0] if len(named) == 1 else ("", "", "")


def test_triton_answers_while_a_pod_is_moved_next_to_it(consumers: Consumers) -> None:
    """Of eight GPUs six are whole in use, two have a small pod each: one goes to the other, beside Triton."""
    stack = consumers.stack
    stack.run(*(alone(stack, f"whole-{n}", "7g.40gb") for n in range(GPUS - 2)))
    stack.create(replica(stack, "mover", "1g.5gb"))
    stack.eventually(lambda: bool(only(consumers, "mover-")[0]), "the pod to be moved has a slice", SECONDS)
    stack.run(*(alone(stack, f"filler-{n}", "1g.5gb") for n in range(6)))
    consumers.apply_triton(replicas=1, movable=False)
    stack.eventually(lambda: len(consumers.endpoints("triton-1g")) == 1, "Triton is ready", SECONDS)
    stack.delete(*(f"filler-{n}" for n in range(6)))
    stack.eventually(lambda: len(consumers.slices()) == GPUS, "the fillers are gone", SECONDS)
    moved, (_, of_triton, its_gpu) = only(consumers, "mover-"), only(consumers, "triton-")
    assert moved[2] != its_gpu
    wanted = {"requests": [{"name": "train", "profiles": {"7g.40gb": 1}}]}
    room = {"wanted": wanted, "budgets": {"moves": 1}, "mode": "Auto"}
    (address,) = consumers.endpoints("triton-1g")
    with asked_all_the_time(consumers, address) as answers:
        stack.create(alone(stack, "train", "7g.40gb"))
        kind = {"apiVersion": "migsched.io/v1alpha1", "kind": "Repack"}
        stack.cluster.apply([kind | {"metadata": {"name": "room"}, "spec": room}])
        stack.eventually(lambda: is_running(stack.get("pod", "train")), "the pod that waited runs", SECONDS)
        stack.eventually(lambda: only(consumers, "mover-")[2] == its_gpu, "the moved pod is beside Triton", SECONDS)
        stack.eventually(lambda: phase(stack) == "Done", "the Repack is done", SECONDS)
    assert set(answers) == {of_triton}
    assert len(answers) > 1 / PAUSE_S
    assert only(consumers, "mover-")[0] != moved[0]
    assert only(consumers, "train")[2] == moved[2]
    stack.cluster.kubectl("delete", "repack", "room")
    consumers.clear()


def phase(stack: AgentStack) -> str:
    """Where the Repack stands."""
    status: Document = json.loads(stack.cluster.kubectl("get", "repack", "room", "--output=json").stdout)["status"]
    return str(status["phase"])
