"""The drawing of GPUs."""

import pytest
from rich.console import Console

from allocator.claims.snapshot import GpuView, NodeView
from cli import slot_map
from tests.unit.cli.gpu_views import gpu, occupant


def drawn(*gpus: GpuView, problem: str = "", width: int = 100) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(slot_map.draw([NodeView("n1", gpus, problem)]))
    return capture.get()


def test_bars_lie_where_slices_do() -> None:
    """Each slice is a bar over its memory slices, two characters each, labelled with its compute size."""
    line = slot_map.bar(gpu(occupant("1g.5gb", 6, 1), occupant("3g.20gb", 0, 4)), {})
    assert line.plain == "3g━━━━━━····1g··"


def test_attributes_are_marked() -> None:
    """A profile with an attribute is told from the plain one."""
    bars = [slot_map.bar(gpu(occupant(name, 0, 1)), {}).plain[:2] for name in ("1g.5gb", "1g.5gb+me", "1g.24gb-me")]
    assert bars == ["1g", "1+", "1+"]


def test_letters_tell_owners_where_colours_are_not_seen() -> None:
    """Each workload has a letter in its bars and in the legend; an attribute makes it a capital."""
    pods = ["web-0", "db-0"]
    line = slot_map.bar(
        gpu(occupant("1g.5gb+me", 0, 1, "web-0"), occupant("2g.10gb", 2, 2, "db-0")), {}, slot_map.letters(pods)
    )
    assert line.plain == "1B··2a━━········"
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(slot_map.draw([NodeView("n1", (gpu(occupant("1g.5gb", 0, 1)),))], coloured=False))
    assert "a web   ·· free" in capture.get()


def test_there_are_no_more_letters_than_there_are() -> None:
    """A workload beyond the alphabet shares a mark that is no letter."""
    assert set(slot_map.letters(f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(40)).values()) >= {
        "a",
        "z",
        "*",
    }


def test_twelve_slices() -> None:
    """A GPU is as wide as it has memory slices."""
    assert slot_map.bar(gpu(occupant("1g.24gb", 3, 3), memory_slices=12), {}).plain == "······1g━━━━············"


def test_contradicting_occupants_are_drawn_once() -> None:
    """Where a claim and a report overlap the line keeps its length."""
    assert slot_map.bar(gpu(occupant("4g.20gb", 0, 4), occupant("1g.5gb", 1, 1)), {}).plain == "4g━━━━━━········"


def test_neighbours_of_one_workload_have_two_shades() -> None:
    """Two slices of one workload side by side can be told apart."""
    line = slot_map.bar(gpu(occupant("1g.5gb", 0, 1), occupant("1g.5gb", 1, 1)), slot_map.colours(["web-0"]))
    first, second, _ = (span.style for span in line.spans)
    assert first != second


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("triton-7c999f969c-4sbzn", "triton"),
        ("batch-7g-4d47f", "batch-7g"),
        ("nightly-29401380-x2x4z", "nightly"),
        ("db-0", "db"),
        ("db-12", "db"),
        ("alone", "alone"),
        ("qwen-vllmworker-759c4bbb9-7947l", "qwen-vllmworker"),
    ],
)
def test_pods_of_one_workload_share_a_colour(pod: str, workload: str) -> None:
    """What controllers append to names does not count."""
    assert slot_map.workload(pod) == workload


def test_problems_are_shown() -> None:
    """A GPU and a node that take no work say why."""
    text = drawn(gpu(problem="MIG mode disabled"), gpu(index=1), problem="no report")
    assert "MIG mode disabled" in text
    assert "no report" in text


def test_nodes_wrap_at_the_width() -> None:
    """Four nodes fit side by side in a hundred columns, two in fifty."""
    nodes = [NodeView(f"n{number}", (gpu(),)) for number in range(4)]
    for width, rows in ((100, 1), (50, 2)):
        console = Console(width=width, no_color=True)
        with console.capture() as capture:
            console.print(slot_map.draw(nodes))
        assert sum("╭" in line for line in capture.get().splitlines()) == rows
