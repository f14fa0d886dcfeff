"""Pods that the queue's gate is for, and pods that it is not for: deploy/options/queue/gate.yaml by example.

Put to the policy on a genuine API server, and to the server in memory that does the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from allocator.queueing.queued_pod import GATE

Document = dict[str, Any]
FOREIGN = "kueue.x-k8s.io/admission"
SLICE = {"nvidia.com/mig-1g.5gb": 1}


def _pod(limits: Mapping[str, object] | None = None, labels: Mapping[str, str] | None = None, **spec: Any) -> Document:
    resources = {"resources": {"limits": dict(limits)}} if limits is not None else {}
    container = {"name": "main", "image": "none", **resources}
    return {"metadata": {"labels": dict(labels or {})}, "spec": {"containers": [container], **spec}}


_SIDECAR = {"name": "side", "image": "none", "restartPolicy": "Always", "resources": {"limits": SLICE}}

# What a pod looks like → the gates that it has once it is created.
CASES: Mapping[str, tuple[Document, Sequence[str]]] = {
    "asks": (_pod(SLICE), [GATE]),
    "asks-by-init": (_pod(initContainers=[_SIDECAR]), [GATE]),
    "asks-for-unknown": (_pod({"nvidia.com/mig-9g.99gb": 1}), [GATE]),
    "asks-for-none": (_pod({"nvidia.com/mig-1g.5gb": 0}), []),
    "asks-for-a-gpu": (_pod({"nvidia.com/gpu": 1}), []),
    "asks-for-nothing": (_pod(), []),
    "names-default": (_pod(SLICE, schedulerName="default-scheduler"), [GATE]),
    "names-migsched": (_pod(SLICE, schedulerName="migsched"), [GATE]),
    "names-another": (_pod(SLICE, schedulerName="volcano"), []),
    "has-a-node": (_pod(SLICE, nodeName="n1"), []),
    "opts-out": (_pod(SLICE, {"migsched.io/queue": "off"}), []),
    "opts-in": (_pod(SLICE, {"migsched.io/queue": "on"}), [GATE]),
    "gated-by-another": (_pod(SLICE, schedulingGates=[{"name": FOREIGN}]), [FOREIGN, GATE]),
    "gated-already": (_pod(SLICE, schedulingGates=[{"name": GATE}]), [GATE]),
}


def gates_of(pod: Mapping[str, Any]) -> list[str]:
    """The gates of a pod that was created."""
    return [gate["name"] for gate in pod["spec"].get("schedulingGates") or ()]
