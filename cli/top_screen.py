"""The live screen of `migsched top --watch`: what it shows (pure), and the loop that reads keys and asks again."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from rich.console import Group
from rich.live import Live
from rich.text import Text

from allocator import errors
from allocator.claims.snapshot import NodeView
from cli import gpu_filter, gpu_list, output
from cli.gpu_filter import GpuFilter, Sort

_AROUND = 4  # lines that are no GPUs: title, totals, heading, keys
_TICK_S = 0.1
_KEYS = "↑↓ PgUp PgDn Home End scroll  s sort  u used only  q quit"
_QUIT = frozenset({"q", "Q", "\x03", "\x04"})
# What terminals send for keys beside letters (xterm's control sequences).
_SEQUENCES = {
    "\x1b[A": "k", "\x1bOA": "k", "\x1b[B": "j", "\x1bOB": "j", "\x1b[5~": "b", "\x1b[6~": " ",
    "\x1b[H": "g", "\x1bOH": "g", "\x1b[1~": "g", "\x1b[F": "G", "\x1bOF": "G", "\x1b[4~": "G",
}  # fmt: skip


@dataclass(frozen=True)
class TopScreen:
    """What is looked at. `first` is the first line of the list that is shown; `trouble` why it is not up to date."""

    nodes: tuple[NodeView, ...] = ()
    filter: GpuFilter = field(default_factory=GpuFilter)
    sort: Sort = Sort.NODE
    first: int = 0
    trouble: str = ""

    def pressed(self, key: str, height: int) -> "TopScreen":
        """After a key, on a screen of so many lines."""
        page = max(1, height - _AROUND)
        steps = {"j": 1, "k": -1, " ": page, "b": -page, "G": 10**9, "g": -(10**9)}
        if key in steps:
            return self._scrolled(self.first + steps[key], page)
        if key == "s":
            orders = list(Sort)
            return replace(self, sort=orders[(orders.index(self.sort) + 1) % len(orders)], first=0)
        if key == "u":
            return replace(self, filter=replace(self.filter, used=not self.filter.used), first=0)
        return self

    def _scrolled(self, first: int, page: int) -> "TopScreen":
        count = sum(len(node.gpus) for node in self.filter.of(self.nodes))
        return replace(self, first=max(0, min(first, count - page)))

    def lines(self, width: int, height: int, *, coloured: bool) -> list[Text]:
        """At most `height` lines of at most `width` columns: title, totals, the GPUs that fit, keys."""
        shown = self.filter.of(self.nodes)
        gpus = gpu_filter.ordered(shown, self.sort)
        page = max(1, height - _AROUND)
        first = max(0, min(self.first, len(gpus) - page))
        what = self.filter.text()
        title = Text.assemble(("migsched top", "bold"), f"  by {self.sort.value}", f"  only {what}" if what else "")
        if self.trouble:
            title.append(f"  {self.trouble}", style="bold red")
        body = gpu_list.lines(gpus[first : first + page], width, coloured=coloured, all_nodes=self.nodes)
        last = min(first + page, len(gpus))
        position = f"{first + 1}–{last} of {len(gpus)}  " if gpus else "nothing to show  "
        ends = Text(position + _KEYS, style="dim")
        drawn = [title, Text(gpu_filter.totals(shown) + _ill(shown)), *body, ends]
        for line in drawn:
            line.truncate(width, overflow="ellipsis")
        return drawn[:height]


def _ill(nodes: Sequence[NodeView]) -> str:
    """Nodes without GPUs have no line of their own."""
    bad = [f"{node.name}: {node.problem}" for node in nodes if node.problem]
    return f"; {'; '.join(bad)}" if bad else ""


def run(screen: TopScreen, ask: Callable[[], Sequence[NodeView]], every_s: float) -> None:
    """Show it until a key ends it; the cluster is asked again after `every_s`. Raises what the first `ask` raises."""
    console, coloured = output.console(), output.coloured()
    screen = replace(screen, nodes=tuple(ask()))
    asked_at, asking = time.monotonic(), None
    with _keys() as read, ThreadPoolExecutor(1) as pool, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(Group(*screen.lines(*console.size, coloured=coloured)), refresh=True)
            for key in read(_TICK_S):
                if key in _QUIT:
                    return
                screen = screen.pressed(key, console.height)
            if asking is not None and asking.done():
                screen, asking, asked_at = _answered(screen, asking), None, time.monotonic()
            elif asking is None and time.monotonic() - asked_at >= every_s:
                asking = pool.submit(ask)


def _answered(screen: TopScreen, asking: "Future[Sequence[NodeView]]") -> TopScreen:
    try:
        return replace(screen, nodes=tuple(asking.result()), trouble="")
    except errors.MigschedError as error:
        return replace(screen, trouble=f"not up to date: {error}")


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], list[str]]]:
    """A function that gives the keys pressed within a time; the terminal is put back as it was."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read(seconds: float) -> list[str]:
        if not select.select([terminal], [], [], seconds)[0]:
            return []
        return list(keys(os.read(terminal, 1024).decode(errors="replace")))

    tty.setcbreak(terminal)
    try:
        yield read
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def keys(typed: str) -> Iterator[str]:
    """Single keys, of what a terminal sends for them; those that are unknown are left out."""
    while typed:
        sequence = next((known for known in _SEQUENCES if typed.startswith(known)), "")
        if sequence:
            yield _SEQUENCES[sequence]
        elif typed[0] != "\x1b":
            yield typed[0]
        typed = typed[len(sequence) or 1 :]
