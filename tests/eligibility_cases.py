"""Random nodes and pods as Kubernetes documents, for the tests of where a pod may run."""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Document = dict[str, Any]
_T = TypeVar("_T")

KEYS, VALUES = ("zone", "pool", "disks"), ("a", "b", "4", "7", "x9", "007")
TAINTS, EFFECTS = ("gpu", "team", "node.kubernetes.io/unschedulable"), ("NoSchedule", "NoExecute", "PreferNoSchedule")
ZONE, OLD_ZONE = "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"
CPUS, MEMORIES = ("1", "1500m", "2", "2.5", "1e0", "4000000u"), ("1Gi", "1G", "1536Mi", "1073741825", "1e9", "100m")
_ROOMY = "100000"  # CPUs, beside which what tests ask for is nothing


def node(chance: random.Random, name: str) -> Document:
    """A node with some labels and taints, and less or more to offer."""
    labels = {key: chance.choice(VALUES) for key in KEYS if chance.random() < 0.6}
    if chance.random() < 0.4:
        labels[chance.choice((ZONE, OLD_ZONE))] = chance.choice("ab")
    tight = chance.random() < 0.3
    taints = _some(chance, 2, lambda: {"key": chance.choice(TAINTS), "effect": chance.choice(EFFECTS), "value": "x"})
    unlike = {(taint["key"], taint["effect"]): taint for taint in taints if chance.random() < 0.6}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": chance.random() < 0.1, "taints": list(unlike.values())},
        "status": {
            "allocatable": {
                "cpu": chance.choice(CPUS) if tight else _ROOMY,
                "memory": chance.choice(MEMORIES) if chance.random() < 0.2 else "100Ti",
                "ephemeral-storage": "10Gi" if chance.random() < 0.9 else "1Gi",
                "pods": "0" if chance.random() < 0.05 else "110",
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(chance: random.Random, name: str) -> Document:
    """A pod with wishes, most of which some nodes meet."""
    spec: Document = {
        "containers": [_container(chance, f"main-{n}") for n in range(chance.randint(1, 2))],
        "initContainers": _some(chance, 2, lambda: _container(chance, "init", init=True)),
        "tolerations": _some(chance, 3, lambda: _toleration(chance)),
        "terminationGracePeriodSeconds": 0,
    }
    for number, container in enumerate(spec["initContainers"]):
        container["name"] = f"init-{number}"
    if chance.random() < 0.2:
        spec["nodeSelector"] = {chance.choice(KEYS): chance.choice(VALUES)}
    if chance.random() < 0.4:
        terms = [_term(chance) for _ in range(chance.randint(1, 3))]
        spec["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def requirement(chance: random.Random) -> Document:
    """A requirement on a label, as the API server allows it."""
    operator = chance.choice(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
    values = {"In": 2, "NotIn": 2, "Gt": 1, "Lt": 1}.get(operator, 0)
    known = [value for value in VALUES if operator not in ("Gt", "Lt") or value not in ("a", "b", "x9")]
    if operator in ("In", "NotIn"):
        known = ["a", "b", "4", "7"]
    found: Document = {"key": chance.choice(KEYS), "operator": operator}
    return found | ({"values": [chance.choice(known) for _ in range(values)]} if values else {})


def _term(chance: random.Random) -> Document:
    return {"matchExpressions": [requirement(chance) for _ in range(chance.randint(1, 2))]}


def _toleration(chance: random.Random) -> Document:
    if chance.random() < 0.15:
        return {"operator": "Exists"} | ({"effect": "NoSchedule"} if chance.random() < 0.5 else {})
    toleration: Document = {"key": chance.choice(TAINTS)}
    if chance.random() < 0.5:
        toleration["operator"] = "Exists"
    else:
        toleration |= {"value": chance.choice("xy")} | ({"operator": "Equal"} if chance.random() < 0.5 else {})
    return toleration | ({"effect": chance.choice(EFFECTS)} if chance.random() < 0.5 else {})


def _container(chance: random.Random, name: str, *, init: bool = False) -> Document:
    requests = {
        "cpu": chance.choice(("500m", "1m", "0.5", "1", "0")),
        "memory": chance.choice(("1Ki", "512Mi", "1Gi", "0.5")),
        "ephemeral-storage": chance.choice(("0", "1Mi", "600Mi")),
    }
    asked = {key: amount for key, amount in requests.items() if chance.random() < 0.5}
    way = chance.choice(("requests", "limits"))
    always = {"restartPolicy": "Always"} if init and chance.random() < 0.5 else {}
    return {"name": name, "image": "none", "resources": {way: asked}, **always}


def _some(chance: random.Random, most: int, made: Callable[[], _T]) -> list[_T]:
    return [made() for _ in range(chance.randint(0, most))]


def pinned(document: Document, name: str, node_name: str) -> Document:
    """The same pod under another name, for which only one node is in question."""
    field = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    spec = dict(document["spec"])
    terms: Sequence[Document] = (
        spec.get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED, {}).get("nodeSelectorTerms", [{}])
    )
    only = [{**term, "matchFields": [field]} for term in terms]
    of_nodes = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": only}}}
    spec["affinity"] = {**spec.get("affinity", {}), **of_nodes}
    return {**document, "metadata": {"name": name}, "spec": spec}
