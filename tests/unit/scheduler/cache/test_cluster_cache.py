"""The cache: objects in, inventory and known pods out."""

import asyncio
import dataclasses
import time
from collections.abc import Callable

import msgspec
import structlog.testing

from allocator.claims import contract, placement_annotation
from allocator.mig import gpu_models
from allocator.placement import policy
from allocator.request import Request
from kubeclient.changes import Change, ChangeType, Listing, UnreadableObject
from kubeclient.objects import Meta, Node, Pod
from scheduler.cache import pod_labels
from scheduler.cache.cluster_cache import UNSEEN_S, ClusterCache
from scheduler.cache.port import MigNode, Object, WatchedKind
from scheduler.cooperative import STEP_S
from tests.builders import node


class Notifications:
    """Counts how often room arose."""

    def __init__(self) -> None:
        self.count = 0

    def notify(self) -> None:
        """Once more."""
        self.count += 1


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def mig_node(name: str, status: dict[str, object]) -> MigNode:
    """A MigNode as the watch gives it."""
    return MigNode(Meta(name), msgspec.Raw(msgspec.json.encode(status)))


def status_of(name: str) -> dict[str, object]:
    """The status of a node with one empty A100-40GB."""
    return contract.encode_status(node(name).gpu("a100-40gb").report(), agent_version="t", mode="simulated")


def pod(name: str, where: str = "", phase: str = "Pending", annotation: str = "") -> Pod:
    """A pod asking for one 1g.5gb."""
    annotations = {contract.PLACEMENT_ANNOTATION: annotation} if annotation else {}
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "annotations": annotations},
            "spec": {
                "nodeName": where,
                "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}],
            },
            "status": {"phase": phase},
        },
        Pod,
    )


def promised(start: int) -> str:
    """An annotation promising the first GPU of node n."""
    return placement_annotation.encode([placement_annotation.Promise("main", "n-gpu-0", "1g.5gb", start)])


def fed(*, step_s: float = STEP_S, clock: Callable[[], float] = time.monotonic) -> tuple[ClusterCache, Notifications]:
    """A cache that knows node n and its GPU."""
    room = Notifications()
    state = ClusterCache(policy.DEFAULT, room.notify, step_s=step_s, clock=clock)
    state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node("n", status_of("n")), "1"))
    return state, room


async def test_what_is_not_listed_any_more_is_gone() -> None:
    """A list replaces what was known: pods and MigNodes missing from it are forgotten, and their room is free."""
    state, room = fed()
    await state.replace(
        WatchedKind.POD, Listing((pod("a", "n", annotation=promised(0)), pod("b", "n", annotation=promised(1))), "2")
    )
    assert sorted(c.name for c in state.inventory.ledger) == ["a", "b"]
    before = room.count
    await state.replace(WatchedKind.POD, Listing((pod("b", "n", annotation=promised(1)),), "3"))
    assert [c.name for c in state.inventory.ledger] == ["b"]
    assert room.count == before + 1
    await state.replace(WatchedKind.MIG_NODE, Listing((), "4"))
    assert len(state.inventory.fleet) == 0


async def test_what_became_unreadable_stays_as_it_was() -> None:
    """A listed pod, node or MigNode that cannot be decoded keeps its claim, its place and its report."""
    state, _ = fed()
    await state.replace(WatchedKind.POD, Listing((pod("a", "n", annotation=promised(0)),), "2"))
    nodes = set(state.inventory.nodes)
    for kind, uid, name in (
        (WatchedKind.NODE, "", "n"),
        (WatchedKind.MIG_NODE, "", "n"),
        (WatchedKind.POD, "uid-a", "a"),
    ):
        await state.replace(kind, Listing((), "3", (UnreadableObject("", name, uid, "is nested too deeply"),)))
    assert [claim.name for claim in state.inventory.ledger] == ["a"]
    assert state.inventory.nodes == nodes
    assert len(state.inventory.fleet) == 1


async def test_a_list_that_is_older_than_our_own_reservation_does_not_void_it() -> None:
    """A pod whose Binding is on its way is not in trouble because a list does not show it yet."""
    state, _ = fed()
    known = state.remember(pod("a"))
    assert known.request is not None
    state.inventory.reserve("uid-a", "default", "a", known.request, "n")
    state.pods.clear()
    await state.replace(WatchedKind.POD, Listing((), "2"))
    assert [c.name for c in state.inventory.ledger] == ["a"]


async def test_a_list_does_not_void_what_was_bound_while_it_was_made() -> None:
    """A pod that came and was bound after a list was asked for keeps its place; one that was known before is gone."""
    state, _ = fed()
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("old", "n", annotation=promised(0)), "2"))
    state.expect(WatchedKind.POD)
    known = state.remember(pod("new"))
    assert known.request is not None
    state.inventory.reserve("uid-new", "default", "new", known.request, "n")
    state.inventory.confirm("uid-new")
    await state.replace(WatchedKind.POD, Listing((), "2"))
    assert [c.name for c in state.inventory.ledger] == ["new"]
    state.expect(WatchedKind.POD)
    await state.replace(WatchedKind.POD, Listing((), "9"))
    assert [c.name for c in state.inventory.ledger] == []


