"""Where a pod may run: each rule of kube-scheduler's, and what is said where there is no telling."""

import pytest

from allocator.eligibility import verdict
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints, Toleration, VolumeTopology
from allocator.eligibility.node import NodeFacts, Taint
from allocator.eligibility.node_selector import NodeSelectorRequirement, NodeSelectorTerm
from allocator.eligibility.verdict import Ineligible, judge

ROOM = Amounts(4000, 1 << 30, 1 << 30, 110)
OPEN = NodeFacts("node-1", labels={"zone": "a", "disks": "4"}, allocatable=ROOM)


def _node(**changes: object) -> NodeFacts:
    return NodeFacts(**{"name": "node-1", "labels": {"zone": "a", "disks": "4"}, "allocatable": ROOM, **changes})  # type: ignore[arg-type]


def _term(key: str, operator: str, *values: str) -> NodeSelectorTerm:
    return NodeSelectorTerm((NodeSelectorRequirement(key, operator, values),))


def test_a_pod_without_wishes_may_run_on_any_open_node() -> None:
    """A pod that asks for nothing may run on a node with nothing against it."""
    assert judge(PodConstraints(), OPEN, Amounts()).eligible


@pytest.mark.parametrize(
    ("pod", "node", "reason"),
    [
        (PodConstraints(), None, Ineligible.NO_NODE),
        (PodConstraints(), _node(unschedulable=True), Ineligible.NODE_UNSCHEDULABLE),
        (PodConstraints(), _node(ready=False), Ineligible.NODE_NOT_READY),
        (PodConstraints(), _node(taints=(Taint("gpu", "NoSchedule"),)), Ineligible.TAINT_TOLERATION),
        (PodConstraints(), _node(taints=(Taint("gpu", "NoExecute"),)), Ineligible.TAINT_TOLERATION),
        (PodConstraints(node_name="node-2"), OPEN, Ineligible.NODE_NAME),
        (PodConstraints(node_selector=(("zone", "b"),)), OPEN, Ineligible.NODE_AFFINITY),
        (PodConstraints(node_affinity=()), OPEN, Ineligible.NODE_AFFINITY),
        (PodConstraints(node_affinity=(NodeSelectorTerm(),)), OPEN, Ineligible.NODE_AFFINITY),
        (PodConstraints(node_affinity=(_term("disks", "Gt", "4"),)), OPEN, Ineligible.NODE_AFFINITY),
        (PodConstraints(requests=Amounts(cpu_milli=4001)), OPEN, Ineligible.NODE_RESOURCES_FIT),
        (PodConstraints(), _node(allocatable=Amounts(1000)), Ineligible.NODE_RESOURCES_FIT),
        (
            PodConstraints(volumes=(VolumeTopology("data", (_term("zone", "In", "b"),)),)),
            OPEN,
            Ineligible.VOLUME_BINDING,
        ),
        (
            PodConstraints(volumes=(VolumeTopology("data", None, (("topology.kubernetes.io/zone", ("b",)),)),)),
            _node(labels={"topology.kubernetes.io/zone": "a"}),
            Ineligible.VOLUME_ZONE,
        ),
    ],
)
def test_each_filter_has_its_reason(pod: PodConstraints, node: NodeFacts | None, reason: Ineligible) -> None:
    """A node that does not do is refused with the name of kube-scheduler's plugin and a sentence."""
    said = judge(pod, node, Amounts())
    assert (said.reason, said.eligible, bool(said.detail)) == (reason, False, True)


@pytest.mark.parametrize(
    ("pod", "node"),
    [
        (PodConstraints(), _node(taints=(Taint("gpu", "PreferNoSchedule"),))),
        (PodConstraints(tolerations=(Toleration(operator="Exists"),)), _node(unschedulable=True, ready=False)),
        (PodConstraints(tolerations=(Toleration("gpu", "", "a"),)), _node(taints=(Taint("gpu", "NoSchedule", "a"),))),
        (PodConstraints(node_affinity=(_term("zone", "In", "b"), _term("disks", "Lt", "5"))), OPEN),
        (PodConstraints(volumes=(VolumeTopology("data", None, (("topology.kubernetes.io/zone", ("b",)),)),)), OPEN),
    ],
)
def test_what_is_tolerated_or_matched_is_no_reason(pod: PodConstraints, node: NodeFacts) -> None:
    """Tolerated or soft taints, one matching term of several, and zones where nodes have none refuse nobody."""
    assert judge(pod, node, Amounts()).eligible


def test_other_pods_use_counts_where_it_is_known() -> None:
    """What other pods use is taken off, and is named as not judged where it is not known."""
    pod = PodConstraints(requests=Amounts(cpu_milli=1000, pods=1))
    assert judge(pod, OPEN, Amounts(cpu_milli=3001)).reason is Ineligible.NODE_RESOURCES_FIT
    assert judge(pod, OPEN, Amounts(cpu_milli=3000)) == verdict.Verdict()
    assert judge(pod, OPEN).unjudged == ("what other pods on the node use",)


@pytest.mark.parametrize(
    ("pod", "node"),
    [
        (PodConstraints(node_affinity=(_term("zone", "Near", "b"),)), OPEN),
        (PodConstraints(node_affinity=(_term("zone", "In"),)), OPEN),
        (PodConstraints(node_affinity=(_term("disks", "Gt", "many"),)), OPEN),
        (PodConstraints(node_affinity=(_term("disks", "Gt", "9" * 99),)), OPEN),
        (PodConstraints(node_selector=(("zone", "b"),)), _node(labels=None)),
        (PodConstraints(tolerations=(Toleration("gpu", "Gt", "1"),)), _node(taints=(Taint("gpu", "NoSchedule", "2"),))),
        (PodConstraints(unjudged=("host ports",)), OPEN),
    ],
)
def test_what_cannot_be_told_is_neither_yes_nor_no(pod: PodConstraints, node: NodeFacts) -> None:
    """Text without meaning refuses no node, and the verdict names what it depends on."""
    said = judge(pod, node, Amounts())
    assert said.eligible
    assert said.unjudged


def test_a_certain_refusal_outweighs_what_is_unknown() -> None:
    """A node that a later filter certainly refuses is refused, though an earlier one cannot tell."""
    pod = PodConstraints(node_affinity=(_term("zone", "Near", "b"),), requests=Amounts(memory=1 << 40))
    assert judge(pod, OPEN, Amounts()).reason is Ineligible.NODE_RESOURCES_FIT


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (None, Ineligible.NO_NODE),
        (_node(unschedulable=True), Ineligible.NODE_UNSCHEDULABLE),
        (_node(ready=False), Ineligible.NODE_NOT_READY),
        (_node(taints=(Taint("node.kubernetes.io/not-ready", "NoExecute"),)), Ineligible.TAINT_TOLERATION),
        (_node(taints=(Taint("ToBeDeletedByClusterAutoscaler", "NoSchedule"),)), Ineligible.TAINT_TOLERATION),
        (_node(allocatable=Amounts(1000, 1, 1, 0)), Ineligible.NODE_RESOURCES_FIT),
    ],
)
def test_a_closed_node_takes_no_pods(node: NodeFacts | None, reason: Ineligible) -> None:
    """A cordoned, unready, dying or missing node takes no pods, whatever they are."""
    said = verdict.closed(node)
    assert said is not None
    assert said.reason is reason


def test_a_node_kept_for_some_pods_is_not_closed() -> None:
    """A taint that somebody set to keep a node for certain pods does not close it."""
    assert verdict.closed(_node(taints=(Taint("nvidia.com/gpu", "NoSchedule", "present"),))) is None
    assert verdict.closed(OPEN) is None
