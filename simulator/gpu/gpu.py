"""SimulatedGpu: one GPU with the instances cut into it. Simulated node agents and the simulated driver hold these.

Legality comes from the compiled automaton of the catalogue (overlap, profile limits, engine totals); what is
simulated here is what the driver adds: the order of its checks, ids, UUIDs, MIG mode, refusals and who uses what.
Every refusal is an error of `node_agent.gpu.device` with NVML's code.
"""

import dataclasses
import uuid as uuids
from collections.abc import Callable

from allocator import errors
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement, Profile
from node_agent.gpu import device
from simulator.gpu import board as boards
from simulator.gpu import compute, spans
from simulator.gpu.mode import ModeMachine
from simulator.gpu.spans import Orientation
from simulator.gpu.users import DeviceUser, Users

TESLA = 2  # NVML_BRAND_TESLA


class SimulatedGpu:
    """A GPU, in MIG mode unless `mode` says otherwise. `minor` is the N of /dev/nvidiaN and need not equal `index`.

    `branch` is the driver branch, on which the set of profiles depends. `uuids_change` makes a re-created instance
    get a new MIG UUID, as some drivers are said to do. `numa_node` is the host's next to it. `on_change` is called
    after each change of an instance. Not thread-safe. Raises CatalogueError for a catalogue whose placements cannot be
    numbered.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        uuid: str,
        index: int = 0,
        minor: int | None = None,
        *,
        orientation: Orientation = Orientation.NORMAL,
        mode: ModeMachine | None = None,
        branch: int = 610,
        uuids_change: bool = False,
        numa_node: int | None = None,
    ) -> None:
        self.board = boards.board(catalogue, branch)
        self.product = self.board.product
        self.brand = TESLA
        self.compute_mode = 0
        self.numa_node = numa_node
        self.catalogue = self.board.catalogue
        self.geometry = geometry.compiled(self.catalogue)
        self.uuid = uuid
        self.index = index
        self.minor = index if minor is None else minor
        self.orientation = orientation
        self.mode = mode or ModeMachine(enabled=True, needs_reset=self.board.toggle_needs_reset)
        self.uuids_change = uuids_change
        self.users = Users()
        self.lost = False
        self.on_change: Callable[[], None] = lambda: None
        for placement in self.catalogue.placements():
            self._gi_id(placement)
        sm_per_slice = min((p.sm or 0) // p.compute_slices for p in self.catalogue.profiles)
        self.compute_profiles = {p.name: compute.profiles(p, sm_per_slice) for p in self.catalogue.profiles}
        self._instances: dict[int, device.GpuInstance] = {}
        self._serials: dict[tuple[int, int | None], int] = {}
        self._made = 0
        self._energy_mj = 0

    # --- what there is

    def instances(self) -> tuple[device.GpuInstance, ...]:
        """Every GPU instance, by id."""
        return tuple(self._instances[gi] for gi in sorted(self._instances))

    def instance(self, gi_id: int) -> device.GpuInstance:
        """The instance with this id. Raises StaleHandleError if there is none."""
        try:
            return self._instances[gi_id]
        except KeyError:
            raise device.StaleHandleError(f"GPU {self.uuid}: no GPU instance {gi_id}") from None

    def compute_instance(self, gi_id: int, ci_id: int) -> device.ComputeInstance:
        """The compute instance with these ids. Raises StaleHandleError if there is none."""
        for compute_instance in self.instance(gi_id).compute_instances:
            if compute_instance.ci_id == ci_id:
                return compute_instance
        raise device.StaleHandleError(f"GPU {self.uuid}: no compute instance {ci_id} in GPU instance {gi_id}")

    def placements(self) -> tuple[Placement, ...]:
        """The placements of all instances, by id."""
        return tuple(instance.placement for instance in self.instances())

    @property
    def state(self) -> int:
        """The automaton's state that the present instances make."""
        return self.geometry.state_of(self.placements())

    def remaining(self, profile: str) -> int:
        """How many more instances of a profile fit at once, were no other created."""
        return int(self.geometry.room[self.state, self.geometry.profile_index[profile]])

    def serial(self, gi_id: int, ci_id: int | None = None) -> int | None:
        """Which creation made the instance with these ids, None if there is none: what a handle stands for."""
        return self._serials.get((gi_id, ci_id))

    def memory_mib(self, gi_id: int) -> int:
        """Memory of an instance. One that does not begin at slot 0 has 128 MiB less than its profile says."""
        instance = self.instance(gi_id)
        nominal = self.catalogue.profile(instance.profile).memory_mib or 0
        return nominal - (128 if instance.start else 0)

    def energy_mj(self) -> int:
        """Energy used since the last reset, in mJ: a little more each time."""
        self._energy_mj += 1
        return self._energy_mj

    def work(self) -> None:
        """An application does something, which takes energy."""
        self._energy_mj += 1_000_000

    def forget_energy(self) -> None:
        """The counter begins anew without a reset: the driver unloaded the GPU's state while nothing used it."""
        self._energy_mj = 0

    # --- cutting

    def create(self, profile: str, start: int) -> device.GpuInstance:
        """Cut a slice: a GPU instance with one full-size compute instance.

        Raises NotSupportedError with MIG off, InvalidArgumentError for what the catalogue does not list, NoRoomError
        for what does not fit now, DeviceBusyError for the first instance of a GPU that is in use as a whole.
        """
        listed = self.catalogue.by_name.get(profile)
        if listed is None:
            raise device.InvalidArgumentError(f"GPU {self.uuid}: no profile {profile}")
        made = self.create_gpu_instance(listed.profile_id, start)
        self.create_compute_instance(made.gi_id, compute.full(self.compute_profiles[profile]).profile_id)
        return self.instance(made.gi_id)

    def create_gpu_instance(self, profile_id: int, start: int | None = None) -> device.GpuInstance:
        """Make a GPU instance, empty of compute instances; without `start` the driver chooses the place.

        Raises as `create` does.
        """
        self._need_mode_on()
        profile = self.board.by_profile_id(profile_id)
        if profile is None or (start is not None and start not in profile.starts):
            raise device.InvalidArgumentError(f"GPU {self.uuid}: no placement of profile {profile_id} at {start}")
        placement = self._choose(profile) if start is None else self.catalogue.placement(profile.name, start)
        if placement is None or not self._fits(placement):
            raise device.NoRoomError(f"GPU {self.uuid}: no room for {placement or profile.name}")
        if not self._instances and self.users.of_gpu():
            raise device.DeviceBusyError(f"GPU {self.uuid}: in use by {', '.join(self.users.of_gpu())}")
        gi_id = self._gi_id(placement)
        self._instances[gi_id] = device.GpuInstance(
            gi_id, profile.name, profile.profile_id, placement.start, placement.size, profile.compute_slices
        )
        self._remember(gi_id, None)
        return self._instances[gi_id]

    def create_compute_instance(self, gi_id: int, profile_id: int, start: int | None = None) -> device.ComputeInstance:
        """Make a compute instance in a GPU instance; without `start` the driver chooses the span.

        Raises StaleHandleError, InvalidArgumentError, NoRoomError.
        """
        self._need_mode_on()
        parent = self.instance(gi_id)
        splits = self.compute_profiles[parent.profile]
        compute_profile = next((c for c in splits if c.profile_id == profile_id), None)
        if compute_profile is None or (start is not None and start not in compute_profile.starts):
            raise device.InvalidArgumentError(f"GPU {self.uuid}: no compute instance profile {profile_id} at {start}")
        taken = tuple((c.start, c.size) for c in parent.compute_instances)
        if start is None:
            start = compute.choose_start(compute_profile, splits, taken)
        if start is None or start not in compute.free_starts(compute_profile, taken):
            raise device.NoRoomError(f"GPU {self.uuid}: no room for compute profile {profile_id} in instance {gi_id}")
        used = {c.ci_id for c in parent.compute_instances}
        ci_id = next(i for i in range(compute.MAX_COMPUTE_INSTANCES) if i not in used)
        salt = str(self._made) if self.uuids_change else ""
        made = device.ComputeInstance(
            ci_id, compute_profile.profile_id, start, compute_profile.size, mig_uuid(self.uuid, gi_id, ci_id, salt)
        )
        both = sorted((*parent.compute_instances, made), key=lambda c: c.ci_id)
        self._instances[gi_id] = dataclasses.replace(parent, compute_instances=tuple(both))
        self._remember(gi_id, ci_id)
        return made

    def destroy(self, gi_id: int) -> None:
        """Destroy a GPU instance with its compute instances.

        Raises StaleHandleError if there is none, DeviceBusyError while a process or a holder uses it.
        """
        for compute_instance in self.instance(gi_id).compute_instances:
            self.destroy_compute_instance(gi_id, compute_instance.ci_id)
        self.destroy_gpu_instance(gi_id)

    def destroy_gpu_instance(self, gi_id: int) -> None:
        """Destroy an empty GPU instance. Raises DeviceBusyError while it has compute instances or a holder."""
        self._need_mode_on()
        instance = self.instance(gi_id)
        users = (
            *(f"compute instance {c.ci_id}" for c in instance.compute_instances),
            *self.users.of_gpu_instance(gi_id),
        )
        self._refuse_if_used(gi_id, users)
        del self._instances[gi_id]
        self._forget(gi_id, None)

    def destroy_compute_instance(self, gi_id: int, ci_id: int) -> None:
        """Destroy a compute instance. Raises DeviceBusyError while a process or a holder uses it."""
        self._need_mode_on()
        parent, gone = self.instance(gi_id), self.compute_instance(gi_id, ci_id)
        self._refuse_if_used(gi_id, self.users.of_compute_instance(gi_id, ci_id))
        rest = tuple(c for c in parent.compute_instances if c is not gone)
        self._instances[gi_id] = dataclasses.replace(parent, compute_instances=rest)
        self._forget(gi_id, ci_id)

    # --- who uses it

    def start_process(self, gi_id: int | None, pid: int, ci_id: int = 0, memory_mib: int = 512) -> None:
        """A process begins to use a compute instance, or without `gi_id` the whole GPU.

        Raises StaleHandleError if there is no such instance.
        """
        if gi_id is not None:
            self.compute_instance(gi_id, ci_id)
        self.users.processes[pid] = device.GpuProcess(pid, memory_mib, gi_id, None if gi_id is None else ci_id)

    def end_process(self, pid: int) -> None:
        """A process ends; one that never began is not an error."""
        self.users.processes.pop(pid, None)

    def processes(self, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """The processes in a GPU instance, by pid."""
        return tuple(p for _, p in sorted(self.users.processes.items()) if p.gi_id == gi_id)

    def hold(self, holder: DeviceUser) -> None:
        """A client without a visible process begins to hold the GPU or an instance."""
        self.users.holders.add(holder)

    def release(self, holder: DeviceUser) -> None:
        """A hidden holder lets go."""
        self.users.holders.discard(holder)

    # MIG mode

    def set_mode(self, enabled: bool) -> int:
        """Ask for MIG mode: NVML's activation status. A mode that comes into force destroys all instances."""
        before = self.mode.current
        status = self.mode.request(enabled, busy=self.users.anyone())
        if self.mode.current != before:
            self._wipe()
        return status

    def reset(self) -> None:
        """A GPU reset or a reboot: instances and processes are gone, a pending mode comes into force or is lost."""
        self.users.clear()
        self._energy_mj = 0
        self.mode.reset()
        self._wipe()

    # --- inside

    def _need_mode_on(self) -> None:
        if not self.mode.current:
            raise device.NotSupportedError(f"GPU {self.uuid}: MIG mode is off")

    def _fits(self, placement: Placement) -> bool:
        return bool(self.geometry.step[self.state, self.geometry.placement_index[placement]] >= 0)

    def _choose(self, profile: Profile) -> Placement | None:
        """Where the driver puts an instance that asks for no place: where the most other placements stay possible.

        Ties go to the lowest GPU instance id. This rule reproduces every published transcript of creations that we
        found; the choice itself is made in closed firmware.
        """
        state, step = self.state, self.geometry.step
        candidates = [i for i in self.geometry.placements_of(profile.name) if step[state, i] >= 0]

        def merit(index: int) -> tuple[int, int]:
            after = int(step[state, index])
            return int((step[after] >= 0).sum()), -self._gi_id(self.geometry.placements[index])

        return self.geometry.placements[max(candidates, key=merit)] if candidates else None

    def _refuse_if_used(self, gi_id: int, users: tuple[str, ...]) -> None:
        if users:
            raise device.DeviceBusyError(f"GPU {self.uuid}: instance {gi_id} is in use by {', '.join(users)}")

    def _remember(self, gi_id: int, ci_id: int | None) -> None:
        self._made += 1
        self._serials[gi_id, ci_id] = self._made
        self.on_change()

    def _forget(self, gi_id: int, ci_id: int | None) -> None:
        del self._serials[gi_id, ci_id]
        self.on_change()

    def _wipe(self) -> None:
        self._instances.clear()
        self._serials.clear()
        self.on_change()

    def _gi_id(self, placement: Placement) -> int:
        try:
            return spans.gi_id(placement.start, placement.size, self.catalogue.memory_slices, self.orientation)
        except ValueError as exc:
            raise errors.CatalogueError(
                f"catalogue of {self.catalogue.model}: placement", str(placement), str(exc)
            ) from exc


def mig_uuid(gpu_uuid: str, gi_id: int, ci_id: int, salt: str = "") -> str:
    """A MIG UUID as the driver makes it: version 5, of GPU and place. The same place has the same one again."""
    return f"MIG-{uuids.uuid5(uuids.NAMESPACE_OID, f'{gpu_uuid}/{gi_id}/{ci_id}{salt}')}"
