"""GpuSelection: some of a node's GPUs, as a setting or an annotation selects them. Pure; state keeps it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from node_agent.gpu.device import GpuInfo

ALL = "all"
_GPU = re.compile(r"\d{1,3}|GPU-[0-9A-Fa-f-]{36}")
_MODEL = re.compile(r"(?!GPU-)[A-Za-z][\w .+()/-]{1,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GpuSelection:
    """All GPUs, or some by index, UUID or model. By default none. A model is written in small letters here."""

    everything: bool = False
    names: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.everything or bool(self.names)

    def covers(self, gpu: GpuInfo) -> bool:
        """Whether a GPU is chosen."""
        return self.everything or not self.names.isdisjoint(_names(gpu))

    def absent(self, gpus: Iterable[GpuInfo]) -> list[str]:
        """The names that none of these GPUs has."""
        return sorted(self.names.difference(*map(_names, gpus)))


NONE = GpuSelection()


def parse(text: str, *, models: bool = False) -> GpuSelection:
    """A selection from `all`, or indices and UUIDs, and with `models` product and model names, separated by commas.

    Raises ValueError naming what is not valid.
    """
    selection, invalid = read(text, models=models)
    if invalid:
        kinds = "indices, UUIDs (GPU-…) or models" if models else "indices or UUIDs (GPU-…)"
        raise ValueError(f"{invalid[0]!r} is not a GPU: write {ALL}, or {kinds} separated by commas")
    return selection


def read(text: str, *, models: bool = False) -> tuple[GpuSelection, list[str]]:
    """What can be read of such a text, and what is not valid in it."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == [ALL]:
        return GpuSelection(everything=True), []
    valid = {name for name in names if _GPU.fullmatch(name)}
    if models:
        valid |= {name for name in names if name != ALL and _MODEL.fullmatch(name)}
    chosen = frozenset(name if _GPU.fullmatch(name) else name.lower() for name in valid)
    return GpuSelection(names=chosen), [name for name in names if name not in valid]


def _names(gpu: GpuInfo) -> set[str]:
    """All that a GPU is called: a model is NVIDIA's product name, or ours, such as a100-40gb."""
    models = {gpu.product.lower()} if gpu.catalogue is None else {gpu.product.lower(), gpu.catalogue.model.lower()}
    return {gpu.uuid, str(gpu.index), *models}
