"""OutOfService: which GPUs take no new work, by settings and by the node's annotation, and why. Pure; state keeps it.

What runs on such a GPU goes on. The annotation is anybody's text who may change the node: it is read up to a bound,
and what in it names no GPU is said instead of being passed over.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from node_agent.gpu import selection
from node_agent.gpu.device import GpuInfo, GpuState
from node_agent.gpu.selection import GpuSelection

MAX_TEXT = 4096  # characters of the annotation: 64 GPUs by UUID take 2,600
_MAX_NAMED = 3  # of the bad names
_MAX_NAME = 60  # characters of each


@dataclass(frozen=True)
class OutOfService:
    """What was asked for. `by_setting` and `excluded` are settings, `annotation` the text on the node."""

    by_setting: GpuSelection = selection.NONE
    excluded: GpuSelection = selection.NONE
    annotation: str = ""

    def reasons(self, gpus: Iterable[GpuInfo]) -> dict[str, str]:
        """Why, by UUID, of the GPUs that take no new work. One that is left alone altogether is none of them."""
        annotated, _ = self._read
        reasons: dict[str, str] = {}
        if not (annotated or self.by_setting or self.excluded):
            return reasons
        for gpu in gpus:
            if gpu.state is GpuState.EXCLUDED:
                continue
            if annotated.covers(gpu):
                reasons[gpu.uuid] = "out of service, by the node's annotation migsched.io/out-of-service"
            elif self.by_setting.covers(gpu):
                reasons[gpu.uuid] = "out of service, by the agent's setting out_of_service_gpus"
            elif self.excluded.covers(gpu):
                reasons[gpu.uuid] = "out of service until its slices are given back, then left alone, by exclude_gpus"
        return reasons

    def problem(self, gpus: Collection[GpuInfo]) -> str:
        """What of the annotation says nothing, in words; empty if all does."""
        annotated, invalid = self._read
        unknown = [*invalid, *annotated.absent(gpus)]
        problems = []
        if unknown:
            named = ", ".join(repr(name[:_MAX_NAME]) for name in unknown[:_MAX_NAMED])
            more = f" and {len(unknown) - _MAX_NAMED} more" if len(unknown) > _MAX_NAMED else ""
            problems.append(f"names no GPU of this node with {named}{more}; write indices or UUIDs by commas, or all")
        if len(self.annotation) > MAX_TEXT:
            problems.append(f"is read up to {MAX_TEXT:,} characters")
        return f"annotation migsched.io/out-of-service {', and '.join(problems)}" if problems else ""

    @cached_property
    def _read(self) -> tuple[GpuSelection, list[str]]:
        return selection.read(self.annotation[:MAX_TEXT])
