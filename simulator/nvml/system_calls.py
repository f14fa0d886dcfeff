"""NVML's functions about the library and the driver. Registered in exports."""

import ctypes
from typing import TYPE_CHECKING

from simulator.gpu.faults import Call
from simulator.nvml import structs
from simulator.nvml.exports import Number, Ref, export

if TYPE_CHECKING:
    from simulator.nvml.library import FakeLibrary


@export("nvmlInitWithFlags", parameters=(Number,), needs_init=False)
def init_with_flags(library: "FakeLibrary", _flags: int) -> None:
    """nvmlInitWithFlags."""
    library.init()


@export("nvmlShutdown", parameters=())
def shutdown(library: "FakeLibrary") -> None:
    """nvmlShutdown."""
    library.shutdown()


@export("nvmlSystemGetDriverVersion", parameters=(Ref, Number))
def driver_version(library: "FakeLibrary", text: int | None, size: int) -> None:
    """nvmlSystemGetDriverVersion."""
    structs.put_text(text, size, library.driver.version)


@export("nvmlSystemGetNVMLVersion", parameters=(Ref, Number))
def nvml_version(library: "FakeLibrary", text: int | None, size: int) -> None:
    """nvmlSystemGetNVMLVersion: the CUDA major of the branch before the driver's version."""
    cuda = 13 if library.driver.branch >= 580 else 12 if library.driver.branch >= 525 else 11
    structs.put_text(text, size, f"{cuda}.{library.driver.version}")


@export("nvmlDeviceGetCount_v2", parameters=(Ref,))
def count(library: "FakeLibrary", number: int | None) -> None:
    """nvmlDeviceGetCount_v2: lost GPUs included."""
    with library.driver.call(Call.INIT):
        structs.put(number, ctypes.c_uint, len(library.driver.gpus))
