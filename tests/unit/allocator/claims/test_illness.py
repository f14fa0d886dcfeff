"""Slices and GPUs that a report calls ill: no new work goes there, and reports without the field read as before."""

import dataclasses
import json

from allocator.claims import contract, snapshot
from allocator.claims.inventory import Inventory
from allocator.claims.report import Illness, NodeReport, Slice, SliceState
from tests import builders
from tests.builders import node
from tests.unit.allocator.claims import inventories
from tests.unit.allocator.claims.inventories import GPU

ILLNESS = Illness("2026-11-23T12:00:00Z", "XID 94 (contained memory error)")


def ill_idle(profile: str, start: int) -> Slice:
    """A warm slice that is about to be destroyed."""
    return Slice(builders.placement(profile, start), SliceState.IDLE, illness=ILLNESS)


def test_the_place_of_an_ill_idle_slice_is_taken_until_it_is_gone(inventory: Inventory) -> None:
    """Nothing is promised there; with the report that it is gone, its room is there again."""
    inventory.observe(node().gpu().slices(ill_idle("4g.20gb", 0)).report())
    assert inventories.mask(inventory) == 0b1111
    inventories.reserve(inventory, "a", "3g.20gb")
    assert inventories.places(inventory, "a") == [f"{GPU} 3g.20gb@4"]
    assert inventory.room_generation == 1
    inventory.observe(node().gpu().report())
    assert inventory.room_generation == 2
    inventory.check()


def test_a_claim_on_an_ill_idle_slice_stays(inventory: Inventory) -> None:
    """What was promised before the slice fell ill is cut anew there, and counts once."""
    inventories.reserve(inventory, "a", "7g.40gb")
    inventory.observe(node().gpu().slices(ill_idle("7g.40gb", 0)).report())
    assert inventory.conflicts("n1") == {}
    assert inventories.mask(inventory) == 0b1111_1111
    inventory.check()


def test_a_restarted_scheduler_believes_a_promise_on_an_ill_idle_slice(inventory: Inventory) -> None:
    """A pod that is bound to the place of an ill slice is taken over."""
    inventory.observe(node().gpu().slices(ill_idle("3g.20gb", 4)).report())
    bound = builders.pod("a", "1g.5gb").promised(GPU, "1g.5gb", 6).bound("n1")
    assert inventory.adopt(bound) is None
    inventory.check()


def test_a_held_ill_slice_is_its_pods(inventory: Inventory) -> None:
    """Illness changes nothing about who has a slice."""
    held = node().gpu().allocated("1g.5gb", 0, pod="a").report()
    (gpu,) = held.gpus
    ill = dataclasses.replace(gpu, slices=tuple(dataclasses.replace(s, illness=ILLNESS) for s in gpu.slices))
    inventory.observe(NodeReport("n1", (ill,)))
    assert inventories.mask(inventory) == 1


def test_planners_see_an_ill_idle_slice_as_taken(inventory: Inventory) -> None:
    """A snapshot shows it as ill, and its slices as taken; under a claim it is in nobody's way."""
    inventory.observe(node().gpu().slices(ill_idle("1g.5gb", 0)).idle("1g.5gb", 1).report())
    (gpu,) = snapshot.take(inventory).gpus()
    assert [occupant.state for occupant in gpu.occupants] == ["ill", "idle"]
    assert gpu.mask == 0b1
    claimed = Inventory()
    claimed.observe(node().gpu().report())
    inventories.reserve(claimed, "a", "7g.40gb")
    claimed.observe(node().gpu().slices(ill_idle("1g.5gb", 0)).report())
    (gpu,) = snapshot.take(claimed).gpus()
    assert [occupant.state for occupant in gpu.occupants] == ["idle", "reserved"]


def test_illness_is_written_for_slices_and_gpus() -> None:
    """The wire form: since and message, absent where nothing is ill."""
    seen = node().gpu(illness=ILLNESS, healthy=False, message="ill").slices(ill_idle("1g.5gb", 0)).idle("1g.5gb", 1)
    status = contract.encode_status(seen.report(), agent_version="1", mode="managed")
    wire = {"since": ILLNESS.since, "message": ILLNESS.message}
    (gpu,) = status["gpus"]
    assert gpu["illness"] == wire
    assert [slice_.get("illness") for slice_ in gpu["slices"]] == [wire, None]
    assert status["summary"]["freeMemorySlices"] == 0
    assert contract.decode_status(json.dumps(status).encode(), "n1") == seen.report()


def test_a_report_of_an_older_agent_reads_as_before() -> None:
    """Without the field nothing is ill."""
    seen = node().gpu().idle("1g.5gb", 0).report()
    status = contract.encode_status(seen, agent_version="1", mode="managed")
    assert "illness" not in json.dumps(status)
    assert contract.decode_status(json.dumps(status).encode(), "n1").gpus[0].illness is None


def test_an_illness_too_long_or_without_time_is_refused() -> None:
    """Bounds are those of the schema."""
    seen = node().gpu(illness=ILLNESS).report()
    good = contract.encode_status(seen, agent_version="1", mode="managed")
    for change in ({"message": "x" * 1025}, {"since": "x" * 65}, {"since": None}, {"since": 5}):
        status = json.loads(json.dumps(good))
        status["gpus"][0]["illness"].update(change)
        assert "illness" in contract.decode_status(json.dumps(status).encode(), "n1").problem
