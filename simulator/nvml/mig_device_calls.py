"""NVML's functions about MIG devices, as enumerated by index, and about processes. Registered in exports."""

import ctypes

from allocator.mig.profile import Engines
from node_agent.gpu import device
from simulator.gpu import events
from simulator.gpu.driver import Privilege
from simulator.gpu.faults import Call
from simulator.nvml import structs
from simulator.nvml.exports import Handle, Number, Ref, export
from simulator.nvml.handles import MigKey
from simulator.nvml.session import Session

_MIB = 1 << 20


@export("nvmlDeviceIsMigDeviceHandle", parameters=(Handle, Ref))
def is_mig_device(session: Session, handle: int | None, answer: int | None) -> None:
    """nvmlDeviceIsMigDeviceHandle."""
    structs.put(answer, ctypes.c_uint, int(session.handles.any_device(handle)[1] is not None))


@export("nvmlDeviceGetMaxMigDeviceCount", parameters=(Handle, Ref))
def max_mig_device_count(session: Session, handle: int | None, count: int | None) -> None:
    """nvmlDeviceGetMaxMigDeviceCount: 0 with MIG mode off."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.MIG_DEVICE, gpu):
        most = max(gpu.catalogue.compute_slices, len(session.driver.mig_devices(gpu)))
        structs.put(count, ctypes.c_uint, most if gpu.mode.current else 0)


@export("nvmlDeviceGetMigDeviceHandleByIndex", parameters=(Handle, Number, Ref))
def mig_device_by_index(session: Session, handle: int | None, index: int, mig: int | None) -> None:
    """nvmlDeviceGetMigDeviceHandleByIndex: NOT_FOUND for a hole, and with MIG mode off."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.MIG_DEVICE, gpu, Privilege.MONITOR):
        listed = session.driver.mig_devices(gpu)
        if index >= max(gpu.catalogue.compute_slices, len(listed)):
            raise device.InvalidArgumentError(f"no MIG device index {index}")
        mig_device = listed[index] if index < len(listed) else None
        if mig_device is None:
            raise device.StaleHandleError(f"no MIG device at index {index}")
        structs.put(mig, ctypes.c_void_p, session.handles.of(MigKey(gpu.uuid, mig_device)))


@export("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", parameters=(Handle, Ref))
def parent_of(session: Session, handle: int | None, parent: int | None) -> None:
    """nvmlDeviceGetDeviceHandleFromMigDeviceHandle."""
    gpu, _ = session.handles.mig_device(handle)
    structs.put(parent, ctypes.c_void_p, session.handles.of(gpu))


@export("nvmlDeviceGetGpuInstanceId", parameters=(Handle, Ref))
def gpu_instance_id(session: Session, handle: int | None, number: int | None) -> None:
    """nvmlDeviceGetGpuInstanceId."""
    gpu, mig = session.handles.mig_device(handle)
    with session.driver.call(Call.MIG_DEVICE, gpu):
        structs.put(number, ctypes.c_uint, mig.gi_id)


@export("nvmlDeviceGetComputeInstanceId", parameters=(Handle, Ref))
def compute_instance_id(session: Session, handle: int | None, number: int | None) -> None:
    """nvmlDeviceGetComputeInstanceId."""
    gpu, mig = session.handles.mig_device(handle)
    with session.driver.call(Call.MIG_DEVICE, gpu):
        structs.put(number, ctypes.c_uint, mig.ci_id)


@export("nvmlDeviceGetAttributes_v2", parameters=(Handle, Ref))
def attributes(session: Session, handle: int | None, info: int | None) -> None:
    """nvmlDeviceGetAttributes_v2: of MIG devices only."""
    gpu, mig = session.handles.any_device(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        if mig is None:
            raise device.NotSupportedError("attributes are of MIG devices")
        instance = gpu.instance(mig.gi_id)
        part = gpu.compute_instance(mig.gi_id, mig.ci_id)
        profile = gpu.catalogue.profile(instance.profile)
        engines = profile.engines or Engines()
        filled = structs.DeviceAttributes.from_address(structs.pointing(info))
        filled.multiprocessorCount = next(
            c.sm for c in gpu.compute_profiles[instance.profile] if c.profile_id == part.profile_id
        )
        filled.sharedCopyEngineCount = profile.copy_engines or 0
        filled.sharedDecoderCount, filled.sharedEncoderCount = engines.dec, engines.enc
        filled.sharedJpegCount, filled.sharedOfaCount = engines.jpeg, engines.ofa
        filled.gpuInstanceSliceCount, filled.computeInstanceSliceCount = instance.compute_slices, part.size
        filled.memorySizeMB = gpu.memory_mib(mig.gi_id)


@export(
    "nvmlDeviceGetComputeRunningProcesses_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    parameters=(Handle, Ref, Ref),
)
def compute_processes(session: Session, handle: int | None, count: int | None, array: int | None) -> None:
    """nvmlDeviceGetComputeRunningProcesses_v3: of a MIG device its own, of a GPU all, with ids for the privileged."""
    gpu, mig = session.handles.any_device(handle)
    with session.driver.call(Call.PROCESSES, gpu):
        processes = [
            p
            for _, p in sorted(gpu.users.processes.items())
            if mig is None or (p.gi_id, p.ci_id) == (mig.gi_id, mig.ci_id)
        ]
        room = ctypes.c_uint.from_address(structs.pointing(count))
        given, room.value = room.value, len(processes)
        if not processes:
            return
        if not array or given < len(processes):
            raise structs.InsufficientSizeError(f"room for {given} of {len(processes)} processes")
        tell = session.driver.privilege >= Privilege.MONITOR
        for slot, process in zip((structs.ProcessInfo * len(processes)).from_address(array), processes, strict=True):
            slot.pid, slot.usedGpuMemory = process.pid, (process.memory_mib or 0) * _MIB
            ids = (process.gi_id, process.ci_id) if tell else (None, None)
            slot.gpuInstanceId = events.NOT_ATTRIBUTED if ids[0] is None else ids[0]
            slot.computeInstanceId = events.NOT_ATTRIBUTED if ids[1] is None else ids[1]


@export(
    "nvmlDeviceGetGraphicsRunningProcesses_v2",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v2",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    parameters=(Handle, Ref, Ref),
)
def other_processes(session: Session, handle: int | None, count: int | None, _array: int | None) -> None:
    """nvmlDeviceGetGraphicsRunningProcesses_v3 and …MPS…: the simulated processes only compute."""
    gpu, _ = session.handles.any_device(handle)
    with session.driver.call(Call.PROCESSES, gpu):
        structs.put(count, ctypes.c_uint, 0)
