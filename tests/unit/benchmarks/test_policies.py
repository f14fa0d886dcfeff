"""The table of policies: the ceiling is exact, and rows say what was measured."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import fitting
from benchmarks import full_repack, policies, ranges
from benchmarks.policies import Contender

NAMES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
A100 = geometry.compiled(gpu_models.find("a100-40gb").restricted(frozenset(NAMES)))
few = st.integers(0, 4)


@given(st.tuples(st.integers(0, 12), st.integers(0, 6), few, few, st.integers(0, 2)), st.integers(0, 4))
def test_packing_anew_is_decided_exactly(multiset: full_repack.Multiset, gpus: int) -> None:
    """Counting says that slices fit on empty GPUs exactly if the exact search says so."""
    counts = Counter(dict(zip(NAMES, multiset, strict=True)))
    assert full_repack.fits(multiset, gpus) == fitting.fits([(A100, Geometry.EMPTY)] * gpus, counts)


def test_every_reference_is_about_a_row_that_is_measured() -> None:
    """Each bound of the policies names a contender, mix, load and number of profiles that the full run has."""
    five, six = policies.FIVE_PROFILES, policies.SIX_PROFILES
    measured = {
        (setting.profiles, contender, mix, load)
        for setting, loads in ((five, (1.0, 0.85)), (six, (1.0,)))
        for contender in (*(c.name for c in setting.contenders), *([policies.FULL_REPACK] if setting.ceiling else ()))
        for mix in setting.mixes
        for load in loads
    }
    for bound in ranges.load():
        if bound.measure == "policies":
            about = dict(bound.where)
            assert (about["profiles"], about["contender"], about["mix"], about["load"]) in measured


def test_six_profiles_have_no_ceiling() -> None:
    """On the 80 GB model with six profiles no row claims a ceiling."""
    rows = policies.rows(
        policies.SIX_PROFILES,
        seeds=2,
        loads=(1.0,),
        mixes=("skew-big",),
        contenders=(Contender("round-robin"),),
        workers=1,
    )
    assert [(row["profiles"], row["contender"]) for row in rows] == [(6, "round-robin")]
    assert rows[0]["gpc_acceptance"] == pytest.approx(0.8, abs=0.05)
