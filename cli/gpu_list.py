"""Draws GPUs as a list, a line for each: where it is, its map, what is free, whose slices. Used where room is scarce.

Drawn by `migsched top --watch` and by the live screen of `migsched demo`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text

from allocator.claims.snapshot import GpuView, NodeView
from cli import gpu_filter, slot_map

_NODE_MAX = 24  # characters of a node's name
_NODE_MIN = 6
_MODEL = 12
_FREE = 4
_CELL = 2


def lines(
    gpus: Sequence[tuple[NodeView, GpuView]], width: int, *, coloured: bool, all_nodes: Iterable[NodeView] = ()
) -> list[Text]:
    """A heading, and a line of at most `width` columns for each GPU.

    Colours and letters follow from `all_nodes`, so that they stay as the list is scrolled.
    """
    pods = slot_map.owners(all_nodes)
    colour, keys = slot_map.colours(pods), {} if coloured else slot_map.letters(pods)
    slots = max((gpu.memory_slices for _, gpu in gpus), default=8) * _CELL
    name = max(_NODE_MIN, min(_NODE_MAX, max((len(node.name) for node, _ in gpus), default=0)))
    heading = f"{'NODE':<{name}} GPU {'MODEL':<{_MODEL}} {'MEMORY SLICES':<{slots}} {'FREE':>{_FREE}} OWNERS"
    drawn = [Text(heading, style="dim")]
    for node, gpu in gpus:
        line = Text(f"{_short(node.name, name)} {gpu.index:>3} {_short(gpu.model, _MODEL)} ")
        map_ = slot_map.bar(gpu, colour, keys)
        map_.pad_right(max(0, slots - map_.cell_len))
        line.append_text(map_)
        line.append(f" {gpu_filter.free(gpu):>{_FREE}} ")
        if node.closed and not gpu.problem:
            line.append(f"closed: {node.closed.partition(':')[0]}  ", style="yellow")
        line.append_text(Text(gpu.problem, style="red") if gpu.problem else _owners(gpu, keys))
        drawn.append(line)
    for line in drawn:
        line.truncate(width, overflow="ellipsis")
    return drawn


def _owners(gpu: GpuView, keys: Mapping[str, str]) -> Text:
    """`triton ×3, web`: workloads in the order of their first slice, with their letters where there are any."""
    counts = Counter(slot_map.workload(occupant.pod) or occupant.state for occupant in gpu.occupants)
    parts = []
    for owner, count in counts.items():
        letter = f"{keys[owner]}: " if owner in keys else ""
        parts.append(f"{letter}{owner}" + (f" ×{count}" if count > 1 else ""))
    return Text(", ".join(parts))


def _short(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
