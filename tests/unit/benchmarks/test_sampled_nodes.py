"""The fill that shows what a window of nodes costs, on a small fleet."""

from benchmarks import answers, sampled_nodes


def test_a_window_of_all_nodes_lets_no_pod_wait() -> None:
    """Who looks at all nodes lets no pod wait that fits, and but for chance packs no worse than who looks at a part."""
    whole, part = sampled_nodes.measure("skew-small", 101, 1, (100, 10))
    assert whole["waits_although_it_fits"] == 0
    for row in (whole, part):
        assert 0.5 < row["used_at_first_refusal"] <= row["used_in_the_end"] <= 1
    assert whole["used_at_first_refusal"] >= part["used_at_first_refusal"] - 0.02


def test_answers_to_people_are_right() -> None:
    """Each question of the benchmark has the right answer on a small cluster, whatever the time."""
    rows = answers.measure(20, 2)
    assert len(rows) == 5
    assert all(row["right"] for row in rows)
