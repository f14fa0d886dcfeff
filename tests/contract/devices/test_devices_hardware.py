"""The reading half of the contract on the GPUs of this machine, and on what was recorded on others.

`pytest --hardware tests/contract/devices` looks at real GPUs and changes nothing. `golden/*.json` are outputs of
`python -m node_agent.gpu.nvml` on real machines, `golden/agent-*.json` of `migsched agent --observe --once -o json`:
simulated GPUs of the same models must print the same.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allocator.mig import gpu_models
from node_agent import service
from node_agent.gpu import device
from node_agent.gpu.device import GpuState
from node_agent.gpu.nvml.devices import NvmlDevices
from node_agent.gpu.nvml.driver import Driver
from node_agent.gpu.nvml.observe import observe
from simulator.gpu.driver import SimulatedDriver, Virtualization
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.mode import ModeMachine
from simulator.nvml.library import FakeLibrary

FOLDER = Path(__file__).parent / "golden"
AGENT_GOLDEN = sorted(FOLDER.glob("agent-*.json"))
GOLDEN = sorted(set(FOLDER.glob("*.json")) - set(AGENT_GOLDEN))
OF_THE_MACHINE = ("uuid", "minor", "pci_bus_id", "product")  # boards of one model have several names and PCI ids


def simulated(recorded: dict[str, Any]) -> dict[str, Any]:
    """What a simulated node with the recorded GPUs, in their recorded modes and with their instances, prints."""
    gpus = []
    for index, told in enumerate(recorded["gpus"]):
        known = gpu_models.find(told["catalogue"]["model"])
        mode = ModeMachine(enabled=told["mode"]["current"], needs_reset=known.toggle_needs_reset)
        branch = int(recorded["driver"].split(".")[0])
        gpu = SimulatedGpu(known, told["uuid"], index, mode=mode, branch=branch)
        for one in told["instances"]:
            gpu.create(one["profile"], one["start"])
        gpus.append(gpu)
    driver = SimulatedDriver(gpus, version=recorded["driver"], virtualization=Virtualization.PASSTHROUGH)
    return observe(Driver(FakeLibrary(driver)))


def comparable(observed: dict[str, Any]) -> dict[str, Any]:
    """An observation without what differs from machine to machine: names of the GPUs, and made-up MIG UUIDs."""
    told = json.loads(json.dumps(observed))
    for gpu in told["gpus"]:
        for name in OF_THE_MACHINE:
            del gpu[name]
        del gpu["catalogue"]["pci_ids"]
        for one in gpu["instances"]:
            for part in one["compute_instances"]:
                del part["mig_uuid"]
    return dict(told)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_simulated_gpus_print_what_was_recorded(path: Path) -> None:
    """A simulated node prints what was recorded on a real one with the same GPUs."""
    recorded = json.loads(path.read_text())
    assert comparable(simulated(recorded)) == comparable(recorded)


def told_by_agent(status: dict[str, Any]) -> dict[str, Any]:
    """What an observing agent printed, without what differs from machine to machine and from minute to minute."""
    told = json.loads(json.dumps(status))
    for gpu in told["gpus"]:
        del gpu["uuid"], gpu["product"]
    for condition in told["conditions"]:
        del condition["lastTransitionTime"]
    return dict(told)


@pytest.mark.parametrize("path", AGENT_GOLDEN, ids=lambda path: path.stem)
def test_the_agent_prints_of_simulated_gpus_what_it_printed_of_real_ones(path: Path) -> None:
    """`migsched agent --observe --once -o json` over the adapter prints what was recorded on a real node."""
    recorded = json.loads(path.read_text())
    gpus = []
    for told in recorded["gpus"]:
        known = gpu_models.find(told["catalogue"])
        mode = ModeMachine(enabled=told["migMode"] == "Enabled", needs_reset=known.toggle_needs_reset)
        gpus.append(SimulatedGpu(known, told["uuid"], told["index"], mode=mode))
    devices = NvmlDevices(Driver(FakeLibrary(SimulatedDriver(gpus, virtualization=Virtualization.PASSTHROUGH))))
    assert told_by_agent(service.observe(devices, "node-1")) == told_by_agent(recorded)


def test_a_made_up_recording_is_compared() -> None:
    """The comparison with recordings sees a capacity that is off by one."""
    gpu = SimulatedGpu(gpu_models.find("h200-141gb"), "GPU-0")
    gpu.create("3g.71gb", 4)
    recorded = observe(Driver(FakeLibrary(SimulatedDriver([gpu]))))
    assert comparable(simulated(recorded)) == comparable(recorded)
    recorded["gpus"][0]["capacity"]["1g.18gb"] += 1
    assert comparable(simulated(recorded)) != comparable(recorded)


@pytest.fixture
def here() -> Iterator[NvmlDevices]:
    devices = NvmlDevices(Driver())
    yield devices
    devices.close()


@pytest.mark.hardware
def test_the_gpus_of_this_machine_are_readable(here: NvmlDevices) -> None:
    """Each real GPU is described, its catalogue is consistent, and its capacity and instances agree with it."""
    found = here.discover()
    assert found
    for info in found:
        assert info.state not in (GpuState.UNREADABLE, GpuState.WEDGED, GpuState.LOST), info.detail
        if info.state not in (GpuState.READY, GpuState.MIG_OFF) or not info.live:
            continue
        assert info.catalogue is not None
        names = set(info.catalogue.by_name)
        assert set(here.remaining(info.uuid)) == names
        instances = here.instances(info.uuid)
        assert {one.profile for one in instances} <= names
        assert info.mode is not None
        assert info.mode.current or not instances


@pytest.mark.hardware
def test_the_gpus_of_this_machine_are_as_simulated() -> None:
    """Real GPUs of known models, left as they are, print what simulated ones print."""
    recorded = observe(Driver())
    if any(gpu["catalogue"] is None or "refused" in gpu for gpu in recorded["gpus"]):
        pytest.skip("a GPU of this machine has no MIG or refuses to tell")
    assert comparable(simulated(recorded)) == comparable(recorded)


@pytest.mark.hardware
def test_refusals_of_this_machine_are_translated(here: NvmlDevices) -> None:
    """A GPU, an instance and a process list that do not exist are refused on real hardware as in the simulator."""
    with pytest.raises(device.StaleHandleError):
        here.instances("GPU-not-here")
    for info in here.discover():
        if info.state in (GpuState.READY, GpuState.MIG_OFF):
            free = next(gi for gi in range(15) if gi not in {one.gi_id for one in here.instances(info.uuid)})
            with pytest.raises(device.StaleHandleError):
                here.processes(info.uuid, free)
