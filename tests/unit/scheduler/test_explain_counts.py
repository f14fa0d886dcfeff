"""Explanations count each node once, say who is waited for, and are bounded."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts
from allocator.eligibility.verdict import Verdict, judge
from allocator.placement import fitting
from allocator.placement.misfit import Reason
from kubeclient.changes import Change, ChangeType
from kubeclient.objects import Pod
from scheduler import explain
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind
from scheduler.explain import node_counts, pending
from scheduler.explain.codes import MEANINGS, ExplanationCode
from tests.builders import node, request
from tests.unit.scheduler.cache.test_cluster_cache import fed, pod, promised
from tests.unit.scheduler.extender_over_nodes import a_pod

PAGE = (Path(__file__).parents[3] / "docs" / "explain.md").read_text(encoding="utf-8")
PROFILES = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb", "1g.12gb")
SLICES = (("1g.5gb", 0), ("1g.5gb", 4), ("3g.20gb", 0), ("3g.20gb", 4), ("4g.20gb", 0), ("7g.40gb", 0))
ROOM = Amounts(pods=110)
KINDS = ("unknown", "silent", "ill", "h100", *range(len(SLICES) + 1))


def cluster(kinds: list[str | int]) -> ClusterCache:
    """Nodes of these kinds: without report, with an ill GPU, of another model, empty or with one slice."""
    state, _ = fed()
    state.inventory.forget_report("n")
    for number, kind in enumerate(kinds):
        name = f"n{number}"
        state.inventory.nodes.add(name)
        if kind in ("unknown", "silent"):
            continue
        model = "h100-80gb" if kind == "h100" else "a100-40gb"
        built = node(name).gpu(model, healthy=kind != "ill")
        if isinstance(kind, int) and kind < len(SLICES):
            built = built.allocated(*SLICES[kind], pod=f"p{number}")
        state.inventory.observe(built.report())
    return state


def every_third(name: str) -> Verdict:
    """A cordon of every third node, judged by Kubernetes' own rules."""
    return judge(PodConstraints(), NodeFacts(name, unschedulable=int(name[1:]) % 3 == 0, allocatable=ROOM))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(KINDS), max_size=9),
    st.lists(st.sampled_from(PROFILES), min_size=1, max_size=2),
    st.sampled_from([None, every_third]),
)
def test_counts_add_up(kinds: list[str | int], profiles: list[str], judged: Callable[[str], Verdict] | None) -> None:
    """Every node is counted once; refusals have a sentence; full and fragmented are what the memory says."""
    state, asked = cluster(kinds), request(*profiles)
    counts = node_counts.count(state, asked, judged)
    assert sum(counts.codes.values()) == counts.looked_at == len(kinds)
    assert len(counts.refused) == counts.looked_at - counts.fitting
    assert sum(counts.ineligible.values()) == counts.codes[ExplanationCode.INELIGIBLE]
    closed = {name for name in state.inventory.nodes if judged is not None and not judged(name).eligible}
    assert counts.codes[ExplanationCode.INELIGIBLE] == len(closed)
    expected = {ExplanationCode.FULL: 0, ExplanationCode.FRAGMENTED: 0, ExplanationCode.HAS_ROOM: 0}
    for name in state.inventory.nodes - closed:
        gpus = state.inventory.fleet.gpus(name) if name in state.inventory.fleet else ()
        if gpus and fitting.fits(gpus, dict(asked.counts)):
            expected[ExplanationCode.HAS_ROOM] += 1
        elif state.inventory.reason(asked, name) is Reason.NO_ROOM:
            kind, taken = gpus[0]
            needed = sum(kind.catalogue.profile(p).memory_slices * n for p, n in asked.counts)
            enough = kind.free_slices(taken) >= needed
            expected[ExplanationCode.FRAGMENTED if enough else ExplanationCode.FULL] += 1
    assert {code: counts.codes[code] for code in expected} == expected


def test_enough_memory_in_the_wrong_places_is_fragmented() -> None:
    """A node that has the memory, but in pieces, is fragmented; one that has it not is full."""
    state, _ = fed()
    state.inventory.nodes |= {"n", "m"}
    state.inventory.observe(node("n").gpu().allocated("1g.5gb", 2, pod="a").allocated("1g.5gb", 5, pod="b").report())
    state.inventory.observe(node("m").gpu().allocated("7g.40gb", 0, pod="c").report())
    answer = explain.explain(state, state.remember(a_pod("waits", "3g.20gb")))
    assert answer["counts"] == {"fragmented": 1, "full": 1}
    assert answer["reason"] == "2 nodes: no free 3g.20gb placement on any GPU (1 full, 1 fragmented)"


def test_every_reason_and_code_has_its_meaning() -> None:
    """Each code is explained, and each reason of the metric is a code, `no_room` and `bound_elsewhere` aside."""
    assert set(MEANINGS) == set(ExplanationCode)
    reasons = {reason.value for reason in Reason} - {code.value for code in ExplanationCode}
    assert reasons == {"no_room", "bound_elsewhere"}


def test_the_page_lists_every_code() -> None:
    """docs/explain.md has the codes with the meanings that the code gives them."""
    table = PAGE.split("<!-- table: codes -->\n")[1].split("<!-- end -->")[0].strip().splitlines()[2:]
    assert table == [f"| `{code.value}` | {meaning} |" for code, meaning in MEANINGS.items()]


def changed(made: Pod, **status: object) -> Pod:
    """A pod with other metadata or status."""
    document = msgspec.to_builtins(made)
    for part, fields in status.items():
        document[part] |= fields
    return msgspec.convert(document, Pod)


def test_a_nominated_pod_waits_for_pods_by_name() -> None:
    """The pods that end on the node of the nomination are named."""
    state, _ = fed()
    state.inventory.nodes.add("n")
    lies = pod("lies", "n", annotation=promised(2))
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, lies, "1"))
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("stays", "n", annotation=promised(3)), "2"))
    leaving = changed(lies, metadata={"deletionTimestamp": "2026-01-31T12:00:00Z"})
    state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, leaving, "3"))
    urgent = changed(pod("urgent"), status={"nominatedNodeName": "n"})
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, urgent, "4"))
    answer = explain.explain(state, state.pods["uid-urgent"])
    assert answer["code"] == "nominated"
    assert answer["reason"].startswith("nominated to node n, where it waits for pod default/lies to end; ")
    assert explain.explain(state, state.pods["uid-lies"])["reason"] == "its slices are bound, and it is being deleted"


def test_a_pod_that_waits_its_turn_is_told_from_others() -> None:
    """A pod whose namespace spent its budget of mixes finds room, and kube-scheduler repeats why it was refused."""
    state, _ = fed()
    state.inventory.nodes.add("n")
    said = "0/1 nodes: 1 1g.5gb waits its turn: its namespace asks for many different mixes of slices"
    condition = {"type": "PodScheduled", "status": "False", "message": said}
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, changed(pod("mix"), status={"conditions": [condition]}), "1"))
    assert explain.explain(state, state.pods["uid-mix"])["code"] == "waits_turn"


async def test_the_list_ends_in_its_time() -> None:
    """When its time is over, the list says how many pods are left out, and that time cut it."""
    state, _ = fed()
    state.inventory.nodes.add("n")
    for number in range(9):
        state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod(f"waits-{number}"), str(number)))
    ticks = iter(range(100))
    answer = await pending.pending(state, limit=100, within_s=3, clock=lambda: float(next(ticks)))
    assert (answer["pending"], len(answer["pods"]), answer["left_out"], answer["cut_by"]) == (9, 2, 7, "time")
    assert sum(group["pods"] for group in answer["groups"]) == 2
