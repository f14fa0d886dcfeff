"""Device ids: the stable names of placements that the kubelet counts, checkpoints and hands back.

`<gpu uuid without GPU->-<profile>-<start>`, the profile spelt as in a resource name. Never a MIG UUID: after a reboot
the kubelet asks for the same ids again, and the slices behind them are new. The same names serve as CDI device
names, which allow letters, digits and `_-.:`. Used wherever a place is named to the kubelet.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import RESOURCE_PREFIX, GpuPlacement, resource_name

MAX_ID = 63  # characters; the kubelet's limit
_HEX = 16


@lru_cache(maxsize=4096)  # sixteen GPUs offer some four hundred places; each step names them all
def device_id(place: GpuPlacement) -> str:
    """The id of a placement."""
    profile = resource_name(place.placement.profile).removeprefix(RESOURCE_PREFIX)
    name = f"{place.gpu.removeprefix('GPU-')}-{profile}-{place.placement.start}"
    if len(name) <= MAX_ID:
        return name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:_HEX]}-{place.placement.start}"


def resource(place: GpuPlacement) -> str:
    """The extended resource that a placement is offered under."""
    return resource_name(place.placement.profile)


def offered(catalogues: Mapping[str, Catalogue]) -> dict[str, GpuPlacement]:
    """Every placement of GPUs (by UUID) with these catalogues, by device id."""
    places = (
        GpuPlacement(gpu, placement) for gpu, catalogue in catalogues.items() for placement in catalogue.placements()
    )
    return {device_id(place): place for place in places}


def set_name(ids: Iterable[str]) -> str:
    """One name for a set of ids that a container gets together: of a single one its own."""
    names = sorted(set(ids))
    if len(names) == 1:
        return names[0]
    return f"set-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:_HEX]}"
