"""What a pod says of its own scheduling: read in part, bounded, fit to be shown."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeclient.changes import Change, ChangeType
from kubeclient.objects import Pod
from scheduler.cache import pod_decoding, scheduling_facts
from scheduler.cache.port import WatchedKind
from scheduler.cache.scheduling_facts import MAX_GATES, MAX_MESSAGE, MAX_NAME
from tests.unit.scheduler.cache.test_cluster_cache import fed

MIB = 2**20


def document(**spec: Any) -> dict[str, Any]:
    """A pod that asks for a slice and has no node."""
    limits = {"nvidia.com/mig-1g.5gb": "1"}
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-31T12:00:00Z"},
        "spec": {"containers": [{"name": "main", "resources": {"limits": limits}}], **spec},
        "status": {"phase": "Pending"},
    }


def condition(message: str) -> dict[str, str]:
    """What kube-scheduler writes of a pod that it could not place."""
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


def facts(made: dict[str, Any]) -> scheduling_facts.SchedulingFacts:
    """The facts of a pod that came over a watch."""
    return scheduling_facts.of(pod_decoding.decode(msgspec.json.encode(made)))


def test_a_pod_without_a_node_tells_how_it_is_scheduled() -> None:
    """Scheduler, gates, kube-scheduler's words, nomination and age are read."""
    made = document(schedulerName="migsched", schedulingGates=[{"name": "kueue.x-k8s.io/admission"}])
    made["status"] |= {"nominatedNodeName": "n", "conditions": [condition("0/3 nodes are available")]}
    assert facts(made) == scheduling_facts.SchedulingFacts(
        scheduler="migsched",
        created="2026-01-31T12:00:00Z",
        gates=("kueue.x-k8s.io/admission",),
        gate_count=1,
        message="0/3 nodes are available",
        nominated_node="n",
    )


def test_what_the_api_server_says_of_gates_is_not_kube_schedulers_word() -> None:
    """A gated pod was never looked at, so kube-scheduler has said nothing of it."""
    made = document(schedulingGates=[{"name": "kueue.x-k8s.io/admission"}])
    blocked = "Scheduling is blocked due to non-empty scheduling gates"
    made["status"]["conditions"] = [condition(blocked) | {"reason": "SchedulingGated"}]
    assert facts(made).message == ""


def test_a_condition_that_is_true_says_nothing() -> None:
    """Only what kept kube-scheduler from placing the pod is its word."""
    made = document()
    made["status"]["conditions"] = [condition("") | {"status": "True"}, {"type": "Ready", "message": "no"}]
    assert facts(made).message == ""


def test_a_bound_pod_keeps_when_it_ends_alone() -> None:
    """A pod with a node keeps no texts; its end is that of its deletion, or of its deadline."""
    made = document(nodeName="n", activeDeadlineSeconds=60)
    assert facts(made) == scheduling_facts.NOTHING
    made["status"] |= {"startTime": "2026-01-31T12:00:00Z", "conditions": [condition("x")]}
    assert facts(made) == scheduling_facts.SchedulingFacts(ends="2026-01-31T12:01:00Z")
    made["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:30Z"
    assert facts(made) == scheduling_facts.SchedulingFacts(ends="2026-01-31T12:00:30Z", terminating=True)


@pytest.mark.parametrize("started", ["", "yesterday", "9999-12-31T23:59:59Z"])
def test_a_deadline_that_cannot_be_told_is_none(started: str) -> None:
    """A start that is no time, or an end past all time, is no end."""
    made = document(nodeName="n", activeDeadlineSeconds=3600)
    made["status"]["startTime"] = started
    assert facts(made).ends == ""


def test_many_gates_are_counted_and_few_named() -> None:
    """Of 10,000 gates a few are kept, whatever way the pod came in."""
    made = document(schedulingGates=[{"name": f"example.com/{number}"} for number in range(10_000)])
    whole = scheduling_facts.of(msgspec.convert(made, Pod))
    assert (len(whole.gates), whole.gate_count) == (MAX_GATES, 10_000)
    large = facts(made)
    assert large.gate_count == 1
    assert large.gates[0].endswith("bytes of gates, too many to be read")


def test_a_large_message_is_cut() -> None:
    """Of a message of 1 MiB a line is kept, whatever way the pod came in."""
    made = document()
    made["status"]["conditions"] = [condition("words " * (MIB // 6))]
    whole = scheduling_facts.of(msgspec.convert(made, Pod)).message
    assert len(whole) <= MAX_MESSAGE
    assert whole.startswith("words words")
    assert facts(made).message.endswith("bytes of conditions, too many to be read")


@given(st.text(max_size=3 * MAX_NAME))
def test_what_is_shown_is_one_short_line(text: str) -> None:
    """No control character, line break or direction mark survives, and no text is longer than allowed."""
    shown = scheduling_facts.shown(text, MAX_NAME)
    assert len(shown) <= MAX_NAME
    assert shown.isprintable()
    assert scheduling_facts.shown(shown, MAX_NAME) == shown


def test_the_cache_follows_what_is_said() -> None:
    """A pod's facts are those of its last version; a promise that cannot be kept is remembered until it can."""
    state, _ = fed()
    made = document(schedulingGates=[{"name": "example.com/wait"}])
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, msgspec.convert(made, Pod), "1"))
    assert state.pods["u"].scheduling.gates == ("example.com/wait",)
    made = document(nodeName="n")
    state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, msgspec.convert(made, Pod), "2"))
    assert state.pods["u"].scheduling == scheduling_facts.NOTHING
    assert state.pods["u"].not_adopted == "its annotation does not promise what it asks for (1g.5gb)"
