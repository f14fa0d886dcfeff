"""OverviewLog: what happened to slices, pods, GPUs and moves, as lines: told apart from how nodes were and are.

Kept by `watcher`, bounded, lost with the process. A node that is seen for the first time has no history.
"""

from collections import deque
from collections.abc import Mapping

from scheduler.page.document import (
    MOST_LOG,
    OverviewEvent,
    OverviewEventKind,
    OverviewGpu,
    OverviewGpuState,
    OverviewMove,
)
from scheduler.page.node_reader import ShownNode

_Slices = frozenset[tuple[str, int]]  # profile and start
MAX_TEXT = 400  # characters of a line


class OverviewLog:
    """The last lines, the youngest at the end."""

    def __init__(self) -> None:
        self._lines: deque[OverviewEvent] = deque(maxlen=MOST_LOG)
        self._told = 0

    def lines(self) -> list[OverviewEvent]:
        """All of them."""
        return list(self._lines)

    def see_node(self, before: ShownNode, after: ShownNode, now: str) -> bool:
        """Compare a node with what it was; whether there is something to tell."""
        told = self._told
        node, was = after.node, before.node
        if was.ready is not node.ready and node.ready is not None:
            kind = OverviewEventKind.RECOVERED if node.ready else OverviewEventKind.FAILURE
            said = "takes pods again" if node.ready else f"takes no pods: {node.message or 'it is not known why'}"
            self._tell(now, kind, f"node {node.name} {said}", node.name)
        gpus = {gpu.uuid: gpu for gpu in was.gpus}
        cut_before, cut_after = _cut(before), _cut(after)
        for gpu in node.gpus:
            if gpu.uuid in gpus:
                self._see_health(node.name, gpus[gpu.uuid], gpu, now)
                self._see_pods(node.name, gpus[gpu.uuid], gpu, now)
                self._see_slices(node.name, gpu, cut_before[gpu.uuid], cut_after[gpu.uuid], now)
        return self._told > told

    def see_moves(self, before: Mapping[str, OverviewMove], after: Mapping[str, OverviewMove], now: str) -> bool:
        """Compare the Repacks with what they were; whether there is something to tell."""
        told = self._told
        for name, move in after.items():
            was = before.get(name)
            if was is None or was.phase != move.phase:
                kind = OverviewEventKind.FAILURE if move.phase == "Failed" else OverviewEventKind.MOVE
                more = f": {move.message}" if move.message else ""
                self._tell(now, kind, f"Repack {name} is {move.phase}{more}"[:MAX_TEXT], None, move.pod)
            states = {step.pod: step.state for step in was.steps} if was is not None else {}
            for step in move.steps:
                if states.get(step.pod, "pending") != step.state:
                    why = f": {step.reason}" if step.reason else ""
                    self._tell(
                        now, OverviewEventKind.MOVE, f"{step.pod}: its move is {step.state}{why}", None, step.pod
                    )
        return self._told > told

    def _see_health(self, node: str, before: OverviewGpu, after: OverviewGpu, now: str) -> None:
        if before.state is not after.state:
            well = after.state is OverviewGpuState.OK
            kind = OverviewEventKind.RECOVERED if well else OverviewEventKind.FAILURE
            said = "is well again" if well else f"is {after.state.value.replace('_', ' ')}: {after.message}"
            self._tell(now, kind, f"GPU {after.index} of {node} {said}", node)

    def _see_pods(self, node: str, before: OverviewGpu, after: OverviewGpu, now: str) -> None:
        was, are = _held(before), _held(after)
        for pod, profile, start in sorted(was - are):
            self._tell(now, OverviewEventKind.ENDED, f"{pod} has left {_where(node, after, profile, start)}", node, pod)
        for pod, profile, start in sorted(are - was):
            said = f"{pod} is placed at {_where(node, after, profile, start)}"
            self._tell(now, OverviewEventKind.PLACED, said, node, pod)

    def _see_slices(self, node: str, gpu: OverviewGpu, before: _Slices, after: _Slices, now: str) -> None:
        for profile, start in sorted(before - after):
            said = f"{_where(node, gpu, profile, start)} is given back"
            self._tell(now, OverviewEventKind.FREED, said, node)
        for profile, start in sorted(after - before):
            self._tell(now, OverviewEventKind.CUT, f"{_where(node, gpu, profile, start)} is cut", node)

    def _tell(
        self, now: str, kind: OverviewEventKind, text: str, node: str | None = None, pod: str | None = None
    ) -> None:
        self._told += 1
        self._lines.append(OverviewEvent(now, kind, text[:MAX_TEXT], node, pod))


def _cut(node: ShownNode) -> dict[str, _Slices]:
    """The slices that a node's agent reports, by GPU."""
    return {
        gpu.uuid: frozenset((slice_.placement.profile, slice_.placement.start) for slice_ in gpu.slices)
        for gpu in node.sources.report.gpus
    }


def _held(gpu: OverviewGpu) -> set[tuple[str, str, int]]:
    """Pods with the places that they have, cut or promised."""
    return {(f"{one.namespace}/{one.pod}", one.profile, one.start) for one in gpu.slices if one.pod}


def _where(node: str, gpu: OverviewGpu, profile: str, start: int) -> str:
    return f"{profile}@{start} of GPU {gpu.index} of {node}"