async def test_filter_calls_go_in_between_while_a_list_is_taken_in() -> None:
    """A list of many pods is taken in by small steps, and what is bound between two of them stays."""
    state, _ = fed(step_s=0.0)
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("gone", "n", annotation=promised(6)), "2"))
    listed = tuple(pod(f"p{start}", "n", annotation=promised(start)) for start in range(3))
    state.expect(WatchedKind.POD)
    taking = asyncio.create_task(state.replace(WatchedKind.POD, Listing(listed, "3")))
    claims: list[int] = []
    while not taking.done():
        await asyncio.sleep(0)
        claims.append(len(state.inventory.ledger))
        known = state.remember(pod("new"))
        if known.request is not None and state.inventory.ledger.get("uid-new") is None:
            state.inventory.reserve("uid-new", "default", "new", known.request, "n")
            state.inventory.confirm("uid-new")
    await taking
    assert len(set(claims)) > 2
    assert sorted(c.name for c in state.inventory.ledger) == ["new", "p0", "p1", "p2"]
    state.inventory.check()


def test_a_finished_pod_gives_its_place_back_and_that_is_told() -> None:
    """Phases Succeeded and Failed end a claim; room that arises is told."""
    state, room = fed()
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("a", "n", "Running", promised(0)), "2"))
    before = room.count
    state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, pod("a", "n", "Succeeded", promised(0)), "3"))
    assert len(state.inventory.ledger) == 0
    assert room.count == before + 1


def test_a_promise_made_before_its_node_reported_is_kept_for_later() -> None:
    """A bound pod whose node has no report yet is taken over with the first report."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("a", "n", "Running", promised(3)), "1"))
    assert [p.name for p in state.inventory.waiting()] == ["a"]
    state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node("n", status_of("n")), "2"))
    assert [str(h.placement) for c in state.inventory.ledger for h in c.holds] == ["1g.5gb@3"]
    assert list(state.inventory.waiting()) == []


def test_demand_is_what_known_pods_ask_for() -> None:
    """Profiles in demand come from pods that are not over."""
    state, _ = fed()
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("a"), "2"))
    assert set(state.demanded()) == {"1g.5gb"}
    state.apply(WatchedKind.POD, Change(ChangeType.DELETED, pod("a"), "3"))
    assert set(state.demanded()) == set()
    assert state.inventory.fleet.losses(Request(), state.inventory.fleet.rows_of(["n"])).tolist() == [0.0]


async def test_a_profile_that_kube_scheduler_does_not_ask_about_is_warned_of_once() -> None:
    """A live catalogue with an unlisted profile means blind placement: the log says so, once."""
    known = gpu_models.find("a100-40gb")
    odd = dataclasses.replace(
        known, profiles=tuple(dataclasses.replace(p, name=p.name.replace("5gb", "3gb")) for p in known.profiles)
    )
    seen = node("n").gpu("a100-40gb").report()
    seen = dataclasses.replace(seen, gpus=tuple(dataclasses.replace(g, catalogue=odd) for g in seen.gpus))
    status = contract.encode_status(seen, agent_version="t", mode="simulated")
    state = ClusterCache(policy.DEFAULT, lambda: None)
    with structlog.testing.capture_logs() as logs:
        await state.replace(WatchedKind.MIG_NODE, Listing((mig_node("n", status),), "1"))
        await state.replace(WatchedKind.MIG_NODE, Listing((mig_node("n", status),), "2"))
    warned = [line["resource"] for line in logs if "managedResources" in line["event"]]
    assert warned == ["nvidia.com/mig-1g.3gb", "nvidia.com/mig-1g.3gb.me"]


def test_a_mig_node_without_a_status_is_no_report() -> None:
    """An agent makes its MigNode before it writes the status: until then there is no report, and no warning."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    with structlog.testing.capture_logs() as logs:
        state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, MigNode(Meta("n")), "1"))
    assert state.inventory.report("n") is None
    assert logs == []


def test_what_changes_of_a_known_pod_is_followed() -> None:
    """Labels and the owner's leave to move it are those of the pod as it was last seen."""
    state, _ = fed()
    before = pod("p", "n")
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, before, "1"))
    changed = msgspec.structs.replace(
        before.metadata, labels={"app": "x"}, annotations={contract.MOVABLE_ANNOTATION: "true"}
    )
    state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, msgspec.structs.replace(before, metadata=changed), "2"))
    known = state.pods["uid-p"]
    assert (known.movable, known.labels) == (True, pod_labels.of({"app": "x"}))


