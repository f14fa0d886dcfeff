"""The live screen of `migsched top --watch`: what it shows, and what keys do."""

import pytest

from allocator.claims.snapshot import NodeView
from cli import top_screen
from cli.gpu_filter import GpuFilter, Sort
from cli.top_screen import TopScreen
from tests.unit.cli.gpu_views import fleet, gpu

MANY = tuple(NodeView(f"node-{number:02}", tuple(gpu(index=index) for index in range(8))) for number in range(50))


def shown(screen: TopScreen, width: int = 80, height: int = 24, *, coloured: bool = False) -> list[str]:
    return [line.plain for line in screen.lines(width, height, coloured=coloured)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 3)])
@pytest.mark.parametrize("nodes", [MANY, tuple(fleet()), ()])
def test_it_fits_its_screen(nodes: tuple[NodeView, ...], width: int, height: int) -> None:
    """However many GPUs there are, no line is too long and no line too many; the keys stand in the last."""
    lines = shown(TopScreen(nodes=nodes), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_owners_are_read_without_colours() -> None:
    """A letter in the bar leads to its workload beside it."""
    row = next(line for line in shown(TopScreen(nodes=tuple(fleet()))) if line.startswith("n2"))
    assert "········3a━━━━━━" in row
    assert row.endswith("a: train")
    row = next(line for line in shown(TopScreen(nodes=tuple(fleet()))) if line.startswith("n1"))
    assert "1b1b1b1b1b1b1b··    1 b: triton ×7" in row


def test_scrolling_stays_within_the_list() -> None:
    """Lines, pages and both ends; a screen of 24 lines shows 20 of 400 GPUs."""
    screen = TopScreen(nodes=MANY)
    assert shown(screen)[-1].startswith("1–20 of 400")
    for key, position in (
        ("k", "1–20"),
        ("j", "2–21"),
        (" ", "22–41"),
        ("b", "2–21"),
        ("G", "381–400"),
        ("j", "381–400"),
        ("g", "1–20"),
    ):
        screen = screen.pressed(key, 24)
        assert shown(screen)[-1].startswith(position), key


def test_keys_sort_and_filter() -> None:
    """`s` goes through the orders, `u` hides GPUs without a slice; other keys do nothing."""
    screen = TopScreen(nodes=tuple(fleet()), first=2)
    assert screen.pressed("s", 24).sort is Sort.FREE
    assert screen.pressed("s", 24).pressed("s", 24).pressed("s", 24).sort is Sort.NODE
    only_used = screen.pressed("u", 24)
    assert (only_used.filter.used, only_used.first) == (True, 0)
    assert "only used GPUs" in shown(only_used)[0]
    assert shown(only_used)[-1].startswith("1–2 of 2")
    assert screen.pressed("x", 24) == screen


def test_what_is_wrong_is_shown() -> None:
    """A node without a report, a GPU with a problem, a cluster that no longer answers, a filter that nothing passes."""
    ill = NodeView("n4", (gpu(problem="fell off the bus"),))
    lines = shown(TopScreen(nodes=(*fleet(), ill), trouble="not up to date: no answer"), 120)
    assert "not up to date: no answer" in lines[0]
    assert "n3: no report" in lines[1]
    assert any("fell off the bus" in line for line in lines)
    nothing = shown(TopScreen(nodes=tuple(fleet()), filter=GpuFilter(nodes=("nope",))))
    assert nothing[-1].startswith("nothing to show")


def test_keys_of_a_terminal() -> None:
    """Arrows and page keys come as sequences, several keys at once, unknown sequences not at all."""
    assert list(top_screen.keys("\x1b[A\x1b[B\x1bOBq")) == ["k", "j", "j", "q"]
    assert list(top_screen.keys("\x1b[5~ s")) == ["b", " ", "s"]
    assert list(top_screen.keys("\x1b")) == []
