"""The agent's Prometheus metrics: names, labels and meaning in one table. Owned by `service`, filled by its parts.

`migsched_slice_info` joins a slice with its pod: dcgm-exporter knows slices by (UUID, GPU_I_ID) and cannot map the
agent's device ids to pods itself.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from allocator.claims.report import GpuReport, MigMode, NodeReport, SliceState
from config import build_info

_NOTHING, _ILL = 0, 4
_STATES = {SliceState.IDLE: 1, SliceState.ALLOCATED: 2, SliceState.FOREIGN: 3}
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """All collectors of one agent, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.build = build_info.register(self.registry)
        self._shown: NodeReport | None = None
        self.slices = Gauge(
            "migsched_agent_slices", "Slices by state and profile.", ["state", "profile"], registry=self.registry
        )
        self.slice_info = Gauge(
            "migsched_slice_info",
            "1 for each slice; join on (gpu_uuid, gi) with dcgm-exporter's (UUID, GPU_I_ID).",
            ["gpu_uuid", "gi", "ci", "mig_uuid", "profile", "start", "state", "namespace", "pod", "container"],
            registry=self.registry,
        )
        self.memory_slices = Gauge(
            "migsched_agent_memory_slice_state",
            "What is on each memory slice of a GPU: 0 nothing, 1 an idle slice, 2 a pod's, 3 a foreign one, "
            "4 an ill one, or the GPU takes no work.",
            ["gpu_uuid", "gpu", "memory_slice"],
            registry=self.registry,
        )
        self.slice_unused = Gauge(
            "migsched_slice_unused_seconds",
            "How long no process was seen on a pod's slice, looked at once a minute; absent where the driver cannot "
            "tell. Some clients hold a slice without a process. Join as migsched_slice_info.",
            ["gpu_uuid", "gi"],
            registry=self.registry,
        )
        self.allocated = Counter(
            "migsched_agent_allocated_mib_seconds_total",
            "MiB of GPU memory of pods' slices, as the driver reports the profile's, times seconds.",
            ["namespace"],
            registry=self.registry,
        )
        self.time_to_slice_seconds = Histogram(
            "migsched_agent_time_to_slice_seconds",
            "From a bound pod's first sight to its slice in its container's hands (Event SliceReady).",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.ready = Gauge(
            "migsched_agent_ready", "1 while the MigNode's condition Ready is true; else 0.", registry=self.registry
        )
        self.cut_seconds = Histogram(
            "migsched_agent_cut_seconds", "Time to cut a slice.", buckets=_SECONDS, registry=self.registry
        )
        self.destroy_seconds = Histogram(
            "migsched_agent_destroy_seconds", "Time to destroy a slice.", buckets=_SECONDS, registry=self.registry
        )
        self.allocate_seconds = Histogram(
            "migsched_agent_allocate_seconds",
            "Time from the kubelet's Allocate to our answer.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.driver_seconds = Histogram(
            "migsched_agent_driver_call_seconds",
            "Time of a call of the device port.",
            ["call"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.driver_errors = Counter(
            "migsched_agent_driver_errors_total",
            "Calls of the device port that failed, by call and error.",
            ["call", "error"],
            registry=self.registry,
        )
        self.unreadable_pods = Gauge(
            "migsched_agent_unreadable_pods",
            "Pods of the node that are left out because they cannot be read.",
            registry=self.registry,
        )
        self.leaks = Gauge(
            "migsched_agent_leaked_slices",
            "Slices whose pod is over but on which a process still runs.",
            registry=self.registry,
        )
        self.failures = Counter(
            "migsched_agent_failures_total", "Steps that failed, by action.", ["action"], registry=self.registry
        )
        self.xids = Counter(
            "migsched_agent_xids_total",
            "XID errors that the driver reported, by number (other: not in the catalogue) and class.",
            ["xid", "class"],
            registry=self.registry,
        )
        self.memory_faults = Counter(
            "migsched_agent_memory_faults_total",
            "Uncorrectable memory errors that the driver reported beside XIDs.",
            ["kind", "class"],
            registry=self.registry,
        )
        self.ill = Gauge(
            "migsched_agent_ill", "What is ill now: whole GPUs and slices.", ["subject"], registry=self.registry
        )
        self.steps = Counter("migsched_agent_steps_total", "Observe-plan-actuate steps.", registry=self.registry)
        self.registered = Gauge(
            "migsched_agent_registered_resources", "Resources the kubelet knows from us.", registry=self.registry
        )

    def count_fault(self, code: str, fault_class: str, *, memory: bool) -> None:
        """Count a fault: an XID, or an error of memory."""
        (self.memory_faults if memory else self.xids).labels(code, fault_class).inc()

    def show(self, report: NodeReport) -> None:
        """Bring the gauges that describe slices up to date."""
        if report == self._shown:
            return
        self._shown = report
        self.slices.clear()
        self.slice_info.clear()
        self.memory_slices.clear()
        self.ill.labels("gpu").set(sum(gpu.illness is not None for gpu in report.gpus))
        self.ill.labels("slice").set(sum(slice_.illness is not None for gpu in report.gpus for slice_ in gpu.slices))
        for gpu in report.gpus:
            for memory_slice, state in enumerate(_memory_slices(gpu)):
                self.memory_slices.labels(gpu.uuid, str(gpu.index), str(memory_slice)).set(state)
            for slice_ in gpu.slices:
                owner = slice_.owner
                self.slices.labels(slice_.state.value, slice_.placement.profile).inc()
                self.slice_info.labels(
                    gpu.uuid,
                    "" if slice_.gpu_instance_id is None else str(slice_.gpu_instance_id),
                    "" if slice_.compute_instance_id is None else str(slice_.compute_instance_id),
                    slice_.mig_uuid,
                    slice_.placement.profile,
                    str(slice_.placement.start),
                    slice_.state.value,
                    owner.namespace if owner else "",
                    owner.pod if owner else "",
                    owner.container if owner else "",
                ).set(1)


def _memory_slices(gpu: GpuReport) -> list[int]:
    """What is on each memory slice of a GPU, as the gauge has it; none of a GPU that cannot be cut."""
    if gpu.catalogue is None or gpu.mig_mode is not MigMode.ENABLED:
        return []
    states = [_NOTHING if gpu.healthy else _ILL] * gpu.catalogue.memory_slices
    for slice_ in gpu.slices:
        ill = slice_.illness is not None or not gpu.healthy
        start, end = slice_.placement.start, slice_.placement.start + slice_.placement.size
        for place in range(start, min(end, len(states))):
            states[place] = _ILL if ill else _STATES[slice_.state]
    return states
