"""Where a pod may run: the product's verdicts beside those of the stock kube-scheduler, on random nodes and pods."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from allocator.eligibility import document
from allocator.eligibility.node import NodeFacts
from allocator.eligibility.verdict import Ineligible, judge
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests import eligibility_cases as cases
from tests.e2e.scheduling import kube_scheduler_verdicts as verdicts

pytestmark = pytest.mark.e2e

NODES, ROUNDS, SEED = 25, 16, 7  # each round is one pod per node: no two share one


@pytest.fixture(scope="module")
def stock(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with a kube-scheduler of stock settings, and no controllers that change nodes."""
    with ControlPlane(tmp_path_factory.mktemp("cluster"), binaries=binaries) as plane:
        plane.start_scheduler()
        yield plane


def _facts(node: dict[str, Any]) -> NodeFacts:
    meta = node["metadata"]
    return document.node(meta["name"], meta.get("labels"), node["spec"], node["status"])


@pytest.mark.timeout(400)
def test_verdicts_are_those_of_kube_scheduler(stock: ControlPlane) -> None:
    """Of 400 random pairs of a pod and a node, the product says of each what the stock kube-scheduler says."""
    chance = random.Random(SEED)
    verdicts.create(stock, [cases.node(chance, f"node-{number}") for number in range(NODES)])
    nodes = {node["metadata"]["name"]: _facts(node) for node in verdicts.read(stock, "nodes")}
    seen: Counter[Ineligible | str | None] = Counter()
    for number in range(ROUNDS):
        pods = [cases.pinned(cases.pod(chance, ""), f"pod-{number}-on-{name}", name) for name in nodes]
        for pod, reason in verdicts.judged(stock, pods):
            name = pod["metadata"]["name"]
            spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
            verdict = judge(document.pod_of(spec), nodes[name.partition("-on-")[2]])
            assert verdict.reason == reason, f"{name}: {verdict}, kube-scheduler says {reason}: {pod['spec']}"
            seen[reason] += 1
    assert sum(seen.values()) == NODES * ROUNDS
    assert set(seen) >= {None, *list(verdicts.MESSAGES.values())[:5]}, "each kind of verdict was tried"
