"""What kube-scheduler judges by itself: unschedulable nodes, taints, affinity, resource counts. Used by scheduler.

The messages are kube-scheduler's own. Resources are counted in thousandths, as whole numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulator.cluster import quantity
from simulator.cluster.api import Document

Amounts = Mapping[str, int]
_MILLI = 1000
_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class NodeRefusal:
    """Why a node does not do, and whether evicting pods could change that."""

    reasons: tuple[str, ...]
    resolvable: bool


@dataclass(slots=True)
class NodeInfo:
    """A node with what the pods on it, or assumed to be, ask for."""

    document: Document
    allocatable: Amounts
    requested: Counter[str] = field(default_factory=Counter)
    pods: int = 0

    def add(self, requests: Amounts) -> None:
        """One more pod."""
        self.requested.update(requests)
        self.pods += 1

    def remove(self, requests: Amounts) -> None:
        """One pod less."""
        self.requested.subtract(requests)
        self.pods -= 1


def node_info(document: Document) -> NodeInfo:
    """A node without pods."""
    return NodeInfo(document, _amounts(document.get("status", {}).get("allocatable") or {}))


def requests_of(pod: Document) -> Amounts:
    """What a pod asks for: the larger of its containers' sum and its greediest moment of initialisation."""
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in pod["spec"].get("initContainers") or ():
        requests = _requests(container)
        if container.get("restartPolicy") == "Always":
            running.update(requests)
            peak |= running
        else:
            peak |= running + Counter(requests)
    for container in pod["spec"]["containers"]:
        running.update(_requests(container))
    return running | peak


def refusal(pod: Document, requests: Amounts, node: NodeInfo) -> NodeRefusal | None:
    """Why a node does not do for a pod, by the first plugin that says so; None if it does."""
    spec, labels = node.document.get("spec") or {}, node.document["metadata"].get("labels") or {}
    tolerations = pod["spec"].get("tolerations") or ()
    if spec.get("unschedulable") and not _tolerated(_UNSCHEDULABLE_TAINT, tolerations):
        return NodeRefusal(("node(s) were unschedulable",), resolvable=False)
    for taint in spec.get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not _tolerated(taint, tolerations):
            words = f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
            return NodeRefusal((words,), resolvable=False)
    if not _affine(pod["spec"], labels, node.document["metadata"]["name"]):
        return NodeRefusal(("node(s) didn't match Pod's node affinity/selector",), resolvable=False)
    return _unfit(requests, node)


def most_allocated(requests: Amounts, node: NodeInfo) -> int:
    """0…100: how full of CPU and memory the node would be, as the shipped profile scores it."""
    shares = []
    for resource in ("cpu", "memory"):
        allocatable = node.allocatable.get(resource, 0)
        requested = node.requested[resource] + requests.get(resource, 0)
        shares.append(min(100, requested * 100 // allocatable) if allocatable else 0)
    return sum(shares) // len(shares)


def _unfit(requests: Amounts, node: NodeInfo) -> NodeRefusal | None:
    reasons = []
    resolvable = True
    if (node.pods + 1) * _MILLI > node.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for resource, amount in requests.items():
        if amount > node.allocatable.get(resource, 0) - node.requested[resource]:
            reasons.append(f"Insufficient {resource}")
            resolvable = resolvable and amount <= node.allocatable.get(resource, 0)
    return NodeRefusal(tuple(reasons), resolvable) if reasons else None


def _tolerated(taint: Document, tolerations: Sequence[Document]) -> bool:
    return any(
        toleration.get("effect") in (None, "", taint["effect"])
        and toleration.get("key") in (None, "", taint["key"])
        and (
            toleration.get("operator") == "Exists"
            or (toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))
        )
        for toleration in tolerations
    )


def _affine(spec: Document, labels: Mapping[str, str], name: str) -> bool:
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": name}
    return any(
        all(_matches(expression, labels) for expression in term.get("matchExpressions") or ())
        and all(_matches(expression, fields) for expression in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _matches(expression: Document, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values: list[str] = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and value.isdecimal() and int(value) > int(values[0])
        case "Lt":
            return value is not None and value.isdecimal() and int(value) < int(values[0])
    return False


def _requests(container: Document) -> dict[str, int]:
    resources = container.get("resources") or {}
    return _amounts((resources.get("limits") or {}) | (resources.get("requests") or {}))


def _amounts(quantities: Mapping[str, object]) -> dict[str, int]:
    return {name: int(quantity.parse(amount, name) * _MILLI) for name, amount in quantities.items()}
