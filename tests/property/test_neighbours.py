"""Rules that look at other pods, against an oracle that scans all pods for each pair, as kube-scheduler does."""

import json
import random
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.eligibility.neighbours import Neighbours
from allocator.eligibility.placed_pods import PlacedPods
from allocator.eligibility.topology import Topology
from allocator.eligibility.verdict import judge
from tests import neighbour_answers as answers
from tests import neighbour_cases as cases
from tests.eligibility_cases import pinned

Document = dict[str, Any]
ABOUT_OTHERS = {"NodePorts", "PodTopologySpread", "InterPodAffinity"}


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_other_pods_keep_a_pod_away_as_the_oracle_says(seed: int) -> None:
    """While pods come, go and have places held, each new pod is judged on each node as by a scan of all pods."""
    chance = random.Random(seed)
    nodes = [cases.node(chance, f"node-{number}") for number in range(cases.NODES)]
    facts = {each["metadata"]["name"]: answers.facts(each) for each in nodes}
    placed, there, topology = PlacedPods(), dict[str, Document](), Topology(facts)
    for number in range(12):
        new = cases.pod(chance, f"pod-{number}")
        asked, as_placed = answers.read(new)
        others = Neighbours(asked, as_placed, placed, topology)
        about_others = [
            [others.port_taken(node), others.spread(node), others.affinity(node)] for node in facts.values()
        ]
        kept = [name for name, rules in zip(facts, about_others, strict=True) if not any(words for words, _ in rules)]
        assert others.left_of(facts) == kept
        for each in nodes:
            said = judge(asked, facts[each["metadata"]["name"]], None, others)
            if said.reason is None or said.reason.value in ABOUT_OTHERS:
                truth = cases.refusal(new, each, nodes, list(there.values()))
                assert (said.reason or "") == truth, (said, new, each, list(there.values()))
        name = chance.choice(list(facts))
        if chance.random() < 0.8:
            (placed.put if chance.random() < 0.7 else placed.hold)(f"uid-{number}", as_placed, name)
            there[f"uid-{number}"] = {**new, "spec": {**new["spec"], "nodeName": name}}
        if there and chance.random() < 0.3:
            gone = chance.choice(list(there))
            placed.leave(gone)
            placed.release(gone)
            del there[gone]
        placed.check()


@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_a_pod_is_pinned_only_where_it_is_taken(seed: int) -> None:
    """Where the queue may pin a pod, kube-scheduler's rules take it with the pin in its affinity, which hides nodes."""
    chance = random.Random(seed)
    nodes = [cases.node(chance, f"node-{number}") for number in range(cases.NODES)]
    facts = {each["metadata"]["name"]: answers.facts(each) for each in nodes}
    placed, there = PlacedPods(), list[Document]()
    for number in range(30):
        pod = cases.pod(chance, f"there-{number}", wishes=0.03)
        pod["spec"]["nodeName"] = chance.choice(list(facts))
        placed.put(f"uid-{number}", answers.read(pod)[1], pod["spec"]["nodeName"])
        there.append(pod)
    new = cases.pod(chance, "new", wishes=1.0)
    new["spec"].pop("affinity", None)
    for constraint in new["spec"]["topologySpreadConstraints"]:
        constraint |= {"minDomains": 2} if constraint["whenUnsatisfiable"] == "DoNotSchedule" else {}
        constraint["maxSkew"] += chance.randint(0, 3)
    asked, itself = answers.read(new)
    others = Neighbours(asked, itself, placed, Topology(facts), will_be_pinned=True)
    for each in nodes:
        name = each["metadata"]["name"]
        if judge(asked, facts[name], None, others).eligible:
            pin = pinned(new, "new", name)
            assert cases.refusal({**new, "spec": pin["spec"]}, each, nodes, there) == "", (new, name, there)


def test_verdicts_are_those_that_kube_scheduler_gave() -> None:
    """Of 1,000 recorded pairs of a pod and a node, the same nodes pass, and as many are refused for each reason."""
    recorded = json.loads((Path(__file__).parents[1] / "data" / "kube_scheduler_neighbours.json").read_text())
    furnished = answers.Furnished(recorded["nodes"], recorded["placed"])
    for new, passing, reasons in recorded["new"]:
        assert furnished.says(new) == (passing, reasons), new
