"""What is made of a GPU model is kept as long as a GPU has it, and not much longer."""

import gc
import weakref

from allocator.mig import gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.recent import Recent
from allocator.placement import fitting, misfit, policy, room
from allocator.placement.fleet import Fleet
from allocator.placement.shortlist import shortlist
from tests import builders


class Value:
    """Something that can be held."""


def test_unused_values_go_when_newer_ones_take_the_bytes() -> None:
    """What nothing holds is kept within the bytes, the latest first; what is held elsewhere is found all the same."""
    recent: Recent[str, Value] = Recent(max_bytes=100)
    held = Value()
    recent.put("held", held, 60)
    recent.put("first", Value(), 60)
    recent.put("second", Value(), 40)
    assert [recent.get(key) is not None for key in ("held", "first", "second")] == [True, True, True]
    assert recent.held_bytes == 100
    recent.put("second", Value(), 50)
    assert [recent.get(key) is not None for key in ("held", "first", "second")] == [True, False, True]
    recent.put("huge", Value(), 200)
    assert [recent.get(key) is not None for key in ("held", "second", "huge")] == [True, False, False]
    assert recent.held_bytes == 0


def test_what_is_kept_with_a_geometry_is_made_once_and_bounded() -> None:
    """The latest answers of each function are kept, a certain number of them."""
    geometry = builders.geometry_of_its_own(gpu_models.find("a30-24gb"))
    made: list[int] = []

    def make(of: Geometry, key: int) -> int:
        made.append(key)
        return of.states + key

    assert [geometry.keep(make, key, most=2) - geometry.states for key in (1, 2, 1, 3, 1)] == [1, 2, 1, 3, 1]
    assert made == [1, 2, 3, 1]


def test_a_geometry_goes_with_its_last_gpu() -> None:
    """Whatever was asked about a model, nothing holds its tables once no node has it."""
    geometry = builders.geometry_of_its_own(gpu_models.find("a30-24gb"))
    gone = weakref.ref(geometry)
    fleet = Fleet(policy.DEFAULT)
    fleet.put("n", [(geometry, 0)] * 2)
    fleet.put("other", [(geometry, 0)])
    mixed, single = builders.request("1g.6gb", "2g.12gb"), builders.request("1g.6gb")
    for request in (mixed, single):
        shortlist(fleet, request, ["n", "other"], 1, incoming={"n": [builders.request("1g.6gb", "1g.6gb")]})
        misfit.on_empty((geometry,), request.counts)
        fitting.fits([(geometry, 0)], dict(request.counts))
    room.stranded_slices(geometry, 0, frozenset({"1g.6gb"}))
    fleet.put("n", [(builders.geometry_of_its_own(gpu_models.find("a100-40gb")), 0)])
    fleet.drop("other")
    del geometry
    gc.collect()
    assert gone() is None
    assert [model.catalogue.model for model in fleet.geometries] == ["a100-40gb"]
    assert fleet.losses(mixed, fleet.rows_of(["n"])).tolist() == [float("inf")]
