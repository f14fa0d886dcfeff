"""Whether the API server gates new pods by now: it takes a policy into force up to some seconds after it has stored it.

A pod that is made in between has no gate, and is bound without a place. Called by `local_cluster`, and by tests.
"""

import json
import time

from allocator.queueing.queued_pod import GATE
from testbed import errors
from testbed.control_plane.control_plane import ControlPlane

_ASK_EVERY_S = 0.1
_TIMEOUT_S = 60.0
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "migsched-gate-probe", "namespace": "default"},
    "spec": {
        "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}],
    },
}


def wait_until(plane: ControlPlane, *, gates: bool) -> None:
    """Wait until new pods that ask for slices get the queue's gate, or no longer get it.

    It asks by a dry run, so that no pod is made. Raises StartError after 60 s, or where kube-apiserver has ended.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    while (problem := _problem(plane, gates=gates)) is not None:
        if not any(child.name == "kube-apiserver" and child.running for child in plane.children):
            raise errors.StartError(f"kube-apiserver has ended: {problem}")
        if time.monotonic() > deadline:
            raise errors.StartError(f"kube-apiserver is not ready after {_TIMEOUT_S:g} s: {problem}")
        time.sleep(_ASK_EVERY_S)


def _problem(plane: ControlPlane, *, gates: bool) -> str | None:
    flags = ("--dry-run=server", "--validate=false", "--output=json", "--filename=-")
    done = plane.kubectl("create", *flags, standard_input=json.dumps(_POD), check=False)
    if done.returncode:
        return done.stderr.strip()
    is_gated = {"name": GATE} in json.loads(done.stdout)["spec"].get("schedulingGates", ())
    if is_gated == gates:
        return None
    return f"new pods {'have no' if gates else 'still have the'} gate {GATE}"
