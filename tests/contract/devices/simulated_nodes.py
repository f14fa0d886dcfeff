"""Benches: a simulated driver with one of the two implementations of the device port on it, ready for a test."""

from dataclasses import dataclass, field
from enum import StrEnum

from allocator.mig.profile import Placement
from node_agent.gpu import device
from node_agent.gpu.nvml.devices import Deadlines, NvmlDevices
from node_agent.gpu.nvml.driver import Driver
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import SimulatedDriver, simulate
from simulator.gpu.gpu import SimulatedGpu
from simulator.nvml.library import FakeLibrary

A100, A30, H100, H200, RTX = "a100-40gb", "a30-24gb", "h100-80gb", "h200-141gb", "rtx-pro-6000-blackwell-96gb"
FULLY_KNOWN = (A100, A30, "a100-80gb", H100, H200, "h100-94gb", RTX)  # no unpublished numbers


class Kind(StrEnum):
    """The implementations of the port."""

    SIMULATOR = "simulator"
    NVML = "nvml"


@dataclass
class SimulatedNodePort:
    """One node: the driver that a test turns and twists, and the port that it looks through."""

    driver: SimulatedDriver
    devices: device.MigDevices
    library: FakeLibrary | None = None

    @property
    def gpu(self) -> SimulatedGpu:
        """The first GPU."""
        return self.driver.by_index()[0]

    @property
    def uuid(self) -> str:
        """Its UUID."""
        return self.gpu.uuid

    def info(self) -> device.GpuInfo:
        """What the port says about the first GPU now."""
        return self.devices.discover()[0]

    def place(self, profile: str, start: int) -> Placement:
        """A placement of the first GPU."""
        return self.gpu.catalogue.placement(profile, start)

    def create(self, profile: str, start: int) -> device.GpuInstance:
        """Cut a slice on the first GPU through the port."""
        return self.devices.create(self.uuid, self.place(profile, start))

    def close(self) -> None:
        """Everything is released, and the simulation itself had no error."""
        self.driver.faults.clear()
        self.devices.close()
        assert self.library is None or not self.library.crashes


@dataclass
class Benches:
    """Makes benches of one kind and closes them after the test."""

    kind: Kind
    made: list[SimulatedNodePort] = field(default_factory=list)

    def on(self, driver: SimulatedDriver, deadlines: Deadlines | None = None) -> SimulatedNodePort:
        """A bench on a driver of the test's own making."""
        bench = open_bench(self.kind, driver, deadlines)
        self.made.append(bench)
        return bench

    def of(self, spec: str, *, mig: bool = True) -> SimulatedNodePort:
        """A bench on a driver with these GPUs."""
        return self.on(simulate(spec, mig=mig))


def open_bench(kind: Kind, driver: SimulatedDriver, deadlines: Deadlines | None = None) -> SimulatedNodePort:
    """An implementation of the port on a driver."""
    if kind is Kind.SIMULATOR:
        return SimulatedNodePort(driver, SimulatedDevices(driver))
    library = FakeLibrary(driver)
    devices = NvmlDevices(Driver(library), deadlines=deadlines, **({"root": driver.root} if driver.root else {}))
    return SimulatedNodePort(driver, devices, library)
