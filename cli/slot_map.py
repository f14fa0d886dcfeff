"""Draws GPUs as rows of memory slices, one colour per workload. Used by `migsched demo` and `migsched top`.

A memory slice is two characters wide; a slice of several is one bar, whose label begins with its compute size. Where
there are no colours, a letter in the label says whose it is: `3b━━━━━━`, a capital for a profile with an attribute.
"""

import re
import string
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from allocator.claims.snapshot import GpuView, NodeView, Occupant

_CELL = 2  # characters per memory slice
# Two shades per workload, so that neighbours of one workload can be told apart; readable under black text.
_PALETTE = (
    ("color(44)", "color(37)"),
    ("color(176)", "color(133)"),
    ("color(113)", "color(71)"),
    ("color(221)", "color(178)"),
    ("color(75)", "color(68)"),
    ("color(209)", "color(173)"),
    ("color(79)", "color(72)"),
    ("color(211)", "color(168)"),
)
_UNKNOWN = ("color(250)", "color(245)")
_FOREIGN = "white on grey30"
_GENERATED = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}$")  # the end of a generated pod name
_REVISION = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$")  # … and before it of its ReplicaSet
_ORDINAL = re.compile(r"-[0-9]+$")
_CRON_MINUTE = re.compile(r"-[0-9]{8}-[bcdfghjklmnpqrstvwxz2456789]{5}$")  # of a CronJob: the minute, the pod
_LETTERS = string.ascii_lowercase
_OTHER = "*"  # the letter of workloads beyond those


def workload(pod: str) -> str:
    """The name that pods of one workload share: without what controllers append."""
    if _CRON_MINUTE.search(pod):
        return _CRON_MINUTE.sub("", pod)
    if _ORDINAL.search(pod):
        return _ORDINAL.sub("", pod)
    return _REVISION.sub("", _GENERATED.sub("", pod))


Shades = tuple[str, str]


def colours(pods: Iterable[str]) -> Mapping[str, Shades]:
    """Two shades of a colour per workload of these pods, the same ones for the same workloads."""
    names = sorted({workload(pod) for pod in pods if pod})
    return {name: _PALETTE[index % len(_PALETTE)] for index, name in enumerate(names)}


def letters(pods: Iterable[str]) -> Mapping[str, str]:
    """A letter per workload of these pods, the same ones for the same workloads."""
    names = sorted({workload(pod) for pod in pods if pod})
    return {name: _LETTERS[index] if index < len(_LETTERS) else _OTHER for index, name in enumerate(names)}


def owners(nodes: Iterable[NodeView]) -> list[str]:
    """The pods on these nodes."""
    return [occupant.pod for node in nodes for gpu in node.gpus for occupant in gpu.occupants]


def draw(nodes: Sequence[NodeView], *, coloured: bool = True) -> RenderableType:
    """A panel per node, side by side as far as there is room, and a legend. Without colours, letters say whose."""
    pods = owners(nodes)
    owned, keys = colours(pods), {} if coloured else letters(pods)
    panels = [_panel(node, owned, keys) for node in nodes]
    return Group(Columns(panels, padding=(0, 1)), _legend(owned, keys))


def bar(gpu: GpuView, colour: Mapping[str, Shades], keys: Mapping[str, str] | None = None) -> Text:
    """One GPU's memory slices; `keys` are letters of workloads, where colours are not seen."""
    line = Text()
    at, odd = 0, False
    for occupant in sorted(gpu.occupants, key=lambda o: o.placement.start):
        if occupant.placement.start < at:
            continue  # a claim and a report that contradict each other; the first is shown
        line.append("··" * (occupant.placement.start - at), style="dim")
        shade = colour.get(workload(occupant.pod), _UNKNOWN)[odd]
        line.append(_label(occupant, (keys or {}).get(workload(occupant.pod), "")), style=_style(occupant, shade))
        odd = not odd
        at = occupant.placement.start + occupant.placement.size
    line.append("··" * (gpu.memory_slices - at), style="dim")
    return line


def _panel(node: NodeView, colour: Mapping[str, Shades], keys: Mapping[str, str]) -> Panel:
    rows = []
    for gpu in node.gpus:
        row = Text(f"{gpu.index:>2} ", style="dim")
        row.append_text(
            Text(gpu.problem[:20], style="red") if gpu.problem and not gpu.occupants else bar(gpu, colour, keys)
        )
        rows.append(row)
    if node.problem:
        rows.append(Text(node.problem, style="red"))
    if node.closed:
        rows.append(Text("closed to new pods", style="yellow"))
    return Panel(Group(*rows), title=node.name, title_align="left", box=box.ROUNDED, border_style="dim", expand=False)


def _label(occupant: Occupant, letter: str) -> str:
    """`3g━━━━━━` for four memory slices; a profile with an attribute has a plus, or a capital letter."""
    size, _, rest = occupant.placement.profile.partition("g.")
    plain = "+" not in rest and "-" not in rest
    mark = (letter if plain else letter.upper()) or ("g" if plain else "+")
    return f"{size}{mark}".ljust(occupant.placement.size * _CELL, "━")


def _style(occupant: Occupant, shade: str) -> str:
    if occupant.state == "foreign":
        return _FOREIGN
    if occupant.state == "idle":
        return "dim"
    return f"color(16) on {shade}{' dim' if occupant.state in ('releasing', 'reserved') else ''}"


def _legend(colour: Mapping[str, Shades], keys: Mapping[str, str]) -> Text:
    line = Text()
    for name, (shade, _) in colour.items():
        line.append(keys.get(name, "  "), style="bold" if keys else f"on {shade}")
        line.append(f" {name}   ")
    line.append("·· free", style="dim")
    return line
