"""The table of policies, measured: rows are complete, and as many processes as wanted measure the same."""

from benchmarks import policies
from benchmarks.policies import Contender


def test_rows_do_not_depend_on_the_number_of_processes() -> None:
    """Two processes measure what one does, in the same order."""
    contenders = (Contender("first-fit"), Contender("fgd", known_demand=True))
    of_one, of_two = (
        policies.rows(seeds=1, loads=(0.85,), mixes=("uniform",), contenders=contenders, workers=workers)
        for workers in (1, 2)
    )
    assert of_one == of_two
    assert [row["gpc_ci95"] for row in of_one] == [None, None, None]


def test_rows_are_measured_and_below_the_ceiling() -> None:
    """Each contender has a row with its acceptance, below what packing anew accepts, and they differ."""
    told: list[str] = []
    contenders = (Contender("worst-fit"), Contender("mfi"), Contender("mfi", moves=1))
    rows = policies.rows(
        seeds=2, loads=(1.0,), mixes=("bimodal",), contenders=contenders, workers=1, progress=told.append
    )
    assert [row["contender"] for row in rows] == ["worst-fit", "mfi", "mfi, 1 move", policies.FULL_REPACK]
    acceptances = [row["gpc_acceptance"] for row in rows]
    assert acceptances == sorted(acceptances)
    assert len(set(acceptances)) == 4
    assert len(told) == 4
    assert "100%" in told[-1]
