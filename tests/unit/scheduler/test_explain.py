"""Why pods are pending: alone with every node, together once per kind of request."""

from kubeclient.changes import Change, ChangeType
from scheduler import explain
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind
from tests.builders import node
from tests.unit.scheduler.cache.test_cluster_cache import fed, pod, promised
from tests.unit.scheduler.extender_over_nodes import a_pod


def waiting() -> ClusterCache:
    """A node with one GPU, a pod on it, and pods that wait."""
    state, _ = fed()
    state.inventory.nodes.add("n")
    for number in range(3):
        state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod(f"waits-{number}"), "1"))
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("lies", "n", annotation=promised(2)), "2"))
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("elsewhere", "m"), "3"))
    return state


async def test_together_and_alone_say_the_same() -> None:
    """The list says of each pod what its own explanation says, without the nodes, in order of name."""
    state = waiting()
    every = [explanation async for explanation in explain.every(state)]
    assert [explanation["pod"] for explanation in every] == ["elsewhere", "lies", "waits-0", "waits-1", "waits-2"]
    assert every == [explain.explain(state, state.pods[explanation["uid"]]) | {"nodes": {}} for explanation in every]
    assert [explanation["phase"] for explanation in every] == ["bound", "bound", "pending", "pending", "pending"]


async def test_a_refused_pod_names_every_node() -> None:
    """Alone, a pod that fits nowhere has each node's reason, and its own counts them; in steps it is the same."""
    state = waiting()
    state.inventory.nodes.add("other")
    state.inventory.forget_report("n")
    answer = explain.explain(state, state.pods["uid-waits-0"])
    assert await explain.explain_in_steps(state, state.pods["uid-waits-0"]) == answer
    assert answer["nodes"] == dict.fromkeys(["n", "other"], "no MIG report from the node's agent")
    assert answer["reason"] == "2 nodes: no MIG report from the node's agent"


def test_a_node_that_would_cost_too_much_to_judge_says_so() -> None:
    """Where filter refuses a pod as too complex, the explanation does not say that there is no room."""
    state = waiting()
    state.inventory.observe(node("n").gpus_of("a100-40gb", 16).report())
    profiles = [*["1g.5gb"] * 5, *["1g.5gb.me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"] * 4]
    answer = explain.explain(state, state.remember(a_pod("hard", *profiles)))
    assert list(answer["nodes"]) == ["n"]
    assert answer["nodes"]["n"].endswith(" mixes too many slices to be placed exactly")
