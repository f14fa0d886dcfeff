"""The verbs in domain words: shortlist, nomination, held pods, victims."""

import math

from allocator.claims.ledger import ClaimState
from allocator.placement import policy
from tests.unit.scheduler.extender_over_nodes import ExtenderOverNodes, a_pod


async def test_filter_offers_the_best_nodes_and_none_that_packs_worse() -> None:
    """Of many fitting nodes only the best is named, of equals as many as the shortlist takes; the rest is in no map."""
    verbs = ExtenderOverNodes(50, shortlist=3)
    equals = await verbs.extender.filter(a_pod("any", "3g.20gb"), verbs.names)
    assert (len(equals.nodes), equals.failed, equals.unresolvable) == (3, {}, {})
    verbs.hold("a", "n7", "4g.20gb")
    answer = await verbs.extender.filter(a_pod("p", "3g.20gb"), verbs.names)
    assert (list(answer.nodes), answer.failed, answer.unresolvable) == (["n7"], {}, {})


async def test_the_best_node_of_the_cluster_is_not_offered_unless_it_was_asked_about() -> None:
    """kube-scheduler may have ruled the best node out: then the best of those that are left is offered."""
    verbs = ExtenderOverNodes(5)
    verbs.hold("a", "n2", "4g.20gb")
    verbs.hold("b", "n4", "1g.5gb")
    assert list((await verbs.extender.filter(a_pod("p", "3g.20gb"), verbs.names)).nodes) == ["n2"]
    others = [name for name in verbs.names if name != "n2"]
    assert "n2" not in (await verbs.extender.filter(a_pod("q", "3g.20gb"), others)).nodes
    unknown = await verbs.extender.filter(a_pod("r", "3g.20gb"), ["n9"])
    assert (list(unknown.nodes), list(unknown.unresolvable or unknown.failed)) == ([], ["n9"])


async def test_slack_lets_worse_nodes_onto_the_shortlist_best_first() -> None:
    """With unlimited slack the shortlist is filled up with the next best; with a little, only as far as it reaches."""
    full = ExtenderOverNodes(50, shortlist=3, slack=math.inf)
    full.hold("a", "n7", "4g.20gb")
    answer = await full.extender.filter(a_pod("p", "3g.20gb"), full.names)
    assert answer.nodes[0] == "n7"
    assert len(answer.nodes) == 3
    tight = ExtenderOverNodes(50, shortlist=3, slack=1e-6)
    tight.hold("a", "n7", "4g.20gb")
    assert list((await tight.extender.filter(a_pod("p", "3g.20gb"), tight.names)).nodes) == ["n7"]


async def test_a_nominated_node_is_ranked_as_if_its_pod_lay_there() -> None:
    """The last half GPU offered to one pod is not offered to the next; it is still offered if nothing else is."""
    verbs = ExtenderOverNodes(2, slack=math.inf)
    verbs.hold("a", "n0", "4g.20gb")
    assert (await verbs.extender.filter(a_pod("first", "3g.20gb"), verbs.names)).nodes[0] == "n0"
    assert list((await verbs.extender.filter(a_pod("second", "3g.20gb"), verbs.names)).nodes) == ["n1", "n0"]
    assert list((await verbs.extender.filter(a_pod("third", "3g.20gb"), ["n0"])).nodes) == ["n0"]
    strict = ExtenderOverNodes(2)
    strict.hold("a", "n0", "4g.20gb")
    assert list((await strict.extender.filter(a_pod("first", "3g.20gb"), strict.names)).nodes) == ["n0"]
    assert list((await strict.extender.filter(a_pod("second", "3g.20gb"), strict.names)).nodes) == ["n1"]


async def test_no_node_is_nominated_where_kube_scheduler_chooses() -> None:
    """Offered several equal nodes, a pod nominates none of them: where it goes is not known yet."""
    verbs = ExtenderOverNodes(4)
    for name in ("first", "second"):
        assert list((await verbs.extender.filter(a_pod(name, "3g.20gb"), verbs.names)).nodes) == verbs.names


async def test_a_nomination_ends_with_its_time_and_with_the_pods_own_question() -> None:
    """An expired nomination weighs nothing, and a pod never stands in its own way."""
    verbs = ExtenderOverNodes(2, nomination_ttl_s=0.0)
    verbs.hold("a", "n0", "4g.20gb")
    for name in ("first", "second"):
        assert (await verbs.extender.filter(a_pod(name, "3g.20gb"), verbs.names)).nodes[0] == "n0"
    own = ExtenderOverNodes(2)
    own.hold("a", "n0", "4g.20gb")
    for _ in range(2):
        assert (await own.extender.filter(a_pod("p", "3g.20gb"), own.names)).nodes[0] == "n0"


async def test_a_pod_with_a_reservation_is_sent_there_and_nowhere_else() -> None:
    """While a Binding is unconfirmed its node alone is offered; a bound pod is refused everywhere, with the reason."""
    verbs = ExtenderOverNodes(3)
    claim = verbs.hold("p", "n2", "1g.5gb")
    assert list((await verbs.extender.filter(a_pod("p", "1g.5gb"), verbs.names)).nodes) == ["n2"]
    assert verbs.extender.prioritize(a_pod("p", "1g.5gb"), verbs.names) == {"n0": 0, "n1": 0, "n2": 10}
    answer = await verbs.extender.filter(a_pod("p", "1g.5gb"), ["n0"])
    assert answer.unresolvable == {"n0": "the pod already holds slices on another node"}
    verbs.state.inventory.confirm(claim.uid)
    assert verbs.state.inventory.ledger.get(claim.uid) is not None
    assert claim.state is ClaimState.RESERVED
    assert list((await verbs.extender.filter(a_pod("p", "1g.5gb"), verbs.names)).nodes) == []


def test_equal_nodes_score_the_same_and_each_worse_one_a_point_less() -> None:
    """Ten points for the best, one less for each next loss, the same for equals; a node that does not fit has none."""
    verbs = ExtenderOverNodes(6)
    verbs.hold("a", "n3", "7g.40gb")
    verbs.hold("b", "n1", "4g.20gb")
    verbs.hold("c", "n4", "4g.20gb")
    scores = verbs.extender.prioritize(a_pod("p", "3g.20gb"), verbs.names)
    assert scores == {"n0": 9, "n1": 10, "n2": 9, "n3": 0, "n4": 10, "n5": 9}


def test_scores_never_fall_below_zero() -> None:
    """A policy with more than ten distinct losses: ten points down to one, then zeros."""
    verbs = ExtenderOverNodes(15, by=policy.find("round-robin"))
    scores = verbs.extender.prioritize(a_pod("p", "1g.5gb"), verbs.names)
    assert sorted(scores.values(), reverse=True) == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0]


async def test_preempt_passes_pods_that_are_not_ours() -> None:
    """Candidates of a pod without slices go back as they came."""
    verbs = ExtenderOverNodes(1)
    assert (await verbs.extender.preempt(a_pod("plain"), {"n0": (["x"], 2)})).victims == {"n0": (["x"], 2)}


async def test_preempt_refuses_a_pod_that_cannot_be_read() -> None:
    """Nobody is evicted for a pod whose request spells no profile."""
    verbs = ExtenderOverNodes(1)
    assert (await verbs.extender.preempt(a_pod("odd", "huge"), {"n0": (["x"], 2)})).victims == {}
