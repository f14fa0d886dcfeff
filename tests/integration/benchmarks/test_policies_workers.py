"""The table of policies, measured by several processes."""

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
