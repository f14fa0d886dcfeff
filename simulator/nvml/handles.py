"""Handles: the opaque pointers that the fake library gives out, and what they stand for. Used by library.

They are addresses above 4 GiB, so that one cut to 32 bits is not a handle. A handle of an instance dies with that
instance, also when another takes the same place; all die with nvmlShutdown and with a restart of the driver.
"""

import itertools
import threading
from dataclasses import dataclass

from node_agent.gpu import device
from simulator.gpu.driver import MigDevice, SimulatedDriver
from simulator.gpu.events import EventQueue
from simulator.gpu.gpu import SimulatedGpu

_FIRST = 0x7F00_0000_1000
_STEP = 0x100


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """What a GPU instance handle (`ci_id` None) or a compute instance handle stands for: one creation."""

    gpu: str
    gi_id: int
    ci_id: int | None
    serial: int


@dataclass(frozen=True, slots=True)
class MigKey:
    """What the handle of a MIG device stands for."""

    gpu: str
    listed: MigDevice


class Handles:
    """The handles of one library."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self._driver = driver
        self._numbers = itertools.count(_FIRST, _STEP)
        self._things: dict[int, object] = {}
        self._known: dict[object, int] = {}
        self._lock = threading.Lock()

    def of(self, thing: object) -> int:
        """The handle for something; the same thing has the same handle."""
        with self._lock:
            if thing not in self._known:
                number = next(self._numbers)
                self._known[thing], self._things[number] = number, thing
            return self._known[thing]

    def drop(self, number: int | None) -> None:
        """A handle is freed; an unknown one is not an error."""
        with self._lock:
            self._known.pop(self._things.pop(number or 0, None), None)

    def clear(self) -> None:
        """All handles are dead."""
        with self._lock:
            self._things.clear()
            self._known.clear()

    def _stands_for(self, number: int | None) -> object:
        try:
            return self._things[number or 0]
        except KeyError:
            raise device.InvalidArgumentError(f"{number!r} is not a handle") from None

    def gpu(self, number: int | None) -> SimulatedGpu:
        """The GPU of a parent device handle. Raises InvalidArgumentError for any other handle."""
        of = self._stands_for(number)
        if not isinstance(of, SimulatedGpu):
            raise device.InvalidArgumentError("not a GPU's handle")
        return of

    def mig_device(self, number: int | None) -> tuple[SimulatedGpu, MigDevice]:
        """The MIG device of a handle. Raises InvalidArgumentError for another handle or when it is gone."""
        of = self._stands_for(number)
        if isinstance(of, MigKey):
            gpu = self._driver.find(of.gpu)
            if of.listed in self._driver.mig_devices(gpu):
                return gpu, of.listed
        raise device.InvalidArgumentError("not a MIG device's handle")

    def any_device(self, number: int | None) -> tuple[SimulatedGpu, MigDevice | None]:
        """The GPU of a device handle and, for a MIG device's, that device."""
        of = self._stands_for(number)
        return self.mig_device(number) if isinstance(of, MigKey) else (self.gpu(number), None)

    def gpu_instance(self, number: int | None) -> tuple[SimulatedGpu, device.GpuInstance]:
        """The GPU instance of a handle. Raises InvalidArgumentError when it is gone, also if re-created."""
        key, gpu = self._instance(number)
        if key.ci_id is not None:
            raise device.InvalidArgumentError("not a GPU instance's handle")
        return gpu, gpu.instance(key.gi_id)

    def compute_instance(self, number: int | None) -> tuple[SimulatedGpu, device.GpuInstance, device.ComputeInstance]:
        """The compute instance of a handle. Raises InvalidArgumentError when it is gone, also if re-created."""
        key, gpu = self._instance(number)
        if key.ci_id is None:
            raise device.InvalidArgumentError("not a compute instance's handle")
        return gpu, gpu.instance(key.gi_id), gpu.compute_instance(key.gi_id, key.ci_id)

    def of_instance(self, gpu: SimulatedGpu, gi_id: int, ci_id: int | None = None) -> int:
        """The handle of an instance that exists."""
        serial = gpu.serial(gi_id, ci_id)
        if serial is None:
            raise device.StaleHandleError(f"GPU {gpu.uuid}: no instance {gi_id}/{ci_id}")
        return self.of(InstanceKey(gpu.uuid, gi_id, ci_id, serial))

    def event_queue(self, number: int | None) -> EventQueue:
        """The queue of an event set's handle. Raises InvalidArgumentError for any other handle."""
        of = self._stands_for(number)
        if not isinstance(of, EventQueue):
            raise device.InvalidArgumentError("not an event set's handle")
        return of

    def _instance(self, number: int | None) -> tuple[InstanceKey, SimulatedGpu]:
        of = self._stands_for(number)
        if isinstance(of, InstanceKey):
            gpu = self._driver.find(of.gpu)
            if gpu.serial(of.gi_id, of.ci_id) == of.serial:
                return of, gpu
        raise device.InvalidArgumentError("not an instance's handle, or the instance is gone")
