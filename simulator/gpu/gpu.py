"""SimulatedGpu: one GPU with the instances cut into it. The simulated node agents hold these.

Legality comes from the compiled automaton of the catalogue (overlap, profile limits, engine totals); what is
simulated here is what the driver adds: ids, UUIDs, refusals and who is in use.
"""

import uuid as uuids

from allocator import errors, geometry
from allocator.catalogue import Catalogue
from allocator.profile import Placement, Profile
from node_agent import device
from simulator.gpu import spans
from simulator.gpu.spans import Orientation


class SimulatedGpu:
    """A GPU in MIG mode. `minor` is the N of /dev/nvidiaN and need not equal `index`.

    Not thread-safe. Raises CatalogueError for a catalogue whose placements cannot be numbered.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        uuid: str,
        index: int = 0,
        minor: int | None = None,
        orientation: Orientation = Orientation.NORMAL,
    ) -> None:
        self.catalogue = catalogue
        self.geometry = geometry.compiled(catalogue)
        self.uuid = uuid
        self.index = index
        self.minor = index if minor is None else minor
        self.orientation = orientation
        for one in catalogue.placements():
            self._gi_id(one)
        self._instances: dict[int, device.GpuInstance] = {}
        self._processes: dict[int, set[int]] = {}

    def instances(self) -> tuple[device.GpuInstance, ...]:
        """Every GPU instance, by id."""
        return tuple(self._instances[gi] for gi in sorted(self._instances))

    def placements(self) -> tuple[Placement, ...]:
        """The placements of all instances, by id."""
        return tuple(one.placement for one in self.instances())

    @property
    def state(self) -> int:
        """The automaton's state that the present instances make."""
        return self.geometry.state_of(self.placements())

    def create(self, profile: str, start: int) -> device.GpuInstance:
        """Cut a slice: a GPU instance with one full-size compute instance.

        Raises InvalidArgumentError for what the catalogue does not list, NoRoomError for what does not fit now.
        """
        try:
            placement = self.catalogue.placement(profile, start)
        except errors.CatalogueError as exc:
            raise device.InvalidArgumentError(f"GPU {self.uuid}: {exc}") from exc
        if self.geometry.step[self.state, self.geometry.placement_index[placement]] < 0:
            raise device.NoRoomError(f"GPU {self.uuid}: {placement} does not fit beside the present instances")
        one = self.catalogue.profile(profile)
        gi_id = self._gi_id(placement)
        self._instances[gi_id] = device.GpuInstance(
            gi_id=gi_id,
            profile=profile,
            profile_id=one.profile_id,
            start=start,
            size=placement.size,
            compute_slices=one.compute_slices,
            compute_instances=(self._compute_instance(gi_id, one),),
        )
        return self._instances[gi_id]

    def destroy(self, gi_id: int) -> None:
        """Destroy an instance. Raises StaleHandleError if there is none, DeviceBusyError while a process uses it."""
        self.instance(gi_id)
        if self._processes.get(gi_id):
            raise device.DeviceBusyError(f"GPU {self.uuid}: instance {gi_id} is used by {self.processes(gi_id)}")
        del self._instances[gi_id]

    def instance(self, gi_id: int) -> device.GpuInstance:
        """The instance with this id. Raises StaleHandleError if there is none."""
        try:
            return self._instances[gi_id]
        except KeyError:
            raise device.StaleHandleError(f"GPU {self.uuid}: no GPU instance {gi_id}") from None

    def start_process(self, gi_id: int, pid: int) -> None:
        """A process begins to use an instance. Raises StaleHandleError if there is none."""
        self.instance(gi_id)
        self._processes.setdefault(gi_id, set()).add(pid)

    def end_process(self, gi_id: int, pid: int) -> None:
        """A process ends; one that never began is no error."""
        self._processes.get(gi_id, set()).discard(pid)

    def processes(self, gi_id: int) -> tuple[int, ...]:
        """The pids that use an instance, ascending."""
        return tuple(sorted(self._processes.get(gi_id, ())))

    def reset(self) -> None:
        """A reset or a reboot: all instances and processes are gone."""
        self._instances.clear()
        self._processes.clear()

    def _gi_id(self, placement: Placement) -> int:
        try:
            return spans.gi_id(placement.start, placement.size, self.catalogue.memory_slices, self.orientation)
        except ValueError as exc:
            raise errors.CatalogueError(
                f"catalogue of {self.catalogue.model}: placement", str(placement), str(exc)
            ) from exc

    def _compute_instance(self, gi_id: int, one: Profile) -> device.ComputeInstance:
        return device.ComputeInstance(
            ci_id=0,
            profile_id=FULL_CI_PROFILE[one.compute_slices],
            start=0,
            size=one.compute_slices,
            mig_uuid=mig_uuid(self.uuid, gi_id, 0),
        )


# NVML's compute instance profile of each size (NVML_COMPUTE_INSTANCE_PROFILE_*_SLICE).
FULL_CI_PROFILE = {1: 0, 2: 1, 3: 2, 4: 3, 6: 6, 7: 4, 8: 5}


def mig_uuid(gpu_uuid: str, gi_id: int, ci_id: int) -> str:
    """A MIG UUID as the driver makes it: version 5, of GPU and place. The same place has the same one again."""
    return f"MIG-{uuids.uuid5(uuids.NAMESPACE_OID, f'{gpu_uuid}/{gi_id}/{ci_id}')}"
