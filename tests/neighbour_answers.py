"""What the product says of pods whose rules look at other pods, from Kubernetes documents."""

from collections import Counter
from typing import Any

from allocator.eligibility import document, pod_selector
from allocator.eligibility.amounts import NOTHING
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.neighbours import Neighbours
from allocator.eligibility.node import NodeFacts
from allocator.eligibility.peer_document import PodIdentity
from allocator.eligibility.placed_pods import PlacedPod, PlacedPods
from allocator.eligibility.topology import Topology
from allocator.eligibility.verdict import judge

Document = dict[str, Any]


def facts(node: Document) -> NodeFacts:
    """A node as it is judged."""
    meta = node["metadata"]
    return document.node(meta["name"], meta.get("labels"), node["spec"], node["status"])


def read(pod: Document) -> tuple[PodConstraints, PlacedPod]:
    """What a pod asks, wherever it is, and what others have to know of it."""
    meta = pod["metadata"]
    identity = PodIdentity(meta["namespace"], pod_selector.packed(meta["labels"]))
    asked = document.pod_of({key: value for key, value in pod["spec"].items() if key != "nodeName"}, identity)
    placed = PlacedPod(identity.namespace, identity.labels, ports=asked.host_ports, anti_affinity=asked.anti_affinity)
    return asked, placed


class Furnished:
    """Nodes with pods on them."""

    def __init__(self, nodes: list[Document], placed: list[Document]) -> None:
        self._nodes = {node["metadata"]["name"]: facts(node) for node in nodes}
        self._used = dict.fromkeys(self._nodes, NOTHING)
        self._placed = PlacedPods()
        for pod in placed:
            asked, there = read(pod)
            self._placed.put(pod["metadata"]["name"], there, pod["spec"]["nodeName"])
            self._used[pod["spec"]["nodeName"]] += asked.requests

    def says(self, new: Document) -> tuple[list[str], Counter[str]]:
        """The nodes where a new pod may run, and why how many of the others do not do."""
        asked, itself = read(new)
        others = Neighbours(asked, itself, self._placed, Topology(self._nodes))
        verdicts = {name: judge(asked, node, self._used[name], others) for name, node in self._nodes.items()}
        assert not any(verdict.unjudged for verdict in verdicts.values()), verdicts
        passing = sorted(name for name, verdict in verdicts.items() if verdict.eligible)
        return passing, Counter(verdict.reason.value for verdict in verdicts.values() if verdict.reason)
