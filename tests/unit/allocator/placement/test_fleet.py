"""The fleet's rows and sums, one by one."""

import random

import numpy as np
import pytest

from allocator.claims.inventory import Inventory
from allocator.mig import geometry, gpu_models
from allocator.placement import policy
from allocator.placement.fitting import GpuState
from allocator.placement.fleet import EQUAL, Fleet
from allocator.placement.policy import Order
from tests import builders
from tests.unit.allocator.claims import inventories


def _gpu(*placed: tuple[str, int], model: str = "a100-40gb") -> GpuState:
    compiled = geometry.compiled(gpu_models.find(model))
    return compiled, compiled.state_of(compiled.catalogue.placement(name, start) for name, start in placed)


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes: one empty A100, and one A100 whose left half is taken beside an empty A30."""
    small = Fleet(policy.DEFAULT)
    small.put("empty", [_gpu()])
    small.put("mixed", [_gpu(("3g.20gb", 0)), _gpu(model="a30-24gb")])
    return small


def test_what_an_unknown_node_holds_is_nothing(fleet: Fleet) -> None:
    """A node that was never put has row -1, and nothing fits there, one slice or several."""
    rows = fleet.rows_of(["nobody", "empty"])
    assert rows[0] == -1
    for request in (builders.request("1g.5gb"), builders.request("1g.5gb", "2g.10gb")):
        losses = fleet.losses(request, rows)
        assert np.isposinf(losses[0])
        assert np.isfinite(losses[1])


def test_only_unknown_nodes_are_no_error(fleet: Fleet) -> None:
    """Asking for several slices on unknown nodes only, or on none, answers that nothing fits."""
    assert np.isposinf(fleet.losses(builders.request("1g.5gb", "1g.5gb"), fleet.rows_of(["a", "b"]))).all()
    assert fleet.losses(builders.request("1g.5gb", "1g.5gb"), fleet.rows_of([])).shape == (0,)


def test_a_profile_that_nobody_offers_fits_nowhere(fleet: Fleet) -> None:
    """A well-formed profile that no GPU has costs infinity everywhere."""
    assert np.isposinf(fleet.losses(builders.request("9g.99gb"), fleet.rows_of(["empty", "mixed"]))).all()


def test_rows_of_forgotten_nodes_are_used_again(fleet: Fleet) -> None:
    """A new node takes the row of a forgotten one, and nothing of it."""
    row = fleet.rows["mixed"]
    fleet.drop("mixed")
    with pytest.raises(KeyError):
        fleet.name(row)
    with pytest.raises(KeyError):
        fleet.gpus("mixed")
    fleet.put("new", [])
    assert fleet.rows["new"] == row
    assert fleet.name(row) == "new"
    assert np.isposinf(fleet.losses(builders.request("1g.6gb"), fleet.rows_of(["new", "mixed"]))).all()


def test_forgetting_an_unknown_node_is_no_error(fleet: Fleet) -> None:
    """A node may be forgotten twice."""
    fleet.drop("nobody")
    fleet.drop("empty")
    fleet.drop("empty")
    assert len(fleet) == 1
    assert "empty" not in fleet


def test_stranded_slices_are_those_no_demanded_profile_can_use(fleet: Fleet) -> None:
    """Free memory slices count as stranded if no profile in demand can cover them any more."""
    assert fleet.free_and_stranded(["1g.5gb", "1g.6gb", "1g.10gb"]) == {"a100-40gb": (12, 0), "a30-24gb": (4, 0)}
    assert fleet.free_and_stranded(["4g.20gb", "4g.24gb"]) == {"a100-40gb": (12, 4 + 4), "a30-24gb": (4, 0)}


def test_free_and_stranded_are_summed_by_model(fleet: Fleet) -> None:
    """Free and stranded memory slices are summed over all GPUs of a model; without demand nothing is stranded."""
    assert fleet.free_and_stranded(["1g.5gb"]) == {"a100-40gb": (12, 2), "a30-24gb": (4, 4)}
    assert fleet.free_and_stranded([]) == {"a100-40gb": (12, 0), "a30-24gb": (4, 0)}


def _order(fleet: Fleet, *nodes: str) -> list[str]:
    """The nodes that take a 1g slice, best first."""
    losses = fleet.losses(builders.request("1g.5gb"), fleet.rows_of(nodes))
    assert all(0 <= loss < 1 for loss in losses if np.isfinite(loss))
    return [nodes[i] for i in np.argsort(losses) if np.isfinite(losses[i])]


def test_first_fit_takes_nodes_as_they_became_known() -> None:
    """Under first fit the node known longest goes first, among those where the slice fits."""
    fleet = Fleet(policy.POLICIES["first-fit"])
    for node, gpu in (("c", _gpu()), ("full", _gpu(("7g.40gb", 0))), ("a", _gpu()), ("b", _gpu())):
        fleet.put(node, [gpu])
    assert _order(fleet, "a", "b", "c", "full", "nobody") == ["c", "a", "b"]
    fleet.chose("a")
    assert _order(fleet, "a", "b", "c") == ["c", "a", "b"]


def test_round_robin_goes_on_after_the_last_choice() -> None:
    """Under round robin the node after the one chosen last goes first; choosing an unknown node changes nothing."""
    inventory = Inventory(policy.POLICIES["round-robin"])
    for name in ("a", "b", "c"):
        inventory.observe(builders.node(name).gpu().report())
    assert _order(inventory.fleet, "a", "b", "c") == ["a", "b", "c"]
    inventories.reserve(inventory, "pod", "1g.5gb", on="b")
    assert _order(inventory.fleet, "a", "b", "c") == ["c", "a", "b"]
    inventory.fleet.chose("nobody")
    assert _order(inventory.fleet, "a", "b", "c") == ["c", "a", "b"]
    inventory.fleet.chose("c")
    assert _order(inventory.fleet, "a", "b", "c") == ["a", "b", "c"]


@pytest.mark.parametrize("by", ["mfi", "best-fit", "first-fit", "round-robin"])
@pytest.mark.parametrize("looked_at", [2, 64])
def test_what_is_plain_to_see_is_what_the_losses_say(by: str, looked_at: int) -> None:
    """The short way names the first nodes of least loss, or nothing; nothing only where few nodes were looked at."""
    fleet = Fleet(policy.find(by))
    by_loss = fleet.policy.order not in (Order.FIRST, Order.CYCLIC)
    chance = random.Random(3)
    lengths = set()
    for step in range(80):
        taken = chance.choice([(), (("1g.5gb", 0),), (("3g.20gb", 4),), (("4g.20gb", 0),), (("7g.40gb", 0),)])
        fleet.put(f"n{chance.randrange(6)}", [_gpu(*taken)])
        if step % 7 == 6:
            fleet.drop(f"n{chance.randrange(6)}")
        everywhere = list(fleet.rows)
        names = ["stranger", *chance.sample(everywhere, chance.randint(1, len(everywhere)))] if everywhere else []
        count = chance.randint(1, 3)
        for profile in ("1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb", "9g.99gb"):
            request = builders.request(profile)
            least = fleet.losses(request, fleet.rows_of(everywhere)).min(initial=np.inf)
            losses = fleet.losses(request, fleet.rows_of(names))
            best = [
                name for name, loss in zip(names, losses, strict=True) if np.isfinite(loss) and loss <= least + EQUAL
            ]
            cheapest = list(fleet.cheapest(request, names, count, looked_at))
            assert cheapest in ([], best[:count])
            if looked_at >= len(names):
                assert cheapest == (best[:count] if by_loss else [])
            lengths.add(len(cheapest))
    assert fleet.cheapest(builders.request("1g.5gb", "1g.5gb"), everywhere, 1) == ()
    assert lengths == ({0} if not by_loss else {0, 1} if looked_at == 2 else {0, 1, 2, 3})
