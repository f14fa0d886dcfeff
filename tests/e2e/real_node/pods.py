"""Pods for a real node, and waits on what becomes of them."""

import json
import time
from collections.abc import Callable
from typing import Any

from testbed.control_plane.control_plane import ControlPlane
from testbed.node import image

SECONDS = 30.0  # for a condition that kubelet and containerd bring about
FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"


def pod(
    name: str, script: str, *, node: str | None = None, limits: dict[str, int] | None = None, restart: str = "Always"
) -> dict[str, Any]:
    """A pod with one container, `main`, that runs a shell script; on `node`, or where kube-scheduler puts it."""
    container = {
        "name": "main",
        "image": image.BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "resources": {"limits": limits or {}},
    }
    spec = {
        "containers": [container],
        "restartPolicy": restart,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        **({"nodeName": node} if node else {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def run(cluster: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Create a pod and wait until it is Ready; return it."""
    name = wanted["metadata"]["name"]
    cluster.apply([wanted])
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={SECONDS:g}s")
    return read(cluster, "pod", name)


def read(cluster: ControlPlane, kind: str, name: str) -> dict[str, Any]:
    """Return an object as the API server has it."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", kind, name, "--output=json").stdout)
    return found


def container(one: dict[str, Any]) -> tuple[str, int]:
    """Return the id of a pod's only container and how often it was restarted."""
    (status,) = one["status"]["containerStatuses"]
    return status["containerID"], status["restartCount"]


def clear(cluster: ControlPlane, keep: str) -> None:
    """Delete all pods, and the Node objects but that one: what stopped nodes ran has nobody to end it."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json").stdout)["items"]
    stopped = {node["metadata"]["name"] for node in nodes} - {keep}
    pods = json.loads(cluster.kubectl("get", "pods", "--output=json").stdout)["items"]
    left = [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") in stopped]
    if left:
        cluster.kubectl("delete", "pods", "--force", "--grace-period=0", *left)
    if stopped:
        cluster.kubectl("delete", "nodes", *sorted(stopped))
    cluster.kubectl("delete", "pods", "--all", "--grace-period=1", f"--timeout={SECONDS:g}s")


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not after {SECONDS:g} s: {what}"
        time.sleep(0.05)
