"""Mode: the GPUs that the agent may put into MIG mode, as somebody chose them. Pure; settings and memory hold it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from node_agent.gpu.device import GpuInfo

ALL = "all"


@dataclass(frozen=True, slots=True)
class Chosen:
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


NONE = Chosen()


def parse(text: str) -> Chosen:
    """A choice from `all`, or indices and UUIDs separated by commas. Raises ValueError naming what cannot be meant."""
    names = [one.strip() for one in text.split(",") if one.strip()]
    if names == [ALL]:
        return Chosen(everything=True)
    for one in names:
        if not re.fullmatch(r"\d{1,3}|GPU-[0-9A-Fa-f-]{36}", one):
            raise ValueError(f"{one!r} is no GPU: write {ALL}, or indices or UUIDs (GPU-…) separated by commas")
    return Chosen(names=frozenset(names))
