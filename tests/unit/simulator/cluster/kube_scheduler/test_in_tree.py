"""What the stand-in judges by itself, in kube-scheduler's words."""

from typing import Any

import pytest

from simulator.cluster.kube_scheduler import in_tree
from simulator.cluster.kube_scheduler.in_tree import NodeRefusal


def node(**changes: Any) -> in_tree.NodeInfo:
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "3", "nvidia.com/mig-1g.5gb": "7"}
    document = {
        "metadata": {"name": "n1", "labels": {"zone": "a", "rank": "5"}},
        "spec": changes,
        "status": {"allocatable": allocatable},
    }
    return in_tree.node_info(document)


def pod(*requests: dict[str, str], init: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": f"c{i}", "resources": {"requests": amounts}} for i, amounts in enumerate(requests)]
    return {"spec": {"containers": containers or [{"name": "c"}], "initContainers": init or [], **spec}}


def refused(document: dict[str, Any], on: in_tree.NodeInfo) -> NodeRefusal | None:
    return in_tree.refusal(document, in_tree.requests_of(document), on)


def test_pod_that_fits_is_not_refused() -> None:
    """A pod within everything the node has is welcome."""
    assert refused(pod({"cpu": "4", "memory": "8Gi", "nvidia.com/mig-1g.5gb": "7"}), node()) is None


def test_every_short_resource_is_named() -> None:
    """All resources that are short are named; evicting helps only if the node is large enough when empty."""
    busy = node()
    busy.add({"cpu": 3000, "nvidia.com/mig-1g.5gb": 7000})
    short = refused(pod({"cpu": "2", "nvidia.com/mig-1g.5gb": "1"}), busy)
    assert short == NodeRefusal(("Insufficient cpu", "Insufficient nvidia.com/mig-1g.5gb"), resolvable=True)
    assert refused(pod({"cpu": "5"}), busy) == NodeRefusal(("Insufficient cpu",), resolvable=False)
    assert refused(pod({"nvidia.com/mig-9g.99gb": "1"}), node()) == NodeRefusal(
        ("Insufficient nvidia.com/mig-9g.99gb",), resolvable=False
    )


def test_full_node_takes_no_more_pods() -> None:
    """A node has room for so many pods, and room again when one leaves."""
    full = node()
    for _ in range(3):
        full.add({})
    assert refused(pod(), full) == NodeRefusal(("Too many pods",), resolvable=True)
    full.remove({})
    assert refused(pod(), full) is None


def test_requests_follow_the_effective_rule() -> None:
    """Containers add up; an init container counts alone with the sidecars before it, if that is more."""
    init = [
        {"name": "sidecar", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
        {"name": "greedy", "resources": {"limits": {"cpu": "3", "memory": "1Gi"}}},
    ]
    requests = in_tree.requests_of(pod({"cpu": "500m"}, {"cpu": "1"}, init=init))
    assert requests == {"cpu": 4000, "memory": 2**30 * 1000}


@pytest.mark.parametrize(
    ("taint", "tolerations", "fits"),
    [
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, [], False),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, [{"key": "k", "operator": "Exists"}], True),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, [{"operator": "Exists"}], True),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, [{"key": "k", "value": "v"}], True),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, [{"key": "k", "value": "w"}], False),
        ({"key": "k", "effect": "NoExecute"}, [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], False),
        ({"key": "k", "effect": "PreferNoSchedule"}, [], True),
    ],
)
def test_taints_need_a_toleration(taint: dict[str, str], tolerations: list[dict[str, str]], fits: bool) -> None:
    """A taint refuses whoever does not tolerate its key, value and effect; a preference refuses nobody."""
    refusal = refused(pod(tolerations=tolerations), node(taints=[taint]))
    assert (refusal is None) is fits
    if refusal is not None:
        assert refusal == NodeRefusal(
            (f"node(s) had untolerated taint {{k: {taint.get('value', '')}}}",), resolvable=False
        )


def test_cordoned_node_refuses() -> None:
    """An unschedulable node refuses all who do not tolerate that."""
    assert refused(pod(), node(unschedulable=True)) == NodeRefusal(("node(s) were unschedulable",), resolvable=False)
    tolerant = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]
    assert refused(pod(tolerations=tolerant), node(unschedulable=True)) is None


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "DoesNotExist"}, True),
        ({"key": "rank", "operator": "Gt", "values": ["4"]}, True),
        ({"key": "rank", "operator": "Lt", "values": ["4"]}, False),
        ({"key": "zone", "operator": "Gt", "values": ["4"]}, False),
        ({"key": "zone", "operator": "Near", "values": ["a"]}, False),
    ],
)
def test_affinity_expressions(expression: dict[str, Any], fits: bool) -> None:
    """Every operator of a required node affinity means what Kubernetes means by it."""
    assert (refused(affine([{"matchExpressions": [expression]}]), node()) is None) is fits


def test_affinity_terms_are_alternatives() -> None:
    """One term that matches is enough; an empty term matches nothing; names can be matched as fields."""
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    elsewhere = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    assert refused(affine([elsewhere, by_name]), node()) is None
    assert refused(affine([elsewhere]), node()) is not None
    assert refused(affine([{}]), node()) is not None


def test_node_selector() -> None:
    """A node selector needs every label."""
    assert refused(pod(nodeSelector={"zone": "a"}), node()) is None
    assert refused(pod(nodeSelector={"zone": "b"}), node()) == NodeRefusal(
        ("node(s) didn't match Pod's node affinity/selector",), resolvable=False
    )


def test_fuller_nodes_score_higher() -> None:
    """The score is the mean share of CPU and memory in use with the pod, 0…100."""
    requests = in_tree.requests_of(pod({"cpu": "2", "memory": "2Gi"}))
    assert in_tree.most_allocated(requests, node()) == (50 + 25) // 2
    busy = node()
    busy.add({"cpu": 4000, "memory": 2**30 * 8000})
    assert in_tree.most_allocated(requests, busy) == 100


def affine(terms: list[dict[str, Any]]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return pod(affinity={"nodeAffinity": required})
