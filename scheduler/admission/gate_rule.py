"""Which new pods get the queue's gate. Pure; the rule of deploy/options/queue/gate.yaml, and a test compares the two.

The opt-out of a namespace is not here: a webhook is not shown its labels, and its configuration selects by them.
"""

from collections.abc import Container, Mapping, Sequence

import msgspec

from allocator.mig.profile import RESOURCE_PREFIX
from allocator.queueing.queued_pod import GATE
from kubeclient.objects import PodSpec

LABEL = "migsched.io/queue"
OFF = "off"  # the label's value by which a pod or a namespace opts out


class _Labelled(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None


class NewPod(msgspec.Struct, frozen=True):
    """A pod that is being created: it may have no name yet."""

    metadata: _Labelled = _Labelled()
    spec: PodSpec = PodSpec()


def wants_gate(pod: NewPod, schedulers: Container[str]) -> bool:
    """Whether a pod asks for slices, has no node yet, goes to one of these schedulers, and has not opted out."""
    spec = pod.spec
    containers = (*spec.containers, *(spec.init_containers or ()))
    return (
        not spec.node_name
        and (not spec.scheduler_name or spec.scheduler_name in schedulers)
        and (pod.metadata.labels or {}).get(LABEL) != OFF
        and any(
            name.startswith(RESOURCE_PREFIX) and str(quantity) != "0"
            for container in containers
            for name, quantity in ((container.resources and container.resources.limits) or {}).items()
        )
    )


def patch(pod: NewPod, schedulers: Container[str]) -> Sequence[Mapping[str, object]]:
    """The JSON patch (RFC 6902) that gives a pod the gate; empty for one that gets none, or has it already."""
    gates = pod.spec.scheduling_gates or ()
    if not wants_gate(pod, schedulers) or any(gate.name == GATE for gate in gates):
        return ()
    gate = {"name": GATE}
    if gates:
        return ({"op": "add", "path": "/spec/schedulingGates/-", "value": gate},)
    return ({"op": "add", "path": "/spec/schedulingGates", "value": [gate]},)
