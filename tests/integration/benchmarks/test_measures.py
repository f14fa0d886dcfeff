"""What the smaller benchmarks measure, on sizes that take no time: rows are complete and say what their columns do."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from allocator.mig import geometry, gpu_models
from benchmarks import cycles, decisions, fragmentation, planning, queueing, registry, repacking
from benchmarks.policies import Contender

Rows = Sequence[Mapping[str, Any]]


def _fragmentation() -> Rows:
    return fragmentation.measure(seeds=1, mixes=("bimodal",), gpus=10)


def _queue() -> Rows:
    return queueing.measure(1, ("skew-small",), (queueing.QUEUE, queueing.DEFAULT), gpus=10)


def _cycle() -> Rows:
    return cycles.measure((20,), 50)


def _decisions() -> Rows:
    return decisions.measure(("a30-24gb",), (Contender("mfi"), Contender("mfi", moves=1)))


def _repacking() -> Rows:
    return repacking.measure(instances=2, sizes=(2,))


def _planning() -> Rows:
    return planning.measure(2, (8,), slices=(100,), large=0)


SMALL = {
    "fragmentation": _fragmentation,
    "queue": _queue,
    "cycle": _cycle,
    "decisions": _decisions,
    "repacking": _repacking,
    "planning": _planning,
}


@pytest.fixture(scope="module", name="small")
def measured_once() -> Mapping[str, Rows]:
    """The rows of every small run."""
    return {name: run() for name, run in SMALL.items()}


@pytest.mark.parametrize("part", SMALL)
def test_every_column_is_explained(part: str, small: Mapping[str, Rows]) -> None:
    """A row has no field that its part does not explain, and the part explains no field that no row has."""
    explained = set(next(benchmark.columns for benchmark in registry.BENCHMARKS if benchmark.name == part))
    assert {key for row in small[part] for key in row} == explained


def test_spreading_makes_more_memory_unusable_than_the_default(small: Mapping[str, Rows]) -> None:
    """Series are as long as their times and are shares, and worst fit leaves more that requests cannot use than mfi."""
    rows = {row["contender"]: row for row in small["fragmentation"]}
    for row in rows.values():
        assert len(row["lifetimes"]) == len(row["stranded"]) == len(row["unusable"])
        assert all(0.0 <= share <= 1.0 for share in (*row["stranded"], *row["unusable"]))
        assert all(lost <= share for lost, share in zip(row["stranded"], row["unusable"], strict=True))
    assert sum(rows["worst-fit"]["unusable"]) > 2 * sum(rows["mfi"]["unusable"]) > 0


def test_moves_cost_decisions(small: Mapping[str, Rows]) -> None:
    """Every contender has a row with a cost above nothing, on the GPU model asked for."""
    assert [row["contender"] for row in small["decisions"]] == ["mfi", "mfi, 1 move"]
    for row in small["decisions"]:
        assert row["model"] == "a30-24gb"
        assert min(row["states"], row["us_per_decision"], row["placements_per_s"]) > 0


def test_the_planner_is_never_worse_than_trying_everything(small: Mapping[str, Rows]) -> None:
    """Each repack of the planner costs what the cheapest does, and every solvable fleet is solved and counted."""
    planner, window = small["repacking"]
    assert (planner["method"], window["method"]) == repacking.METHODS
    assert (planner["worse"], planner["missed"], planner["below"], planner["undecided"]) == (0, 0, 0, 0)
    assert planner["gaps"] == {"0": planner["solvable"]}
    assert window["missed"] + sum(window["gaps"].values()) + window["below"] >= window["solvable"] > 0


def test_plans_are_exact_and_baselines_are_not(small: Mapping[str, Rows]) -> None:
    """Exact plans have no GPU over the lower bound; online first fit has, on every mix."""
    by_method: dict[str, list[float]] = {}
    for row in small["planning"]:
        if row["what"] == "plan":
            by_method.setdefault(row["method"], []).append(row["over_percent"])
    assert set(by_method["exact"]) == {0.0}
    assert min(by_method["online first fit"]) >= 0.0
    assert max(by_method["online first fit"]) > 0.0
    assert {len(values) for values in by_method.values()} == {len(planning.MIXES)}


def test_high_starts_are_high() -> None:
    """First fit with high starts puts a 3g where it leaves the 4g's half free, so that both share one GPU."""
    kind = geometry.compiled(gpu_models.find(planning.MODEL))
    stream = ["3g.20gb", "4g.20gb"]
    assert planning.first_fit(kind, stream) == 2
    assert planning.first_fit(kind, stream, frozenset({3})) == 1
