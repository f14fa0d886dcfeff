"""Observe: all that the driver says about MIG on this node, as one plain value. Changes nothing.

`python -m node_agent.gpu.nvml` prints it; a recorded run serves as a golden file of the tests, and shows what the agent
would see before anything is cut. Needs only nvidia-ml-py and the allocator.
"""

import dataclasses
from typing import Any

from node_agent.gpu import device
from node_agent.gpu.nvml.devices import NvmlDevices
from node_agent.gpu.nvml.driver import Driver


def observe(driver: Driver) -> dict[str, Any]:
    """Driver, GPUs, MIG mode, catalogues, remaining capacity and instances, ready to be written as JSON.

    Raises DriverNotLoadedError or DriverMismatchError where there is no usable driver. What one GPU refuses to tell
    stands as a text in the place of the answer.
    """
    devices = NvmlDevices(driver)
    try:
        infos = devices.discover()
        return {
            "driver": driver.driver_version(),
            "nvml": driver.nvml_version(),
            "gpus": [_gpu(devices, info) for info in infos],
        }
    finally:
        devices.close()


def _gpu(devices: NvmlDevices, info: device.GpuInfo) -> dict[str, Any]:
    observed = {
        "uuid": info.uuid,
        "index": info.index,
        "minor": info.minor,
        "product": info.product,
        "pci_bus_id": info.pci_bus_id,
        "memory_mib": info.memory_mib,
        "state": str(info.state),
        "detail": info.detail,
        "mode": None if info.mode is None else dataclasses.asdict(info.mode),
        "live": info.live,
        "catalogue": None if info.catalogue is None else dataclasses.asdict(info.catalogue),
    }
    if info.catalogue is not None:
        try:
            observed["capacity"] = dict(devices.remaining(info.uuid))
            observed["instances"] = [dataclasses.asdict(instance) for instance in devices.instances(info.uuid)]
        except device.DeviceError as error:
            observed["refused"] = str(error)
    return observed
