"""The ResourceSlices of the rivals benchmark: their counters allow what the geometry does, and nothing else."""

import itertools
from collections import Counter
from typing import Any

import pytest

from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from benchmarks import rivals_load
from benchmarks.scheduler_load import GPUS_PER_NODE, MODEL

CATALOGUE = gpu_models.find(MODEL)


def _number(counter: dict[str, str]) -> int:
    return int(counter["value"].removesuffix("Mi"))


def _devices() -> dict[Placement, dict[str, int]]:
    """What a device takes of its GPU's counters, by its placement."""
    _, first, *_ = rivals_load.resource_slices("n1")
    devices: dict[Placement, dict[str, int]] = {}
    for device in first["spec"]["devices"]:
        profile, start = device["attributes"]["profile"]["string"], int(device["name"].rpartition("-")[2])
        (consumed,) = device["consumesCounters"]
        devices[CATALOGUE.placement(profile, start)] = {
            name: _number(counter) for name, counter in consumed["counters"].items()
        }
    return devices


def test_a_node_has_a_slice_of_counters_and_one_for_each_gpu() -> None:
    """Every placement of each GPU is a device of its own."""
    slices: list[dict[str, Any]] = rivals_load.resource_slices("n1")
    assert len(slices) == 1 + GPUS_PER_NODE
    assert len(slices[0]["spec"]["sharedCounters"]) == GPUS_PER_NODE
    assert set(_devices()) == set(CATALOGUE.placements())
    assert {len(part["spec"]["devices"]) for part in slices[1:]} == {25}


@pytest.mark.parametrize("number", [2, 3])
def test_counters_allow_what_the_geometry_allows(number: int) -> None:
    """Of placements of the sizes that pods ask for, any two or three fit one GPU if and only if they may lie there."""
    whole = rivals_load.resource_slices("n1")[0]["spec"]["sharedCounters"][0]["counters"]
    limits = {name: _number(counter) for name, counter in whole.items()}
    devices, compiled = _devices(), geometry.compiled(CATALOGUE)
    asked = [place for place in devices if place.profile in ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")]
    for places in itertools.combinations(asked, number):
        taken: Counter[str] = Counter()
        for place in places:
            taken.update(devices[place])
        by_counters = all(taken[name] <= limits[name] for name in taken)
        state = compiled.EMPTY
        for place in places:
            state = int(compiled.step[state, compiled.placement_index[place]]) if state >= 0 else -1
        assert by_counters is (state >= 0), places
