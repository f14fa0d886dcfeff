"""Random nodes and pods whose rules look at other pods, as Kubernetes documents, and an oracle of them that follows
kube-scheduler's source word by word.
"""

import math
import random
from collections import Counter
from typing import Any

from tests.eligibility_cases import REQUIRED

Document = dict[str, Any]
NAMESPACES, NODES = ("default", "other"), 9
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
BOXED = "boxed"  # a RuntimeClass with an overhead
NAMESPACE_NAME = "kubernetes.io/metadata.name"


def node(chance: random.Random, name: str) -> Document:
    """A node in one of three zones, or in none, some of them tainted."""
    labels = {HOST: name, "pool": chance.choice("ab")}
    if chance.random() < 0.85:
        labels[ZONE] = chance.choice("xyz")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": "team", "effect": "NoSchedule"}] if chance.random() < 0.2 else []},
        "status": {
            "allocatable": {
                "cpu": chance.choice(("1000", "1000", "1")),
                "memory": "100Ti",
                "ephemeral-storage": "10Ti",
                "pods": "110",
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(chance: random.Random, name: str, *, wishes: float = 0.4, boxed: bool = False) -> Document:
    """A pod of one of a few kinds; each rule about others has this chance. If `boxed`, some have an overhead."""
    labels = {"app": chance.choice("ab"), "tier": chance.choice("12")}
    spec: Document = {"containers": [_container(chance)], "terminationGracePeriodSeconds": 0}
    if chance.random() < wishes:
        spec["topologySpreadConstraints"] = [
            _spread(chance, key) for key in chance.sample((ZONE, HOST, "pool"), chance.randint(1, 2))
        ]
    affinity: Document = {}
    if chance.random() < wishes / 2:
        affinity["podAffinity"] = {REQUIRED: [_term(chance) for _ in range(chance.randint(1, 2))]}
    if chance.random() < wishes / 2:
        affinity["podAntiAffinity"] = {REQUIRED: [_term(chance)]}
    if chance.random() < wishes / 2:
        wish = {"key": "pool", "operator": "In", "values": [chance.choice("ab")]}
        affinity["nodeAffinity"] = {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [wish]}]}}
    if affinity:
        spec["affinity"] = affinity
    if boxed and chance.random() < 0.3:
        spec["runtimeClassName"] = BOXED
    if chance.random() < 0.4:
        spec["tolerations"] = [{"key": "team", "operator": "Exists"}]
    meta = {"name": name, "namespace": chance.choice(NAMESPACES), "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _container(chance: random.Random) -> Document:
    container: Document = {"name": "main", "image": "none"}
    if chance.random() < 0.3:
        container["resources"] = {"requests": {"cpu": "800m"}}
    if chance.random() < 0.25:
        port: Document = {"containerPort": 80, "hostPort": chance.choice((8080, 8081)), "protocol": "TCP"}
        if chance.random() < 0.3:
            port["protocol"] = "UDP"
        if chance.random() < 0.4:
            port["hostIP"] = chance.choice(("127.0.0.1", "10.0.0.1", "0.0.0.0"))
        container["ports"] = [port]
    return container


def _selector(chance: random.Random) -> Document | None:
    if chance.random() < 0.08:
        return chance.choice((None, {}))
    if chance.random() < 0.6:
        return {"matchLabels": {"app": chance.choice("ab")}}
    return {
        "matchExpressions": [
            chance.choice(
                (
                    {"key": "tier", "operator": "NotIn", "values": ["1"]},
                    {"key": "tier", "operator": "In", "values": ["1", "2"]},
                    {"key": "app", "operator": "Exists"},
                    {"key": "gone", "operator": "DoesNotExist"},
                )
            )
        ]
    }


def _spread(chance: random.Random, key: str) -> Document:
    constraint: Document = {"topologyKey": key, "maxSkew": chance.randint(1, 2), "whenUnsatisfiable": "DoNotSchedule"}
    selector = _selector(chance)
    if selector is not None:
        constraint["labelSelector"] = selector
    if chance.random() < 0.3:
        constraint["minDomains"] = chance.randint(1, 4)
    if chance.random() < 0.5:
        constraint["nodeAffinityPolicy"] = chance.choice(("Honor", "Ignore"))
    if chance.random() < 0.5:
        constraint["nodeTaintsPolicy"] = chance.choice(("Honor", "Ignore"))
    if selector and "tier" not in str(selector) and chance.random() < 0.3:
        constraint["matchLabelKeys"] = ["tier"]
    if chance.random() < 0.1:
        constraint["whenUnsatisfiable"] = "ScheduleAnyway"
        constraint.pop("minDomains", None)
    return constraint


def _term(chance: random.Random) -> Document:
    term: Document = {"topologyKey": chance.choice((ZONE, HOST, "pool"))}
    selector = _selector(chance)
    if selector is not None:
        term["labelSelector"] = selector
    if chance.random() < 0.3:
        term["namespaces"] = [chance.choice(NAMESPACES)]
    if chance.random() < 0.2:
        named = {"matchLabels": {NAMESPACE_NAME: chance.choice(NAMESPACES)}}
        term["namespaceSelector"] = chance.choice(({}, named))
    if selector and "tier" not in str(selector) and chance.random() < 0.2:
        term[chance.choice(("matchLabelKeys", "mismatchLabelKeys"))] = ["tier"]
    return term


# --- the oracle: placed pods are documents with spec.nodeName


def refusal(new: Document, on: Document, nodes: list[Document], placed: list[Document]) -> str:
    """The plugin that keeps a pod from a node because of other pods, in kube-scheduler's order; "" if none does."""
    by_name = {each["metadata"]["name"]: each for each in nodes}
    if _port_conflict(new, [pod for pod in placed if pod["spec"]["nodeName"] == on["metadata"]["name"]]):
        return "NodePorts"
    if not all(_spread_holds(new, constraint, on, nodes, placed) for constraint in _hard(new)):
        return "PodTopologySpread"
    return "" if _affinity_holds(new, on, by_name, placed) else "InterPodAffinity"


def _port_conflict(new: Document, others: list[Document]) -> bool:
    def ports(of: Document) -> list[tuple[int, str, str]]:
        return [
            (port["hostPort"], port["protocol"], port.get("hostIP") or "0.0.0.0")
            for container in of["spec"]["containers"]
            for port in container.get("ports", ())
        ]

    every = "0.0.0.0"
    return any(
        mine[:2] == theirs[:2] and (mine[2] == theirs[2] or every in (mine[2], theirs[2]))
        for mine in ports(new)
        for other in others
        for theirs in ports(other)
    )


def _hard(of: Document) -> list[Document]:
    constraints = of["spec"].get("topologySpreadConstraints", ())
    return [constraint for constraint in constraints if constraint["whenUnsatisfiable"] == "DoNotSchedule"]


def _labels(of: Document) -> dict[str, str]:
    labels: dict[str, str] = of["metadata"]["labels"]
    return labels


def _selected(selector: Document | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(
        {
            "In": labels.get(wish["key"]) in wish.get("values", ()),
            "NotIn": labels.get(wish["key"]) not in wish.get("values", ()),
            "Exists": wish["key"] in labels,
            "DoesNotExist": wish["key"] not in labels,
        }[wish["operator"]]
        for wish in selector.get("matchExpressions", ())
    )


def _spread_holds(
    new: Document, constraint: Document, on: Document, nodes: list[Document], placed: list[Document]
) -> bool:
    key, selector = constraint["topologyKey"], constraint.get("labelSelector")
    if key not in _labels(on):
        return False
    counts: Counter[str] = Counter()
    for each in nodes:
        if all(other["topologyKey"] in _labels(each) for other in _hard(new)) and _is_counted(new, constraint, each):
            counts[_labels(each)[key]] += sum(
                other["spec"]["nodeName"] == each["metadata"]["name"]
                and other["metadata"]["namespace"] == new["metadata"]["namespace"]
                and bool(selector)
                and _matches_spread(new, constraint, other)
                for other in placed
            )
    least = math.inf if not counts else min(counts.values())
    if len(counts) < constraint.get("minDomains", 1):
        least = 0
    skew: float = counts[_labels(on)[key]] + _matches_spread(new, constraint, new) - least
    return skew <= float(constraint["maxSkew"])


def _matches_spread(new: Document, constraint: Document, other: Document) -> bool:
    same = all(_labels(new).get(key) == _labels(other).get(key) for key in constraint.get("matchLabelKeys", ()))
    return same and _selected(constraint.get("labelSelector"), _labels(other))


def _is_counted(new: Document, constraint: Document, each: Document) -> bool:
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor":
        required = new["spec"].get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED)
        if required and not any(_term_holds(term, each) for term in required["nodeSelectorTerms"]):
            return False
    honors = constraint.get("nodeTaintsPolicy", "Ignore") == "Honor"
    return not (honors and each["spec"].get("taints") and not new["spec"].get("tolerations"))


def _term_holds(term: Document, each: Document) -> bool:
    fields = all(wish["values"] == [each["metadata"]["name"]] for wish in term.get("matchFields", ()))
    return fields and all(_labels(each).get(wish["key"]) in wish["values"] for wish in term.get("matchExpressions", ()))


def _affinity_holds(new: Document, on: Document, nodes: dict[str, Document], placed: list[Document]) -> bool:
    wanted = _terms(new, "podAffinity")
    near = [other for other in placed if all(_matches(term, new, other) for term in wanted)]
    pairs = {
        (term["topologyKey"], _labels(nodes[other["spec"]["nodeName"]])[term["topologyKey"]])
        for other in near
        for term in wanted
        if term["topologyKey"] in _labels(nodes[other["spec"]["nodeName"]])
    }
    if any(term["topologyKey"] not in _labels(on) for term in wanted):
        return False
    if not all((term["topologyKey"], _labels(on)[term["topologyKey"]]) in pairs for term in wanted) and not (
        not pairs and all(_matches(term, new, new) for term in wanted)
    ):
        return False
    for other in placed:
        there = _labels(nodes[other["spec"]["nodeName"]])
        for term, owner, other_one in (
            *((term, new, other) for term in _terms(new, "podAntiAffinity")),
            *((term, other, new) for term in _terms(other, "podAntiAffinity")),
        ):
            key = term["topologyKey"]
            if _matches(term, owner, other_one) and key in there and there[key] == _labels(on).get(key):
                return False
    return True


def _terms(of: Document, kind: str) -> list[Document]:
    terms: list[Document] = of["spec"].get("affinity", {}).get(kind, {}).get(REQUIRED, [])
    return terms


def _matches(term: Document, owner: Document, other: Document) -> bool:
    there, selector = other["metadata"]["namespace"], term.get("namespaceSelector")
    names = term.get("namespaces") or ([owner["metadata"]["namespace"]] if selector is None else [])
    if there not in names and not _selected(selector, {NAMESPACE_NAME: there}):
        return False
    mine, theirs = _labels(owner), _labels(other)
    same = all(mine.get(key) == theirs.get(key) for key in term.get("matchLabelKeys", ()))
    unlike = all(mine.get(key) != theirs.get(key) for key in term.get("mismatchLabelKeys", ()))
    return same and unlike and _selected(term.get("labelSelector"), theirs)
