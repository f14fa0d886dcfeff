"""New GPU models are compiled between the calls, within a budget per node, and forgotten with their last GPU."""

import asyncio
import gc
import tracemalloc

import msgspec

from allocator.claims import contract
from allocator.mig.catalogue import Catalogue
from allocator.placement import policy
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Meta
from scheduler.cache.catalogue_compiler import BURST, STEPS_PER_S
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import MigNode, WatchedKind
from tests import builders

STEPS_OF_LARGE = 12 * 2**12  # placements × states


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def made_up(model: str, placements: int = 6, profile: str = "1g.1gb") -> Catalogue:
    """A model with single slices at so many starts: 2 to the power of that many states."""
    return builders.catalogue(32, 32).profile(profile, range(placements)).build_as(model)


def mig_node(name: str, *catalogues: Catalogue | str) -> MigNode:
    """A MigNode with a GPU of each of these."""
    node = builders.node(name)
    for catalogue in catalogues:
        node = node.gpu(catalogue)
    status = contract.encode_status(node.report(), agent_version="t", mode="simulated")
    return MigNode(Meta(name), msgspec.Raw(msgspec.json.encode(status)))


async def show(state: ClusterCache, *items: MigNode) -> None:
    """Show these MigNodes and let the compiler do what it may."""
    await state.replace(WatchedKind.MIG_NODE, Listing(items, "1"))


async def test_ever_new_models_leave_nothing_behind() -> None:
    """A MigNode that is written with other models again and again takes no more memory than one of them does."""
    clock = Clock()
    state = ClusterCache(policy.DEFAULT, lambda: None, clock=clock)

    async def rewrite(first: int, number: int) -> None:
        for model in range(first, first + number):
            clock.now += BURST / STEPS_PER_S
            profile = "1g.1gb+" + "".join(chr(ord("a") + int(digit)) for digit in str(model))
            await show(state, mig_node("n", made_up(f"model-{model}", profile=profile)))
            fleet = state.inventory.fleet
            assert fleet.losses(builders.request(profile), fleet.rows_of(["n"])).tolist() != [float("inf")]

    await rewrite(0, 50)
    gc.freeze()  # what there is already is not traced, and need not be walked through
    tracemalloc.start()
    await rewrite(50, 100)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [geometry.catalogue.model for geometry in state.inventory.fleet.geometries] == ["model-149"]
    assert grown < 2 * 2**20


async def test_calls_go_in_between_while_a_model_is_compiled() -> None:
    """Compiling gives the loop back after each row of its table, so that a call never waits for a whole model."""
    state = ClusterCache(policy.DEFAULT, lambda: None, step_s=0.0)
    shown = asyncio.create_task(show(state, mig_node("n", made_up("large", 10))))
    turns = 0
    while not shown.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 2**10


async def test_a_node_with_too_many_models_at_a_time_waits_and_others_do_not() -> None:
    """The reports of a node over its budget wait, as its problem says, and are read once it is full again."""
    clock = Clock()
    state = ClusterCache(policy.DEFAULT, lambda: None, clock=clock)
    for round_ in range(BURST // STEPS_OF_LARGE // 2 + 1):
        await show(state, mig_node("n", *(made_up(f"{round_}-{number}", 12) for number in range(2))))
    state.apply(WatchedKind.MIG_NODE, Change(ChangeType.DELETED, mig_node("n"), "2"))
    wanted, other = mig_node("n", made_up("wanted")), mig_node("other", made_up("another's"))
    await show(state, wanted, other)
    waits = state.inventory.report("n")
    assert waits is not None
    assert "status.catalogues" in waits.problem
    assert "GPU models that are new here" in waits.problem
    assert set(state.inventory.fleet.rows) == {"n", "other"}
    assert state.inventory.fleet.gpus("n") == ()
    clock.now += BURST / STEPS_PER_S
    await show(state, wanted, other)
    assert len(state.inventory.fleet.gpus("n")) == 1


async def test_a_model_that_is_known_costs_nothing() -> None:
    """A node over its budget reports models of the table, and those of other nodes, as ever."""
    state = ClusterCache(policy.DEFAULT, lambda: None, clock=Clock())
    known = made_up("of both")
    for round_ in range(BURST // STEPS_OF_LARGE // 2 + 1):
        await show(state, mig_node("n", *(made_up(f"x{round_}-{number}", 12) for number in range(2))))
    await show(state, mig_node("n", "h100-80gb", known), mig_node("other", known))
    await show(state, mig_node("n", "h100-80gb", known), mig_node("other", known))
    assert [len(state.inventory.fleet.gpus(name)) for name in ("n", "other")] == [2, 1]


async def test_reports_are_taken_in_as_their_models_are_compiled() -> None:
    """A watched MigNode with a new model is read a moment later; if it is gone by then, or others came, it is not."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    running = asyncio.create_task(state.compile_catalogues())
    for name, catalogue in (("n", made_up("first")), ("gone", made_up("second")), ("n", made_up("third"))):
        state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node(name, catalogue), "1"))
    state.apply(WatchedKind.MIG_NODE, Change(ChangeType.DELETED, mig_node("gone"), "2"))
    async with asyncio.timeout(10):
        while "n" not in state.inventory.fleet:
            await asyncio.sleep(0)
    running.cancel()
    assert [geometry.catalogue.model for geometry in state.inventory.fleet.geometries] == ["third"]
    assert [report.node for report in state.inventory.reports()] == ["n"]


async def test_more_than_a_few_models_on_a_node_are_a_bad_report() -> None:
    """A node has a few kinds of GPU; a report of more names the field and is not compiled."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    state.apply(
        WatchedKind.MIG_NODE,
        Change(ChangeType.ADDED, mig_node("n", *(made_up(f"kind-{number}") for number in range(5))), "1"),
    )
    report = state.inventory.report("n")
    assert report is not None
    assert "status.catalogues: '5 catalogues': a node has at most 4 kinds of GPU" in report.problem


def test_a_catalogue_with_too_many_places_is_refused() -> None:
    """No GPU has hundreds of places; a report with them names the field, before anything is compiled."""
    wide = builders.catalogue(32, 32)
    for size in range(1, 12):
        wide = wide.profile(f"{size}g.{size}gb", range(33 - size), memory=size)
    status = contract.encode_status(builders.node("n").gpu("a100-40gb").report(), agent_version="t", mode="x")
    profiles = [{"name": p.name, "id": 0, "computeSlices": 1, "memorySlices": p.memory_slices, "maxInstances": 1,
                 "starts": list(p.starts)} for p in wide.profiles]  # fmt: skip
    status["catalogues"][0].update(memorySlices=32, computeSlices=32, profiles=profiles)
    report = contract.decode_status(msgspec.json.encode(status), "n")
    assert "number of starts: 297: at most 256" in report.problem
