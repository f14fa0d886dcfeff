"""Draws the demo's picture: all of it, or what fits a screen, with what waits before what runs. Pure."""

import textwrap
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli import gpu_filter, gpu_list, output, slot_map
from cli.gpu_filter import GpuFilter, Sort
from simulator.picture import Picture, PodRow

_UUID = 8  # characters of a GPU's: with its index and node they name it
_WAITING_SHARE = 3  # at most a third of a screen is for pods that wait


def whole(picture: Picture, head: Sequence[Text], *, coloured: bool) -> RenderableType:
    """All of it, however long."""
    parts: list[RenderableType] = [*head, "", slot_map.draw(picture.nodes, coloured=coloured), ""]
    waiting = _waiting(picture)
    if waiting:
        table = output.table()
        table.add_column("PENDING", style="bold red", no_wrap=True)
        table.add_column("WHY")
        for pod in waiting:
            table.add_row(pod.name, pod.reason)
        parts += [table, ""]
    parts.append(_placed(picture))
    if not picture.rested:
        stuck = ", ".join(picture.stuck) or "the scheduler still tries"
        parts += ["", Text(f"Did not come to rest: {stuck}", style="bold red")]
    if picture.left_out:
        parts += ["", _left_out(picture)]
    if picture.without_pods:
        parts += ["", Text(f"Applied as well, but makes no pods: {', '.join(picture.without_pods)}", style="dim")]
    return Group(*parts)


def _left_out(picture: Picture) -> Table:
    table = output.table()
    table.add_column("LEFT OUT", style="yellow", overflow="fold")
    table.add_column("FIELD", overflow="fold")
    table.add_column("WHY")
    for left in picture.left_out:
        table.add_row(f"{left.kind} {left.name}", left.field, left.why)
    return table


def screen(picture: Picture, head: Sequence[Text], width: int, height: int, *, coloured: bool) -> list[Text]:
    """At most `height` lines of at most `width` columns: head, who waits and why, used GPUs, pods that fit."""
    lines = [*head]
    if picture.left_out:
        many = f"{len(picture.left_out)} left out of the manifests; migsched demo --once says what and why"
        lines.append(Text(many, style="yellow"))
    lines.append(Text())
    waiting = _waiting_lines(_waiting(picture), width, max(2, height // _WAITING_SHARE))
    lines += [*waiting, Text()] if waiting else []
    lines += _used(picture, width, max(1, height - len(lines) - 1), coloured=coloured)
    left = height - len(lines) - 3
    pods = _pod_lines(picture)
    if left > 0 and pods:
        cut = len(pods) - left
        shown = pods if cut <= 0 else pods[:left]
        lines += [Text(), Text(_POD_LINE.format("POD", "PHASE", "NODE", "GPU", "PROFILE@START"), style="dim"), *shown]
        lines += [Text(f"… {cut} more; migsched demo --once prints all", style="dim")] if cut > 0 else []
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


_POD_LINE = "{:<32} {:<11} {:<10} {:>3}  {}"


def _waiting(picture: Picture) -> list[PodRow]:
    return [pod for pod in picture.pods if pod.reason]


def _waiting_lines(pods: Sequence[PodRow], width: int, most: int) -> list[Text]:
    """`PENDING  WHY`, reasons wrapped beside their pods; what does not fit is counted."""
    if not pods:
        return []
    name = min(max(len(pod.name) for pod in pods), width // 3)
    lines = [Text(f"{'PENDING':<{max(name, 7)}}  WHY", style="dim")]
    for number, pod in enumerate(pods):
        why = textwrap.wrap(pod.reason, max(20, width - max(name, 7) - 2))
        if len(lines) + len(why) > most and number:
            lines.append(Text(f"… {len(pods) - number} more wait", style="dim"))
            break
        for row, part in enumerate(why):
            title = Text(f"{pod.name[:name] if row == 0 else '':<{max(name, 7)}}  ", style="bold red")
            lines.append(title.append(part, style="none"))
    return lines


def _used(picture: Picture, width: int, most: int, *, coloured: bool) -> list[Text]:
    """The GPUs with something on them, as a list, and how many are empty."""
    used = gpu_filter.ordered(GpuFilter(used=True).of(picture.nodes), Sort.NODE)
    empty = sum(len(node.gpus) for node in picture.nodes) - len(used)
    room = max(0, most - 2)
    lines = gpu_list.lines(used[:room], width, coloured=coloured, all_nodes=picture.nodes) if used else []
    beyond = [f"{len(used) - room} more in use"] if len(used) > room else []
    return [*lines, Text(", ".join([*beyond, f"{output.number(empty, 'GPU')} without a slice"]), style="dim")]


def _pod_lines(picture: Picture) -> list[Text]:
    index = {gpu.uuid: gpu.index for node in picture.nodes for gpu in node.gpus}
    lines = []
    for pod in sorted((pod for pod in picture.pods if pod.node), key=lambda pod: pod.name):
        gpus = ",".join(str(number) for number in sorted({index[hold.gpu] for hold in pod.slices}))
        slices = ", ".join(f"{hold.placement.profile}@{hold.placement.start}" for hold in pod.slices)
        lines.append(Text(_POD_LINE.format(pod.name, pod.phase, pod.node, gpus, slices or "–")))
    return lines


def _placed(picture: Picture) -> Table:
    table = output.table()
    for column in ("POD", "PHASE", "NODE", "GPU", "PROFILE"):
        table.add_column(column, overflow="fold")
    table.add_column("START", justify="right")
    index = {gpu.uuid: gpu.index for node in picture.nodes for gpu in node.gpus}
    colour = slot_map.colours(slot_map.owners(picture.nodes))
    for pod in sorted((pod for pod in picture.pods if pod.node), key=lambda pod: pod.name):
        name = Text(pod.name, style=colour.get(slot_map.workload(pod.name), ("", ""))[0])
        where = [
            (f"{index[hold.gpu]}  {hold.gpu[:_UUID]}", hold.placement.profile, str(hold.placement.start))
            for hold in pod.slices
        ] or [("", "–", "")]
        for row, (gpu, profile, start) in enumerate(where):
            first = (name, pod.phase, pod.node) if row == 0 else ("", "", "")
            table.add_row(*first, gpu, profile, start)
    return table