def test_the_watch_counts_more_than_a_late_call() -> None:
    """A call that shows a pod as it was before its Binding does not undo what the watch has shown."""
    state, _ = fed()
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("a", "n", annotation=promised(0)), "2"))
    assert state.remember(pod("a")).node == "n"
    assert state.pods["uid-a"].node == "n"


def test_a_pod_that_was_gone_before_its_call_came_is_forgotten() -> None:
    """A pod that the watch never shows is not known for ever, nor waited for; one that it shows is."""
    clock = Clock()
    state, _ = fed(clock=clock)
    state.apply(WatchedKind.POD, Change(ChangeType.DELETED, pod("gone"), "2"))
    for name in ("gone", "seen"):
        state.waiting.refused.add(state.remember(pod(name)).uid)
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("seen"), "3"))
    clock.now += UNSEEN_S + 1
    state.apply(WatchedKind.NODE, Change(ChangeType.ADDED, Node(Meta("n")), "4"))
    assert set(state.pods) == state.waiting.refused == {"uid-seen"}


async def test_a_list_of_reports_that_say_nothing_new_is_not_read_again() -> None:
    """A new list costs what has changed: other reports, those of forgotten nodes, and those that pods wait for."""
    state, _ = fed()
    same, other = mig_node("n", status_of("n")), mig_node("m", status_of("m"))
    status = contract.encode_status(node("n").gpu().foreign("1g.5gb", 0).report(), agent_version="t", mode="simulated")
    changed = mig_node("n", status)

    async def read_again(*listed: MigNode) -> set[str]:
        """The nodes whose reports are other objects after a list than before it."""
        before = {report.node: report for report in state.inventory.reports()}
        await state.replace(WatchedKind.MIG_NODE, Listing(listed, "2"))
        return {report.node for report in state.inventory.reports() if report is not before.get(report.node)}

    assert await read_again(same, other) == {"m"}
    assert await read_again(changed) == {"n"}
    assert await read_again(changed, other) == {"m"}
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("waits", "m"), "5"))
    assert await read_again(changed, other) == {"m"}
    assert {report.node for report in state.inventory.reports()} == {"m", "n"}


def test_room_that_a_pod_bound_by_others_leaves_is_told() -> None:
    """A reservation that is void since somebody else bound the pod elsewhere gives room, and that is told."""
    state, room = fed()
    state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node("m", status_of("m")), "2"))
    known = state.remember(pod("a"))
    assert known.request is not None
    state.inventory.reserve("uid-a", "default", "a", known.request, "n")
    before = room.count
    state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, pod("a", "m"), "3"))
    assert room.count == before + 1


def test_a_reservation_that_is_refused_gives_room_once() -> None:
    """A refused Binding frees its place and tells so; a pod that holds nothing, or more by now, is left alone."""
    state, room = fed()
    known = state.remember(pod("a"))
    assert known.request is not None
    state.inventory.reserve("uid-a", "default", "a", known.request, "n")
    before = room.count
    state.refuse("uid-a")
    state.refuse("uid-a")
    assert (len(state.inventory.ledger), room.count) == (0, before + 1)
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("b", "n", annotation=promised(0)), "2"))
    state.refuse("uid-b")
    assert [claim.name for claim in state.inventory.ledger] == ["b"]


async def test_a_node_that_reports_the_gpus_of_others_costs_them_nothing() -> None:
    """One MigNode that names the GPUs of another leaves that one in service, and the log names all three."""
    state, _ = fed()
    status = contract.encode_status(node("n").gpu("a100-40gb").report(), agent_version="t", mode="simulated")
    with structlog.testing.capture_logs() as logs:
        state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node("newcomer", status), "2"))
    assert len(state.inventory.fleet.gpus("n")) == 1
    assert state.inventory.fleet.gpus("newcomer") == ()
    (line,) = [line for line in logs if line["event"] == "GPUs left out"]
    assert (line["node"], line["first"]) == ("newcomer", "n-gpu-0")
    assert "n has reported this GPU before newcomer" in line["problem"]


async def test_after_a_restart_bound_pods_decide_who_has_a_gpu() -> None:
    """Which of two nodes that list the same GPU has it is settled once the pods are listed, and then stays."""
    status = contract.encode_status(node("n").gpu("a100-40gb").report(), agent_version="t", mode="simulated")
    state = ClusterCache(policy.DEFAULT, lambda: None)
    both: Listing[Object] = Listing((mig_node("copy", status), mig_node("n", status)), "1")
    await state.replace(WatchedKind.MIG_NODE, both)
    await state.replace(WatchedKind.POD, Listing((pod("a", "n", annotation=promised(0)),), "2"))
    assert len(state.inventory.fleet.gpus("n")) == 1
    await state.replace(WatchedKind.POD, Listing((pod("b", "copy", annotation=promised(0)),), "3"))
    assert len(state.inventory.fleet.gpus("n")) == 1
    assert state.inventory.fleet.gpus("copy") == ()
