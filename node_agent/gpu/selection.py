"""GpuSelection: the GPUs that the agent may put into MIG mode, as a setting selects them. Pure; state keeps it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from node_agent.gpu.device import GpuInfo

ALL = "all"


@dataclass(frozen=True, slots=True)
class GpuSelection:
    """The GPUs that may be switched: all, or some by index or UUID. By default none."""

    everything: bool = False
    names: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.everything or bool(self.names)

    def covers(self, gpu: GpuInfo) -> bool:
        """Whether a GPU is chosen."""
        return self.everything or gpu.uuid in self.names or str(gpu.index) in self.names

    def absent(self, gpus: Iterable[GpuInfo]) -> list[str]:
        """The names that none of these GPUs has."""
        return sorted(self.names - {name for gpu in gpus for name in (gpu.uuid, str(gpu.index))})


NONE = GpuSelection()


def parse(text: str) -> GpuSelection:
    """A selection from `all`, or indices and UUIDs separated by commas. Raises ValueError naming what is not valid."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == [ALL]:
        return GpuSelection(everything=True)
    for name in names:
        if not re.fullmatch(r"\d{1,3}|GPU-[0-9A-Fa-f-]{36}", name):
            raise ValueError(f"{name!r} is not a GPU: write {ALL}, or indices or UUIDs (GPU-…) separated by commas")
    return GpuSelection(names=frozenset(names))
