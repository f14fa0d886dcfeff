"""What was observed of a node's GPUs when they were read, and the questions asked of it. Made by state; part of an
Observation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from allocator import errors
from allocator.mig import geometry as geometries
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import GpuPlacement, Placement
from node_agent.gpu import device
from node_agent.gpu.device import GpuInfo, GpuInstance, GpuState
from node_agent.slices.states import Record

WHOLE = frozenset({GpuState.MIG_OFF, GpuState.NOT_CAPABLE})


@dataclass(frozen=True)
class ObservedGpu:
    """One GPU. `readable`: its instances are known now; otherwise they are as last seen, and nothing is changed."""

    info: GpuInfo
    instances: tuple[GpuInstance, ...] = ()
    readable: bool = True
    trouble: str = ""

    @property
    def uuid(self) -> str:
        """The GPU's UUID."""
        return self.info.uuid

    @property
    def catalogue(self) -> Catalogue | None:
        """What it can be cut into."""
        return self.info.catalogue

    @property
    def unread(self) -> bool:
        """It could not be read, though it should have been: it is tried again with each step."""
        return not self.readable and self.info.state is not GpuState.EXCLUDED

    @property
    def cuttable(self) -> bool:
        """Slices can be cut on it now."""
        return self.readable and self.info.state is GpuState.READY and self.catalogue is not None

    @cached_property
    def by_placement(self) -> Mapping[Placement, GpuInstance]:
        """Its instances by where they lie."""
        return {instance.placement: instance for instance in self.instances}

    def why_not(self) -> str | None:
        """Why slices cannot be cut on it, in words; None if they can."""
        if self.cuttable:
            return None
        return self.trouble or self.info.detail or f"GPU {self.uuid} is {self.info.state.value}"


@dataclass(frozen=True)
class ObservedNode:
    """All GPUs of the node by UUID."""

    gpus: Mapping[str, ObservedGpu] = field(default_factory=dict)
    trouble: str = ""

    def instance(self, place: GpuPlacement) -> GpuInstance | None:
        """The instance that lies exactly there."""
        gpu = self.gpus.get(place.gpu)
        return None if gpu is None else gpu.by_placement.get(place.placement)


def is_it(record: Record, instance: GpuInstance | None) -> bool:
    """Whether an instance at a record's place is the recorded one. A record without ids names no instance."""
    return instance is not None and record.gi_id is not None and record.gi_id == instance.gi_id


def legal(geometry: Geometry, present: Iterable[Placement], added: Placement | None = None) -> bool:
    """Whether these slices, and one more, can exist together. What the catalogue does not list blocks its slots."""
    listed, unlisted = [], 0
    for placement in present:
        if placement in geometry.placement_index:
            listed.append(placement)
        else:
            unlisted |= placement.mask
    together = listed if added is None else [*listed, added]
    if any(placement.mask & unlisted for placement in together):
        return False
    try:
        geometry.state_of(together)
    except errors.GeometryError:
        return False
    return True


@lru_cache(maxsize=256)  # asked for every second, and changes with a cut
def addable(geometry: Geometry, present: frozenset[Placement]) -> frozenset[Placement]:
    """The placements of which each could be had beside these slices."""
    return frozenset(one for one in geometry.placement_index if legal(geometry, present, one))


def compiled(gpu: ObservedGpu) -> Geometry | None:
    """The geometry of a GPU; None where it has no usable catalogue."""
    if gpu.catalogue is None:
        return None
    try:
        return geometries.compiled(gpu.catalogue)
    except errors.CatalogueError:
        return None


def read_gpus(
    devices: device.MigDevices, infos: Iterable[GpuInfo], last: Mapping[str, ObservedGpu]
) -> dict[str, ObservedGpu]:
    """A view of each GPU; where one cannot be read, as it was last seen."""
    return {info.uuid: _read_gpu(devices, info, last.get(info.uuid)) for info in infos}


_LISTABLE = frozenset({GpuState.READY, GpuState.MODE_PENDING, GpuState.OLD_DRIVER})
_EMPTY = frozenset({GpuState.MIG_OFF, GpuState.NOT_CAPABLE, GpuState.NOT_COMPUTE, GpuState.VGPU})


def _read_gpu(devices: device.MigDevices, info: GpuInfo, last: ObservedGpu | None) -> ObservedGpu:
    trouble = info.detail
    if info.state is GpuState.EXCLUDED:
        return ObservedGpu(info, readable=False, trouble=trouble)
    if info.state in _EMPTY:
        return ObservedGpu(info)
    if info.state in _LISTABLE:
        try:
            return ObservedGpu(info, devices.instances(info.uuid))
        except device.NotSupportedError as error:
            if info.state is GpuState.MODE_PENDING:
                return ObservedGpu(info, trouble=str(error))
            trouble = str(error)
        except device.DeviceError as error:
            trouble = str(error)
    return _as_last_seen(info, last, trouble or f"GPU {info.uuid} is {info.state.value}")


def _as_last_seen(info: GpuInfo, last: ObservedGpu | None, trouble: str) -> ObservedGpu:
    if last is None:
        return ObservedGpu(info, (), readable=False, trouble=trouble)
    kept = info if info.catalogue is not None else replace(info, catalogue=last.catalogue)
    return ObservedGpu(kept, last.instances, readable=False, trouble=trouble)
