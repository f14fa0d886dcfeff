"""NVML's functions about the library and the driver. Registered in exports."""

import ctypes

from simulator.gpu.faults import Call
from simulator.nvml import structs
from simulator.nvml.exports import Number, Ref, export
from simulator.nvml.session import Session


@export("nvmlInitWithFlags", parameters=(Number,), needs_init=False)
def init_with_flags(session: Session, _flags: int) -> None:
    """nvmlInitWithFlags."""
    session.init()


@export("nvmlShutdown", parameters=())
def shutdown(session: Session) -> None:
    """nvmlShutdown."""
    session.shutdown()


@export("nvmlSystemGetDriverVersion", parameters=(Ref, Number))
def driver_version(session: Session, text: int | None, size: int) -> None:
    """nvmlSystemGetDriverVersion."""
    structs.put_text(text, size, session.driver.version)


@export("nvmlSystemGetNVMLVersion", parameters=(Ref, Number))
def nvml_version(session: Session, text: int | None, size: int) -> None:
    """nvmlSystemGetNVMLVersion: the CUDA major of the branch before the driver's version."""
    cuda = 13 if session.driver.branch >= 580 else 12 if session.driver.branch >= 525 else 11
    structs.put_text(text, size, f"{cuda}.{session.driver.version}")


@export("nvmlDeviceGetCount_v2", parameters=(Ref,))
def count(session: Session, number: int | None) -> None:
    """nvmlDeviceGetCount_v2: lost GPUs included."""
    with session.driver.call(Call.INIT):
        structs.put(number, ctypes.c_uint, len(session.driver.gpus))
