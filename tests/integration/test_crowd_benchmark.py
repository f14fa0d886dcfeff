"""The crowd benchmark on a small size: its hostile clients are at work while filter calls are measured."""

from benchmarks import crowd, registry
from benchmarks.servers.hostile_clients import ACTS


def test_filter_calls_are_measured_beside_each_act() -> None:
    """A row per act with explained columns, probes meanwhile, and as many clients as the act has."""
    acts = ["1,200 half-sent heads", "100 clients on GET /nodes"]
    rows = {row["meanwhile"]: row for row in crowd.measure(20, seconds=0.2, rounds=1, acts=acts)}
    assert list(rows) == [crowd.QUIET, *acts]
    assert set(acts) < set(ACTS)
    (columns,) = (benchmark.columns for benchmark in registry.BENCHMARKS if benchmark.name == "crowd")
    assert all(set(row) == set(columns) and row["calls"] and row["probes"] for row in rows.values())
    assert (rows[crowd.QUIET]["p99_ratio"], rows[crowd.QUIET]["connections"]) == (1, 0)
    assert [rows[act]["connections"] >= ACTS[act][0] for act in acts] == [True, True]
