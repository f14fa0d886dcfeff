"""kube-scheduler's verdicts on pods of which only one node is in question, for the tests of where a pod may run.

`python -m tests.e2e.scheduling.kube_scheduler_verdicts FILE` records some thousands of them: nodes, pods, and of each
pod and node the reason, "" where the node did.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from allocator.eligibility.verdict import Ineligible
from testbed.control_plane.control_plane import ControlPlane
from tests import eligibility_cases as cases
from tests.e2e.scheduling.stack import eventually

NODES, PODS, SEED = 25, 150, 11
MESSAGES = {  # kube-scheduler's words for each plugin
    "were unschedulable": Ineligible.NODE_UNSCHEDULABLE,
    "untolerated taint": Ineligible.TAINT_TOLERATION,
    "didn't match Pod's node affinity/selector": Ineligible.NODE_AFFINITY,
    "Insufficient": Ineligible.NODE_RESOURCES_FIT,
    "Too many pods": Ineligible.NODE_RESOURCES_FIT,
    "didn't match PersistentVolume's node affinity": Ineligible.VOLUME_BINDING,
    "no available volume zone": Ineligible.VOLUME_ZONE,
}


def read(plane: ControlPlane, kind: str) -> list[dict[str, Any]]:
    """All objects of a kind."""
    items: list[dict[str, Any]] = json.loads(plane.kubectl("get", kind, "--output=json").stdout)["items"]
    return items


def create(plane: ControlPlane, documents: list[dict[str, Any]]) -> None:
    """Create objects."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    plane.kubectl("create", "--filename=-", standard_input=text)


def reason_of(pod: dict[str, Any]) -> Ineligible | str | None:
    """What kube-scheduler said of the only node in question: None if it took it, "" if it said nothing yet."""
    if pod["spec"].get("nodeName"):
        return None
    conditions = {one["type"]: one for one in pod["status"].get("conditions") or ()}
    message = conditions.get("PodScheduled", {}).get("message", "")
    return next((reason for words, reason in MESSAGES.items() if words in message), message)


def judged(plane: ControlPlane, pods: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Ineligible | str | None]]:
    """The pods as the API server completed them, each with kube-scheduler's verdict; they are gone afterwards."""
    create(plane, pods)
    eventually(lambda: "" not in map(reason_of, read(plane, "pods")), "a verdict about every pod")
    judged = [(pod, reason_of(pod)) for pod in read(plane, "pods")]
    plane.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
    eventually(lambda: not read(plane, "pods"), "all pods gone")
    return judged


def record(to: Path) -> None:
    """Write down what kube-scheduler says of many pods, each on each of some nodes."""
    chance = random.Random(SEED)
    pods = [cases.pod(chance, f"pod-{number}") for number in range(PODS)]
    with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder)) as plane:
        plane.start_scheduler()
        create(plane, [cases.node(chance, f"node-{number}") for number in range(NODES)])
        nodes = {node["metadata"]["name"]: node for node in read(plane, "nodes")}
        reasons = []
        for number, pod in enumerate(pods):
            tried = [cases.pinned(pod, f"pod-{number}-on-{name}", name) for name in nodes]
            said = {one["metadata"]["name"].partition("-on-")[2]: reason for one, reason in judged(plane, tried)}
            reasons.append([said[name] or "" for name in nodes])
    kept = [
        {"metadata": {key: node["metadata"][key] for key in ("name", "labels") if key in node["metadata"]}}
        | {"spec": node["spec"], "status": {key: node["status"][key] for key in ("allocatable", "conditions")}}
        for node in nodes.values()
    ]
    lines = [f'"nodes": {json.dumps(kept)}', f'"pods": {json.dumps([pod["spec"] for pod in pods])}']
    to.write_text("{" + ",\n".join([*lines, f'"reasons": {json.dumps(reasons)}']) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
