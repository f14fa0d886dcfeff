"""SimulatedDevices: a simulated driver as the node agent's port. Agents without hardware and their tests use it.

It never blocks: where a driver call would hang (a closed gate of `faults`), it answers DeadlineExceededError at once
and calls the GPU wedged until the gate is opened, and a create that hung has been rolled back then.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from allocator.mig.profile import Placement
from node_agent.gpu import boards, device
from simulator.gpu import compute, events
from simulator.gpu.capabilities import MAJOR, ci_minor, gi_minor
from simulator.gpu.driver import Privilege, SimulatedDriver, Virtualization
from simulator.gpu.faults import Call, Gate
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.pci import pci_bus_id

_MEMORY_FAULTS = {kind: fault for fault, kind in events.MEMORY_FAULTS.items()}
CREATE_SYMBOL = "nvmlDeviceCreateGpuInstanceWithPlacement"  # older drivers choose the place themselves


class SimulatedDevices:
    """MigDevices over a SimulatedDriver."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self._wedged: dict[str, Gate] = {}
        self._queue = driver.listen()
        for uuid in driver.gpus:
            self._queue.register(uuid, events.SUPPORTED)

    def discover(self) -> tuple[device.GpuInfo, ...]:
        """See MigDevices."""
        with self.driver.call(Call.INIT):
            pass
        return tuple(self._describe(gpu) for gpu in self.driver.by_index())

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.LIST, simulated, Privilege.MONITOR):
            return simulated.instances()

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.CAPACITY, simulated):
            self._need_queries(simulated)
            return {p.name: simulated.remaining(p.name) for p in simulated.catalogue.profiles}

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        profile = simulated.catalogue.by_name.get(placement.profile)
        if profile is None or placement.size != profile.memory_slices:
            raise device.InvalidArgumentError(f"GPU {gpu}: {placement} is not in its catalogue")
        with self._call(Call.CREATE_GPU_INSTANCE, simulated, Privilege.CONFIG):
            made = simulated.create_gpu_instance(profile.profile_id, placement.start)
        try:
            with self._call(Call.CREATE_COMPUTE_INSTANCE, simulated, Privilege.CONFIG):
                simulated.create_compute_instance(
                    made.gi_id, compute.full(simulated.compute_profiles[profile.name]).profile_id
                )
        except device.DeviceError:
            with suppress(device.DeviceError), self.driver.call(Call.DESTROY_GPU_INSTANCE, simulated):
                simulated.destroy(made.gi_id)
            raise
        return simulated.instance(made.gi_id)

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.LIST, simulated, Privilege.MONITOR):
            instance = {i.gi_id: i for i in simulated.instances()}.get(gi_id)
        if instance is None:
            return False
        if instance.placement != placement:
            raise device.StaleHandleError(f"GPU {gpu}: instance {gi_id} is {instance.placement}, not {placement}")
        for ci in instance.compute_instances:
            with self._call(Call.DESTROY_COMPUTE_INSTANCE, simulated, Privilege.CONFIG):
                simulated.destroy_compute_instance(gi_id, ci.ci_id)
        with self._call(Call.DESTROY_GPU_INSTANCE, simulated, Privilege.CONFIG):
            simulated.destroy_gpu_instance(gi_id)
        return True

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.PROCESSES, simulated, Privilege.MONITOR):
            simulated.instance(gi_id)
            return simulated.processes(gi_id)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.LIST, simulated, Privilege.MONITOR):
            instance = simulated.instance(gi_id)
        minors = [
            gi_minor(simulated.minor, gi_id),
            *(ci_minor(simulated.minor, gi_id, c.ci_id) for c in instance.compute_instances),
        ]
        return tuple(device.DeviceNode(f"/dev/nvidia-caps/nvidia-cap{minor}", minor, MAJOR) for minor in minors)

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.GET_MODE, simulated):
            return device.ModeState(simulated.mode.current, simulated.mode.pending)

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with self._call(Call.SET_MODE, simulated, Privilege.ADMIN):
            if self.driver.virtualization >= Virtualization.VGPU:
                raise device.NotSupportedError(f"GPU {gpu}: a virtual GPU")
            return device.ModeChange(
                simulated.set_mode(enabled), device.ModeState(simulated.mode.current, simulated.mode.pending)
            )

    def energy_mj(self, gpu: str) -> int | None:
        """See MigDevices."""
        simulated = self.driver.find(gpu)
        with suppress(device.NotSupportedError), self._call(Call.ENERGY, simulated):
            return simulated.energy_mj()
        return None

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """See MigDevices."""
        reported = []
        event = self._queue.get(timeout_s)
        while event is not None:
            reported.append(_event(event))
            event = self._queue.get(0)
        return tuple(reported)

    def close(self) -> None:
        """See MigDevices."""
        self.driver.unlisten(self._queue)

    def _describe(self, gpu: SimulatedGpu) -> device.GpuInfo:
        board = gpu.board
        info = device.GpuInfo(
            uuid=gpu.uuid,
            index=gpu.index,
            minor=gpu.minor,
            product=gpu.product,
            pci_bus_id=pci_bus_id(gpu.index),
            memory_mib=board.memory_mib,
            state=device.GpuState.READY,
            numa_node=gpu.numa_node,
        )
        state, detail, mode = self._state(gpu)
        if state in (device.GpuState.READY, device.GpuState.MIG_OFF, device.GpuState.MODE_PENDING):
            live = mode is not None and (mode.current or not board.toggle_needs_reset)
            return dataclasses.replace(info, state=state, mode=mode, catalogue=gpu.catalogue, live=live)
        return dataclasses.replace(info, state=state, detail=detail, mode=mode)

    def _state(self, gpu: SimulatedGpu) -> tuple[device.GpuState, str, device.ModeState | None]:
        """What can be done with a GPU, why not, and its mode."""
        mode = device.ModeState(gpu.mode.current, gpu.mode.pending)
        try:
            with self._call(Call.DESCRIBE, gpu):
                pass
            with self._call(Call.GET_MODE, gpu):
                pass
        except device.DeadlineExceededError as error:
            return device.GpuState.WEDGED, str(error), None
        except device.NotSupportedError as error:
            if why := _why_not_for_computing(gpu):
                return device.GpuState.NOT_COMPUTE, why, None
            return device.GpuState.NOT_CAPABLE, str(error), None
        except device.DeviceError as error:
            return device.GpuState.LOST, str(error), None
        if self.driver.virtualization >= Virtualization.VGPU:
            return device.GpuState.VGPU, "its host decides about MIG", mode
        if CREATE_SYMBOL in self.driver.missing:
            return device.GpuState.OLD_DRIVER, f"the driver lacks {CREATE_SYMBOL}", mode
        if not mode.current and (why := _why_not_for_computing(gpu)):
            return device.GpuState.NOT_COMPUTE, why, mode
        if not mode.settled:
            return device.GpuState.MODE_PENDING, "", mode
        return (device.GpuState.READY if mode.current else device.GpuState.MIG_OFF), "", mode

    def _need_queries(self, gpu: SimulatedGpu) -> None:
        """Ampere answers no question about profiles while MIG mode is off; Hopper and later do."""
        if gpu.board.toggle_needs_reset and not gpu.mode.current:
            raise device.NotSupportedError(f"GPU {gpu.uuid}: MIG mode is off")

    @contextmanager
    def _call(self, call: Call, gpu: SimulatedGpu, need: Privilege = Privilege.NONE) -> Iterator[None]:
        gate = self._wedged.get(gpu.uuid) or self.driver.faults.gate(call, gpu.uuid)
        if gate is not None and not gate.opened.is_set():
            gate.reached.set()
            self._wedged[gpu.uuid] = gate
            raise device.DeadlineExceededError(f"GPU {gpu.uuid}: {call} has not returned")
        self._wedged.pop(gpu.uuid, None)
        with self.driver.call(call, gpu, need):
            yield


def _why_not_for_computing(gpu: SimulatedGpu) -> str:
    return boards.why_not_for_computing(gpu.product, gpu.brand, gpu.compute_mode)


def _event(event: events.GpuEvent) -> device.DeviceEvent:
    if event.kind == events.MIG_CONFIG_CHANGE:
        return device.DeviceEvent(event.gpu, device.EventKind.GEOMETRY_CHANGED)
    if event.kind in _MEMORY_FAULTS:
        return device.DeviceEvent(event.gpu, device.EventKind.MEMORY_FAULT, memory_fault=_MEMORY_FAULTS[event.kind])
    ids = [None if id_ == events.NOT_ATTRIBUTED else id_ for id_ in (event.gi_id, event.ci_id)]
    return device.DeviceEvent(event.gpu, device.EventKind.FAULT, event.data, ids[0], ids[1])
