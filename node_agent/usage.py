"""SliceUsage: what pods' slices cost and whether anything runs on them, as metrics and in the report. Kept by loop.

Memory is counted by namespace, in MiB × seconds, from step to step. Whether a process is on a slice is asked of the
driver, but once a minute: a call for each slice. Namespaces are anybody's text, so only so many have series.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from allocator.claims.report import GpuReport, NodeReport, Slice, SliceState
from allocator.mig.profile import GpuPlacement
from node_agent.metrics import Metrics

LOOK_S = 60.0
MAX_NAMESPACES = 64
OTHER = "_other"  # no namespace can have these names
UNOWNED = "_unowned"  # a slice that could not be destroyed, or whose pod is not known


class SliceUsage:
    """The usage of one node's slices. `pids` are the processes on a slice, None where the driver cannot tell; `time` is
    what people's clocks show.
    """

    def __init__(
        self,
        pids: Callable[[GpuPlacement], tuple[int, ...] | None],
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        look_s: float = LOOK_S,
        most: int = MAX_NAMESPACES,
        time: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pids = pids
        self._metrics = metrics
        self._clock = clock
        self._look_s = look_s
        self._most = most
        self._time = time
        self._accounted_at: float | None = None
        self._mib: dict[str, int] = {}  # by namespace, since then
        self._shown: dict[str, None] = {}  # namespaces that have a series; first the one that has had no slice longest
        self._looked_at: float | None = None
        self._used_at: dict[tuple[GpuPlacement, str], float] = {}  # by slice and pod: when a process was seen last
        self._unused_since: dict[tuple[GpuPlacement, str], str] = {}  # by slice and pod: RFC 3339

    def account(self, report: NodeReport) -> None:
        """Count the time since the last call for the slices of that time; these are the slices from now on."""
        now = self._clock()
        if self._accounted_at is not None:
            for namespace, mib in self._mib.items():
                self._metrics.allocated.labels(self._label(namespace)).inc(mib * (now - self._accounted_at))
        self._accounted_at, self._mib = now, {}
        for gpu, slice_ in _allocated(report):
            namespace = slice_.owner.namespace if slice_.owner else UNOWNED
            self._mib[namespace] = self._mib.get(namespace, 0) + (_mib(gpu, slice_) or 0)

    @property
    def is_due(self) -> bool:
        """Whether it is time to look for processes again."""
        return self._looked_at is None or self._clock() - self._looked_at >= self._look_s

    def look(self, report: NodeReport) -> None:
        """Ask for the processes of each pod's slice. It blocks on the driver: call it from a thread."""
        now = self._looked_at = self._clock()
        used_at: dict[tuple[GpuPlacement, str], float] = {}
        unused_since: dict[tuple[GpuPlacement, str], str] = {}
        unused_s: dict[tuple[str, str], float] = {}
        for gpu, slice_ in _allocated(report):
            if slice_.gpu_instance_id is None:
                continue
            key = _key(gpu, slice_)
            pids = self._pids(key[0])
            used_at[key] = now if pids else self._used_at.get(key, now)
            if pids is not None and not pids:
                unused_since[key] = self._unused_since.get(key) or self._time().isoformat(timespec="seconds")
            if pids is not None:
                unused_s[gpu.uuid, str(slice_.gpu_instance_id)] = now - used_at[key]
        self._used_at, self._unused_since = used_at, unused_since
        self._metrics.slice_unused.clear()
        for labels, seconds in unused_s.items():
            self._metrics.slice_unused.labels(*labels).set(seconds)

    def told(self, report: NodeReport) -> NodeReport:
        """The report with what was seen at the last look. The same one where nothing is unused."""
        if not self._unused_since:
            return report
        gpus = tuple(
            replace(gpu, slices=tuple(self._told(gpu, slice_) for slice_ in gpu.slices)) for gpu in report.gpus
        )
        return replace(report, gpus=gpus)

    def _told(self, gpu: GpuReport, slice_: Slice) -> Slice:
        since = self._unused_since.get(_key(gpu, slice_)) if slice_.state is SliceState.ALLOCATED else None
        return slice_ if since is None else replace(slice_, unused_since=since)

    def _label(self, namespace: str) -> str:
        """The label under which a namespace is counted: its own, if it has one or can get one."""
        if namespace not in self._shown and len(self._shown) >= self._most:
            unused = next((name for name in self._shown if name not in self._mib), None)
            if unused is None:
                return OTHER
            del self._shown[unused]
            self._metrics.allocated.remove(unused)
        self._shown.pop(namespace, None)
        self._shown[namespace] = None
        return namespace


def _allocated(report: NodeReport) -> Iterator[tuple[GpuReport, Slice]]:
    for gpu in report.gpus:
        for slice_ in gpu.slices:
            if slice_.state is SliceState.ALLOCATED:
                yield gpu, slice_


def _key(gpu: GpuReport, slice_: Slice) -> tuple[GpuPlacement, str]:
    """A slice and the pod that has it."""
    return GpuPlacement(gpu.uuid, slice_.placement), slice_.owner.uid if slice_.owner else ""


def _mib(gpu: GpuReport, slice_: Slice) -> int | None:
    """A slice's memory; its share of the GPU's where the profile's is not published, None where neither is."""
    if gpu.catalogue is None:
        return None
    profile = gpu.catalogue.by_name.get(slice_.placement.profile)
    if profile is not None and profile.memory_mib is not None:
        return profile.memory_mib
    if gpu.catalogue.total_memory_mib is None:
        return None
    return gpu.catalogue.total_memory_mib * slice_.placement.size // gpu.catalogue.memory_slices
