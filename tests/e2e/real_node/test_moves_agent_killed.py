"""SIGKILL of the agent's process inside each step of a move, on a real kubelet: the next agent makes it good.

A pod that waits for a whole GPU gets one by a Repack, which moves one of two pods to the other. Meanwhile the agent
dies where a slice comes to a state of its life, or between two reports, and is started again as the kubelet would.
"""

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence

import pytest

from allocator.claims import contract, placement_annotation
from allocator.mig import gpu_models
from node_agent.slices.states import RecordState
from tests.e2e import history
from tests.e2e.history import Event, Recorder
from tests.e2e.real_node.agent_stack import GPUS, AgentStack, Document, container, is_running, is_same_container, pod_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # two agents' starts in each, on a machine under load

SECONDS = 90.0
WHOLE = tuple(f"whole-{number}" for number in range(GPUS - 2))
REPACK = {
    "apiVersion": "migsched.io/v1alpha1",
    "kind": "Repack",
    "metadata": {"name": "room"},
    "spec": {
        "wanted": {"requests": [{"name": "train", "profiles": {"7g.40gb": 1}}]},
        "budgets": {"moves": 1},
        "mode": "Auto",
    },
}

DEATHS = {
    (RecordState.CUTTING, "after"): "the target of the replacement is to be cut, and is not",
    (RecordState.ALLOCATED, "before"): "it is cut, the kubelet has asked for it, and the journal does not say so",
    (RecordState.ALLOCATED, "after"): "the journal says so, and the kubelet gets no answer",
    (RecordState.IDLE, "before"): "a slice is cut or given back, and the journal does not say so",
    (RecordState.DESTROYING, "after"): "the place that was given back is to be made room of, and is not",
}
FURTHER = {
    (RecordState.CUTTING, "before"): "the target is chosen, and nothing is written",
    (RecordState.IDLE, "after"): "the journal says that a slice is free, and nobody was told",
    (RecordState.DESTROYING, "before"): "room is wanted, and nothing is written",
}
ALL = os.environ.get("MIGSCHED_FAILURES") == "all"  # `make fail-points`


def lying(stack: AgentStack, app: str, name: str, gpu: int, profile: str, *, movable: bool = False) -> Document:
    """A pod with a place of its own, at the beginning of a GPU."""
    made = pod_of(
        stack,
        name,
        container("main", [profile]),
        nodeName=stack.node.name,
        schedulerName="default-scheduler",
        restartPolicy="Always",
    )
    promise = placement_annotation.Promise("main", stack.hardware.driver.by_index()[gpu].uuid, profile, 0)
    made["metadata"]["labels"] = {"app": app}
    made["metadata"]["annotations"] = {
        contract.MOVABLE_ANNOTATION: str(movable).lower(),
        contract.PLACEMENT_ANNOTATION: placement_annotation.encode((promise,)),
    }
    return made


def owner(stack: AgentStack, app: str, profile: str, replicas: int, *, movable: bool = False) -> Document:
    """A ReplicaSet, which adopts pods that have its label."""
    template = pod_of(
        stack, app, container("main", [profile]), schedulerName="default-scheduler", restartPolicy="Always"
    )
    meta = {"labels": {"app": app}, "annotations": {contract.MOVABLE_ANNOTATION: str(movable).lower()}}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": meta, "spec": template["spec"]},
    }
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": app}, "spec": spec}


def budget(app: str) -> Document:
    """One of its pods may be away at a time."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": app}, "spec": spec}


@pytest.fixture(scope="module")
def full(queued: AgentStack) -> Iterator[AgentStack]:
    """All GPUs but two are in whole use, by pods that must not notice anything."""
    queued.recover()
    queued.run(*(lying(queued, "whole", name, gpu, "7g.40gb") for gpu, name in enumerate(WHOLE)))
    yield queued
    queued.clear()


@pytest.fixture
def stack(full: AgentStack) -> Iterator[AgentStack]:
    """The two others have a small pod each, of one owner; a test's pods are gone afterwards."""
    full.run(
        *(lying(full, "mover", f"mover-{gpu}", gpu, "1g.5gb", movable=True) for gpu in range(GPUS - 2, GPUS)),
    )
    full.create(owner(full, "mover", "1g.5gb", 2, movable=True), budget("mover"))
    full.eventually(lambda: allowed(full) == 1, "their budget is counted", SECONDS)
    yield full
    if not full.agent.running:
        full.agent.start()
    full.eventually(full.serves, "the devices are back", SECONDS)
    full.cluster.kubectl("delete", "repacks,poddisruptionbudgets,replicasets", "--all", "--cascade=orphan")
    full.cluster.kubectl("delete", "pods", "--wait=false", "--selector=app!=whole")
    full.eventually(lambda: apps(full) == {"whole"}, "its pods are gone", SECONDS)
    full.eventually(lambda: len(full.owners()) == len(WHOLE), "their slices are given back", SECONDS)


def allowed(stack: AgentStack) -> int:
    """How many disruptions the budget allows now."""
    found = json.loads(stack.cluster.kubectl("get", "pdb", "mover", "--output=json").stdout)
    return int(found.get("status", {}).get("disruptionsAllowed", 0))


