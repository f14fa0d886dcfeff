"""Pods whose spec says where they may run: capacity answers against trying every way, by Kubernetes' own rules."""

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allocator.claims.snapshot import NodeView
from allocator.claims.snapshot_file import Saved
from allocator.eligibility import document, verdict
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts, Taint
from allocator.mig import geometry, gpu_models
from allocator.placement import fitting
from allocator.planning.packing.relocation import Bin, MovableJob, RelocationProblem
from tests import plain_answers, relocation_oracle
from tests.clusters import cluster

MIB = 1 << 20
MODELS = ("a30-24gb", "a100-40gb")


@st.composite
def fleets(draw: st.DrawFn) -> Saved:
    """One to three nodes with one or two GPUs, some slices taken, each with a pool, perhaps a taint, and an end."""
    built = cluster()
    facts: list[NodeFacts] = []
    for number in range(draw(st.integers(1, 3))):
        built = built.node(f"n{number}")
        for _ in range(draw(st.integers(1, 2))):
            kind = geometry.compiled(gpu_models.find(draw(st.sampled_from(MODELS))))
            built = built.gpu(kind.catalogue)
            if draw(st.booleans()):
                built = built.foreign(str(draw(st.sampled_from(kind.placements))))
        taints = (Taint("team", "NoSchedule", "a"),) if draw(st.integers(0, 3)) == 0 else ()
        room = Amounts(
            draw(st.integers(0, 6)) * 500, draw(st.integers(0, 6)) * MIB + 7, 1 << 40, draw(st.integers(1, 9))
        )
        labels = {"pool": draw(st.sampled_from("ab"))}
        facts.append(NodeFacts(f"n{number}", taints=taints, labels=labels, allocatable=room))
    used = [Amounts(draw(st.integers(0, 2)) * 500, draw(st.integers(0, 2)) * MIB, 0, 1) for _ in facts]
    saved = built.saved()
    nodes = tuple(
        replace(node, facts=of_node, used=taken)
        for node, of_node, taken in zip(saved.snapshot.nodes, facts, used, strict=True)
    )
    return replace(saved, snapshot=replace(saved.snapshot, nodes=nodes))


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A pod's spec with some wishes about its node."""
    asked = {
        "cpu": f"{draw(st.integers(0, 4)) * 250}m",
        "memory": draw(st.sampled_from(["0", "1Mi", "2Mi", "1500000"])),
    }
    spec: dict[str, Any] = {"containers": [{"resources": {"requests": asked}}]}
    if draw(st.integers(0, 2)) == 0:
        spec["nodeSelector"] = {"pool": draw(st.sampled_from("ab"))}
    if draw(st.booleans()):
        spec["tolerations"] = [{"key": "team", "operator": "Exists"}]
    return spec


def _offered(saved: Saved) -> list[str]:
    return sorted({p.name for gpu in saved.snapshot.gpus() if gpu.catalogue for p in gpu.catalogue.profiles})


def _tried(saved: Saved, pods: list[tuple[tuple[str, ...], PodConstraints]]) -> bool:
    """Whether trying every place, node by node as kube-scheduler judges them, finds a way for all pods."""
    nodes = {node.name: number for number, node in enumerate(saved.snapshot.nodes)}
    bins = tuple(
        Bin(geometry.compiled(gpu.catalogue), tuple(o.placement for o in gpu.occupants), nodes[gpu.node])
        for gpu in saved.snapshot.gpus()
        if gpu.catalogue
    )
    spare = {
        nodes[node.name]: node.facts.allocatable - node.used
        for node in saved.snapshot.nodes
        if node.facts is not None and node.used is not None
    }
    requests = tuple(
        MovableJob(
            profiles,
            nodes=frozenset(
                nodes[node.name]
                for node in saved.snapshot.nodes
                if verdict.judge(constraints, node.facts, node.used).eligible
            ),
            asked=constraints.requests,
        )
        for profiles, constraints in pods
    )
    return relocation_oracle.answers(RelocationProblem(bins, (), requests, spare=spare), [])


@given(fleets(), st.data())
def test_pods_with_a_spec_fit_together_exactly_if_trying_finds_a_way(saved: Saved, data: st.DataObject) -> None:
    """Pods with selectors, tolerations, CPU and memory are said to fit exactly if trying every place finds a way."""
    names = _offered(saved)
    wanted = data.draw(
        st.lists(st.tuples(st.lists(st.sampled_from(names), min_size=1, max_size=2), specs()), min_size=1, max_size=3)
    )
    requests = [{"profiles": dict(Counter(profiles)), "spec": spec} for profiles, spec in wanted]
    found = plain_answers.capacity({"profiles": [], "requests": requests}, saved)["requests"]
    assert found["fit"] is _tried(saved, [(tuple(profiles), document.pod_of(spec)) for profiles, spec in wanted])


@given(fleets(), st.data())
def test_replicas_are_as_many_as_trying_one_more_finds(saved: Saved, data: st.DataObject) -> None:
    """On each node fit as many pods like one as trying one more and one more finds, and on no node that takes none."""
    profiles = tuple(data.draw(st.lists(st.sampled_from(_offered(saved)), min_size=1, max_size=2)))
    spec = data.draw(specs())
    asked = {"profiles": [], "replicas": True, "requests": [{"profiles": dict(Counter(profiles)), "spec": spec}]}
    (found,) = plain_answers.capacity(asked, saved)["replicas"]
    assert found["proven"]
    constraints = document.pod_of(spec)
    for node in saved.snapshot.nodes:
        most = next(n for n in range(30) if not _holds(node, profiles, constraints, n + 1))
        assert found["nodes"].get(node.name, 0) == most, node.name


def _holds(node: NodeView, profiles: tuple[str, ...], constraints: PodConstraints, number: int) -> bool:
    """Whether a node takes so many such pods, one after the other, and its GPUs hold their slices."""
    used = node.used
    for _ in range(number):
        if used is None or not verdict.judge(constraints, node.facts, used).eligible:
            return False
        used += constraints.requests
    kinds = [(geometry.compiled(gpu.catalogue), gpu) for gpu in node.gpus if gpu.catalogue]
    states = [(kind, kind.state_of(o.placement for o in gpu.occupants)) for kind, gpu in kinds]
    return fitting.fits(states, Counter(profiles * number))
