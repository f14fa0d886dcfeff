"""The drawing of GPUs."""

import pytest
from rich.console import Console

from allocator.claims.snapshot import GpuView, NodeView, Occupant
from allocator.mig.profile import Placement
from cli import slot_map


def occupant(profile: str, start: int, size: int, pod: str = "web-0", state: str = "ready") -> Occupant:
    return Occupant(Placement(profile, start, size), state, "default", pod, "main", f"uid-{pod}")


def gpu(*occupants: Occupant, index: int = 0, memory_slices: int = 8, problem: str = "") -> GpuView:
    mask = 0
    for one in occupants:
        mask |= one.placement.mask
    return GpuView("n1", f"GPU-{index}", index, "A100", "a100-40gb", memory_slices, mask, occupants, problem)


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
