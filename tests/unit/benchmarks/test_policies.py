"""The table of policies: the ceiling is exact, rows say what was measured, and references are compared fairly."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import fitting, geometry, gpu_models
from allocator.geometry import Geometry
from benchmarks import full_repack, policies
from benchmarks.policies import Contender, Row

NAMES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
A100 = geometry.compiled(gpu_models.find("a100-40gb").restricted(frozenset(NAMES)))
few = st.integers(0, 4)


@given(st.tuples(st.integers(0, 12), st.integers(0, 6), few, few, st.integers(0, 2)), st.integers(0, 4))
def test_packing_anew_is_decided_exactly(wanted: full_repack.Multiset, gpus: int) -> None:
    """Counting says that slices fit on empty GPUs exactly if the exact search says so."""
    counts = Counter(dict(zip(NAMES, wanted, strict=True)))
    assert full_repack.fits(wanted, gpus) == fitting.fits([(A100, Geometry.EMPTY)] * gpus, counts)


def test_rows_are_measured_and_below_the_ceiling() -> None:
    """Each contender has a row with its acceptance and reference, below what packing anew accepts, and they differ."""
    told: list[float] = []
    contenders = (Contender("worst-fit"), Contender("mfi"), Contender("mfi", moves=1))
    rows = policies.measure(seeds=2, loads=(1.0,), mixes=("bimodal",), contenders=contenders, progress=told.append)
    assert [row.contender for row in rows] == ["worst-fit", "mfi", "mfi, 1 move", policies.FULL_REPACK]
    acceptances = [row.gpc_acceptance for row in rows]
    assert acceptances == sorted(acceptances)
    assert len(set(acceptances)) == 4
    assert rows[1].reference == 0.893
    assert told[-1] == 1.0


@pytest.mark.parametrize(("measured", "agrees"), [(0.88, True), (0.9, True), (0.87, False), (0.91, False)])
def test_a_reference_agrees_within_both_intervals(measured: float, agrees: bool) -> None:
    """A row agrees with its reference if the difference is within the interval of a difference of two such values."""
    row = Row("mfi", "uniform", 1.0, 12, measured, 0.01, None, None, None, 0.89)
    assert row.agrees is agrees
    assert Row("mfi", "uniform", 1.0, 12, measured, 0.01, None, None, None, None).agrees is None


def test_six_profiles_have_no_ceiling_but_references() -> None:
    """On the 80 GB model with six profiles the policies have references, and no row claims a ceiling."""
    rows = policies.measure(
        policies.SIX_PROFILES, seeds=2, loads=(1.0,), mixes=("skew-big",), contenders=(Contender("round-robin"),)
    )
    assert [(row.contender, row.reference, row.reference_runs) for row in rows] == [("round-robin", 0.800, 20)]
    assert rows[0].gpc_acceptance == pytest.approx(0.8, abs=0.05)
