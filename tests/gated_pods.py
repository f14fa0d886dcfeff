"""New pods, and whether they get the queue's gate: one table, tried on the policy, on the webhook, and on its rule."""

from typing import Any

from allocator.queueing.queued_pod import GATE

Document = dict[str, Any]
FOREIGN = "kueue.x-k8s.io/admission"
_SLICE = {"limits": {"nvidia.com/mig-1g.5gb": "1"}}


def _pod(labels: dict[str, str] | None = None, resources: Document | None = None, **spec: Any) -> Document:
    container = {"name": "main", "image": "none", "resources": _SLICE if resources is None else resources}
    meta = {"namespace": "default", "generateName": "tried-", "labels": labels or {}}
    containers = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**containers, **spec}}


_HELPER = {"name": "helper", "image": "none", "resources": _SLICE}

# By what the pod is: the pod, and the gates that it has once it is created.
CASES: dict[str, tuple[Document, list[str]]] = {
    "asks for a slice": (_pod(), [GATE]),
    "asks for several profiles": (_pod(resources={"limits": {"nvidia.com/mig-1g.10gb.me": "2", "cpu": "1"}}), [GATE]),
    "asks in an init container": (_pod(resources={}, initContainers=[_HELPER]), [GATE]),
    "asks in its second container": (_pod(containers=[{"name": "a", "image": "none"}, _HELPER]), [GATE]),
    "names the default scheduler": (_pod(schedulerName="default-scheduler"), [GATE]),
    "names migsched": (_pod(schedulerName="migsched"), [GATE]),
    "names another scheduler": (_pod(schedulerName="volcano"), []),
    "asks for none of it": (_pod(resources={"limits": {"nvidia.com/mig-1g.5gb": "0"}}), []),
    "asks for a whole GPU": (_pod(resources={"limits": {"nvidia.com/gpu": "1"}}), []),
    "asks for nothing": (_pod(resources={}), []),
    "asks for CPU": (_pod(resources={"limits": {"cpu": "1"}}), []),
    "has a node": (_pod(nodeName="n1"), []),
    "opted out": (_pod(labels={"migsched.io/queue": "off"}), []),
    "has another value there": (_pod(labels={"migsched.io/queue": "on"}), [GATE]),
    "has the gate": (_pod(schedulingGates=[{"name": GATE}]), [GATE]),
    "has a foreign gate": (_pod(schedulingGates=[{"name": FOREIGN}]), [GATE, FOREIGN]),
    "has both": (_pod(schedulingGates=[{"name": FOREIGN}, {"name": GATE}]), [GATE, FOREIGN]),
    "opted out with a foreign gate": (
        _pod(labels={"migsched.io/queue": "off"}, schedulingGates=[{"name": FOREIGN}]),
        [FOREIGN],
    ),
}
