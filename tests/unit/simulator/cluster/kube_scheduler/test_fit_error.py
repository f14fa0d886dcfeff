"""The wording of a pod that fits nowhere, as recorded from kube-scheduler 1.36."""

from simulator.cluster.kube_scheduler import fit_error
from simulator.cluster.kube_scheduler.in_tree import NodeRefusal

NO_ROOM = "no free 3g.20gb placement on any GPU"


def test_equal_reasons_are_counted() -> None:
    """Reasons are counted over nodes and sorted as texts, preemption's prospects likewise."""
    refusals = {f"n{i}": NodeRefusal((NO_ROOM,), resolvable=True) for i in range(10)}
    refusals["n10"] = NodeRefusal(("node(s) were unschedulable",), resolvable=False)
    refusals["n11"] = NodeRefusal(("Insufficient cpu", "Insufficient memory"), resolvable=True)
    assert fit_error.message(12, refusals) == (
        "0/12 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) were unschedulable,"
        f" 10 {NO_ROOM}."
        " preemption: 0/12 nodes are available: 1 Preemption is not helpful for scheduling,"
        " 11 No preemption victims found for incoming pod."
    )


def test_nodes_dropped_without_a_word_have_no_reason() -> None:
    """A node that the extender named in neither map counts, but says nothing."""
    assert fit_error.message(1, {"n1": NodeRefusal((), resolvable=False)}) == (
        "0/1 nodes are available: preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_a_pod_that_never_preempts_says_so() -> None:
    """preemptionPolicy Never is the whole story of preemption."""
    assert fit_error.message(1, {"n1": NodeRefusal((NO_ROOM,), resolvable=True)}, may_preempt=False) == (
        f"0/1 nodes are available: 1 {NO_ROOM}. preemption: not eligible due to preemptionPolicy=Never."
    )
