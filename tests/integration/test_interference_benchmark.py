"""The interference benchmark on a small size: it loads the planner and measures the extender meanwhile."""

from allocator.planning import plan
from benchmarks import interference, registry
from benchmarks.interference import CAPACITY, NOTHING, PLANS


def test_the_planner_works_while_the_extender_is_measured() -> None:
    """A row per load with all cycles, explained columns, an idle planner in the first and a busy one in the others."""
    rows = {row["meanwhile"]: row for row in interference.measure((20,), cycles=10, rounds=1)}
    assert list(rows) == [NOTHING, PLANS, CAPACITY]
    (columns,) = (benchmark.columns for benchmark in registry.BENCHMARKS if benchmark.name == "interference")
    assert all(set(row) == set(columns) and row["cycles"] == 10 for row in rows.values())
    assert (rows[NOTHING]["planner_cpu"], rows[NOTHING]["answers"], rows[NOTHING]["p50_ratio"]) == (0, 0, 1)
    assert all(rows[load]["answers"] >= 1 for load in (PLANS, CAPACITY))


def test_the_long_plan_is_long_and_can_be_met() -> None:
    """It has the slices and the cut GPUs that are promised, another for each seed, and a plan."""
    one, other = interference.long_plan(0), interference.long_plan(1)
    assert one != other
    assert (sum(one["demand"].values()), len(one["pinned"])) == (interference.SLICES, interference.PINNED)
    assert plan.answer(one | {"headroom": []}, time_limit_s=5).feasible is True
