"""Users: who uses a simulated GPU and its instances, visibly as a process or invisibly as a holder. Used by gpu."""

from dataclasses import dataclass

from node_agent.gpu import device


@dataclass(frozen=True, slots=True)
class DeviceUser:
    """A client without a visible process, such as a monitoring daemon with an open subscription.

    Without `gi_id` it holds the whole GPU; with `gi_id` alone the GPU instance; with both a compute instance.
    """

    name: str
    gi_id: int | None = None
    ci_id: int | None = None


class Users:
    """The processes and hidden holders of one GPU."""

    def __init__(self) -> None:
        self.processes: dict[int, device.GpuProcess] = {}
        self.holders: set[DeviceUser] = set()

    def of_compute_instance(self, gi_id: int, ci_id: int) -> tuple[str, ...]:
        """Names of all that keep a compute instance from being destroyed."""
        return self._names(
            [p for p in self.processes.values() if (p.gi_id, p.ci_id) == (gi_id, ci_id)],
            [h for h in self.holders if (h.gi_id, h.ci_id) == (gi_id, ci_id)],
        )

    def of_gpu_instance(self, gi_id: int) -> tuple[str, ...]:
        """Names of all that hold the GPU instance itself."""
        return self._names([], [h for h in self.holders if h.gi_id == gi_id and h.ci_id is None])

    def of_gpu(self) -> tuple[str, ...]:
        """Names of all that use the GPU as a whole."""
        return self._names(
            [p for p in self.processes.values() if p.gi_id is None],
            [h for h in self.holders if h.gi_id is None],
        )

    def anyone(self) -> bool:
        """Whether anybody uses anything of the GPU."""
        return bool(self.processes or self.holders)

    def clear(self) -> None:
        """All are gone."""
        self.processes.clear()
        self.holders.clear()

    @staticmethod
    def _names(processes: list[device.GpuProcess], holders: list[DeviceUser]) -> tuple[str, ...]:
        return (*(f"process {p.pid}" for p in processes), *sorted(h.name for h in holders))
