"""Draws a story as one animated SVG: a frame per step, with the map of slots and who waits. Pure; for the README.

Only CSS moves it, so that it also moves inside an <img>. Who asks for reduced motion, and programs without CSS
animation, see the last frame. Names are those of workloads: the same story gives the same file.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from allocator.claims.snapshot import GpuView, NodeView, Occupant
from cli import slot_map
from simulator.picture import Picture

SECONDS = 5  # that a frame is seen
WIDTH = 760
_CELL, _ROW = 38, 30  # pixels of a memory slice, and of a GPU
_LEFT, _TOP = 24, 104
_COLUMN, _LABEL = 366, 32  # pixels from one node to that beside it, and of a GPU's number
_LINE = 88  # characters of a caption's line
_PALETTE = ("#4fc3f7", "#ffb74d", "#81c784", "#ba68c8", "#f06292", "#fff176")
_STYLE = """
text { font: 13px DejaVu Sans Mono, Menlo, Consolas, monospace; fill: #e6edf3; }
.title { font-size: 16px; font-weight: bold; } .dim { fill: #8b949e; } .on { fill: #10151c; font-size: 12px; }
.wait { fill: #ff8a80; } .slot { fill: none; stroke: #30363d; } .idle { fill: #0d1117; stroke: #8b949e; }
.frame { opacity: 0; animation: show TOTALs step-end infinite; } .frame:last-of-type { opacity: 1; }
@keyframes show { 0% { opacity: 1; } SHARE% { opacity: 0; } 100% { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .frame { animation: none; } }
"""


@dataclass(frozen=True, slots=True)
class StoryFrame:
    """A step that is over: its sentence, and how everything was then."""

    text: str
    picture: Picture


def draw(title: str, frames: Sequence[StoryFrame]) -> str:
    """The SVG."""
    owners = sorted({slot_map.workload(pod) for frame in frames for pod in _pods(frame)})
    colours = {name: _PALETTE[number % len(_PALETTE)] for number, name in enumerate(owners)}
    nodes = frames[0].picture.nodes
    height = _TOP + -(-len(nodes) // 2) * max(map(_node_height, nodes)) + 72
    style = _STYLE.replace("TOTAL", str(SECONDS * len(frames))).replace("SHARE", f"{100 / len(frames):.3f}")
    body = "\n".join(_frame(number, frames, colours, height) for number in range(len(frames)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#0d1117"/>\n'
        f"{_text(_LEFT, 34, title, 'title')}\n{body}\n</svg>\n"
    )


def _pods(frame: StoryFrame) -> list[str]:
    return [pod.name for pod in frame.picture.pods]


def _frame(number: int, frames: Sequence[StoryFrame], colours: Mapping[str, str], height: int) -> str:
    frame = frames[number]
    parts = [_text(WIDTH - 60, 34, f"{number + 1} of {len(frames)}", "dim")]
    for line, words in enumerate(textwrap.wrap(frame.text, _LINE)[:2]):
        parts.append(_text(_LEFT, 62 + 20 * line, words))
    for index, node in enumerate(frame.picture.nodes):
        parts += _node(node, _LEFT + index % 2 * _COLUMN, _TOP + index // 2 * _node_height(node), colours)
    parts += _waiting(frame.picture, height - 44)
    delay = SECONDS * number
    return f'<g class="frame" style="animation-delay: {delay}s">\n' + "\n".join(parts) + "\n</g>"


def _node_height(node: NodeView) -> int:
    return len(node.gpus) * _ROW + 28


def _node(node: NodeView, x: int, y: int, colours: Mapping[str, str]) -> list[str]:
    """A node's GPUs, one below the other, and why it or one of them takes no work."""
    ill = [str(gpu.index) for gpu in node.gpus if gpu.problem]
    note = node.closed or (f"GPU {', '.join(ill)} takes no new work" if ill else "")
    title = textwrap.shorten(f"{node.name}: {note}", 42) if note else node.name
    parts = [_text(x, y + 12, title, "wait" if note else "dim")]
    for row, gpu in enumerate(node.gpus):
        parts += _gpu(gpu, x, y + 20 + row * _ROW, colours)
    return parts


def _gpu(gpu: GpuView, x: int, y: int, colours: Mapping[str, str]) -> list[str]:
    parts = [_text(x + 6, y + 16, str(gpu.index), "wait" if gpu.problem else "dim")]
    x += _LABEL
    parts += [_box(x + slot * _CELL, y, 1, "slot") for slot in range(gpu.memory_slices)]
    parts += [part for occupant in gpu.occupants for part in _slice(occupant, x, y, colours)]
    return parts


def _slice(occupant: Occupant, x: int, y: int, colours: Mapping[str, str]) -> list[str]:
    at, size = x + occupant.placement.start * _CELL, occupant.placement.size
    label = occupant.placement.profile.partition(".")[0]
    if not occupant.uid:
        return [_box(at, y, size, "idle"), _text(at + 6, y + 15, f"{label} idle" if size > 1 else label, "dim")]
    name = slot_map.workload(occupant.pod)
    fits = size * _CELL // 8 - len(label) - 3
    words = f"{label} {name}" if len(name) <= fits else label
    fill = colours.get(name, "#9e9e9e")
    return [_box(at, y, size, "", f' fill="{fill}"'), _text(at + 6, y + 15, words, "on")]


def _waiting(picture: Picture, y: int) -> list[str]:
    """Who waits and why, in two lines at most."""
    waiting = [pod for pod in picture.pods if pod.reason]
    if not waiting:
        return []
    more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
    said = f"{slot_map.workload(waiting[0].name)}{more} waits: {waiting[0].reason}"
    return [_text(_LEFT, y + 18 * n, line, "wait") for n, line in enumerate(textwrap.wrap(said, _LINE)[:2])]


def _box(x: int, y: int, size: int, style: str, more: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<rect x="{x + 1}" y="{y}" width="{size * _CELL - 2}" height="{_ROW - 8}" rx="3"{named}{more}/>'


def _text(x: int, y: int, words: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{named}>{escape(words)}</text>'
