"""The queue's gate, as the shipped MutatingAdmissionPolicy gives it to new pods (deploy/options/queue/gate.yaml).

The policy is the rule; this is what a server in memory does in its place, by the rule of the webhook. A test holds them
together by the names in the policy's text, and one table of pods is put to both (tests/gate_cases.py). Namespaces are
not kept here, so their labels leave no pod out.
"""

import msgspec

from allocator.queueing.queued_pod import GATE
from scheduler.admission import gate_rule
from scheduler.admission.gate_rule import NewPod
from simulator.cluster.api import Document

SCHEDULERS = ("", "default-scheduler", "migsched")  # whose pods are gated
OPT_OUT = (gate_rule.LABEL, gate_rule.OFF)  # the label of a pod that is left alone


def admitted(pod: Document) -> Document:
    """A new pod as it is to be stored: with the gate, if it is one for the queue."""
    if not _is_for_the_queue(pod):
        return pod
    spec = pod["spec"]
    gates = spec.get("schedulingGates") or []
    if any(gate.get("name") == GATE for gate in gates):
        return pod
    return {**pod, "spec": {**spec, "schedulingGates": [*gates, {"name": GATE}]}}


def _is_for_the_queue(pod: Document) -> bool:
    try:
        return gate_rule.wants_gate(msgspec.convert(pod, NewPod), SCHEDULERS)
    except msgspec.ValidationError:  # an API server would not take it
        return False