def apps(stack: AgentStack) -> set[str]:
    """Whose pods there are."""
    return {one["metadata"]["labels"]["app"] for one in stack.pods()}


def phase(stack: AgentStack) -> str:
    """Where the Repack stands, "" before the executor has seen it."""
    found = json.loads(stack.cluster.kubectl("get", "repack", "room", "--output=json").stdout)
    return str(found.get("status", {}).get("phase", ""))


def holds_nothing(stack: AgentStack) -> bool:
    """Whether the service holds no place for a Repack."""
    with urllib.request.urlopen(f"{stack.extender.api_url}/api/v1/snapshot", timeout=10) as answer:
        return b"repack/" not in answer.read()


def running(stack: AgentStack, app: str) -> list[Document]:
    """The pods of an owner that run."""
    return [one for one in stack.pods() if one["metadata"]["labels"]["app"] == app and is_running(one)]


def restart_armed(stack: AgentStack, *die_at: str, **settings: str) -> None:
    """An agent that is going to die takes the place of the one that runs, and serves."""
    stack.agent.stop()
    stack.agent.start(*die_at, **settings)
    stack.eventually(lambda: stack.agent.killed or stack.serves(), "the devices are back", SECONDS)
    assert not stack.agent.killed, "it died before anything moved"


def make_room(stack: AgentStack, kill: Callable[[], None]) -> Sequence[Event]:
    """The history of a pod that waits, and of the Repack for it, while the agent dies once and is started again."""
    recorder, killed = Recorder(stack.cluster.kubeconfig), 0
    try:
        stack.cluster.apply([owner(stack, "train", "7g.40gb", 1), REPACK])

        def is_served() -> bool:
            nonlocal killed
            kill()
            if stack.agent.killed:
                killed += 1
                stack.agent.start()
            return bool(killed and running(stack, "train") and phase(stack) == "Done")

        stack.eventually(is_served, "the agent has died, the move is made, and who waited runs", SECONDS)
        stack.eventually(lambda: len(running(stack, "mover")) == 2, "the replacement runs", SECONDS)
        stack.eventually(stack.serves, "the devices are back", SECONDS)
        stack.eventually(lambda: len(stack.owners()) == GPUS + 1, "every pod is shown with its slice", SECONDS)
    finally:
        events = recorder.stop()
    assert killed == 1
    return events


def judge(stack: AgentStack, before: Sequence[Document], events: Sequence[Event]) -> None:
    """What must be true after a move, wherever the agent died."""
    assert history.violations(events, gpu_models.find("a100-40gb")) == []
    assert stack.hardware.violations == []
    assert history.most_away(events) <= 1, "the budget was broken"
    here = {one["metadata"]["name"]: one for one in stack.pods()}
    for one in before:
        name = one["metadata"]["name"]
        assert name not in WHOLE or is_same_container(one, here[name])
    served = [
        name for app in ("whole", "mover", "train") for name in (one["metadata"]["name"] for one in running(stack, app))
    ]
    assert stack.owners() == sorted(served), "each that runs has one slice, and nobody else has any"
    cut = stack.hardware.slices()
    held = {pod: cut[uuid] for uuid, (state, pod) in stack.reported().items() if state == "allocated"}
    movers = {held[one["metadata"]["name"]] for one in running(stack, "mover")}
    assert len(movers) == 2
    assert len({gpu for gpu, _ in movers}) == 1, "one pod moved beside the other"
    stack.eventually(lambda: stack.marked() >= set(served), "each uses its own slice")
    settled = {RecordState.IDLE, RecordState.ALLOCATED}
    stack.eventually(lambda: {one.state for one in stack.journal().records.values()} <= settled, "no intent is left")
    stack.eventually(lambda: holds_nothing(stack) and stack.claims() == GPUS + 1, "no hold is left, and no claim")


@pytest.mark.parametrize(("state", "when"), [*DEATHS, *(FURTHER if ALL else ())])
def test_it_dies_where_a_slice_of_the_move_changes(stack: AgentStack, state: RecordState, when: str) -> None:
    """Killed before or after the journal's first write of a state, the agent leaves a move that the next one ends."""
    restart_armed(stack, state.value, when)
    before = stack.pods()
    events = make_room(stack, lambda: None)
    judge(stack, before, events)


def source_is_over(stack: AgentStack, before: set[str]) -> bool:
    """Whether a container that is moved has given up its slice, of which the agent may not have heard yet."""
    using = {str(link.readlink()) for link in stack.in_use.iterdir()}
    return not using >= before


def replacement_is_reported(stack: AgentStack, before: set[str]) -> bool:
    """Whether the MigNode shows a slice of a pod that was not there."""
    return not before >= set(stack.owners())


@pytest.mark.parametrize("seen", [source_is_over, replacement_is_reported])
def test_it_dies_when_something_is_seen(stack: AgentStack, seen: Callable[[AgentStack, set[str]], bool]) -> None:
    """Killed when a source's container ends, or a replacement is reported, the agent leaves the rest to the next."""
    before, first = stack.pods(), stack.agent.pid
    names = {one["metadata"]["name"] for one in before}

    def kill() -> None:
        if stack.agent.pid == first and seen(stack, names):
            stack.agent.kill()

    judge(stack, before, make_room(stack, kill))
