"""NVML's functions about GPU instances and compute instances: profiles, placements, creation, destruction.

Registered in exports. What a GPU of Ampere refuses to answer with MIG mode off, Hopper and later answer.
"""

import ctypes

from allocator.mig.profile import Engines, Profile
from node_agent.gpu import device
from simulator.gpu import compute
from simulator.gpu.driver import Privilege
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.nvml import structs
from simulator.nvml.exports import Handle, Number, Ref, export
from simulator.nvml.gpu_calls import not_virtual
from simulator.nvml.session import Session

SHARED_ENGINES = 0  # NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, the only one there is
_COMPUTE_ENUMS = 9
_GRAPHICS = 0x2  # NVML_GPU_INSTANCE_PROFILE_CAPS_GFX


@export("nvmlDeviceGetGpuInstanceProfileInfo", parameters=(Handle, Number, Ref))
def profile_info(session: Session, handle: int | None, enum: int, info: int | None) -> None:
    """nvmlDeviceGetGpuInstanceProfileInfo: the first struct, without a name."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.PROFILE, gpu):
        profile = _listed_profile(session, gpu, enum)
        _fill_profile(structs.GpuInstanceProfileInfo.from_address(structs.pointing(info)), profile)


@export("nvmlDeviceGetGpuInstanceProfileInfoV", parameters=(Handle, Number, Ref))
def profile_info_v(session: Session, handle: int | None, enum: int, info: int | None) -> None:
    """nvmlDeviceGetGpuInstanceProfileInfoV: struct 2 or, from R570, 3; the version reads back 0."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.PROFILE, gpu):
        profile = _listed_profile(session, gpu, enum)
        version = ctypes.c_uint.from_address(structs.pointing(info)).value
        filled: structs.GpuInstanceProfileInfoV2 | structs.GpuInstanceProfileInfoV3
        if version == structs.GpuInstanceProfileInfoV2.VERSION:
            filled = structs.GpuInstanceProfileInfoV2.from_address(structs.pointing(info))
        elif version == structs.GpuInstanceProfileInfoV3.VERSION and session.driver.branch >= 570:
            filled = structs.GpuInstanceProfileInfoV3.from_address(structs.pointing(info))
            filled.capabilities = _GRAPHICS if "+gfx" in profile.name else 0
        else:
            raise structs.VersionMismatchError(f"struct version {version:#x}")
        _fill_profile(filled, profile)
        filled.name = f"MIG {profile.name}".encode()
        filled.version = 0


@export("nvmlDeviceGetGpuInstancePossiblePlacements_v2", parameters=(Handle, Number, Ref, Ref))
def placements(session: Session, handle: int | None, profile_id: int, array: int | None, count: int | None) -> None:
    """nvmlDeviceGetGpuInstancePossiblePlacements_v2: whatever the mode and whatever is cut now."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.PLACEMENTS, gpu):
        profile = _profile(gpu, profile_id)
        _fill_placements(array, count, [(start, profile.memory_slices) for start in profile.starts])


@export("nvmlDeviceGetGpuInstanceRemainingCapacity", parameters=(Handle, Number, Ref))
def remaining_capacity(session: Session, handle: int | None, profile_id: int, count: int | None) -> None:
    """nvmlDeviceGetGpuInstanceRemainingCapacity."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.CAPACITY, gpu):
        _queries_answered(gpu)
        structs.put(count, ctypes.c_uint, gpu.remaining(_profile(gpu, profile_id).name))


@export("nvmlDeviceGetGpuInstances", parameters=(Handle, Number, Ref, Ref))
def gpu_instances(session: Session, handle: int | None, profile_id: int, array: int | None, count: int | None) -> None:
    """nvmlDeviceGetGpuInstances: the caller's array must hold as many as the profile allows."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.LIST, gpu, Privilege.MONITOR):
        _queries_answered(gpu)
        profile = _profile(gpu, profile_id)
        gi_ids = [i.gi_id for i in gpu.instances() if i.profile == profile.name]
        _fill_handles(array, count, [session.handles.of_instance(gpu, gi_id) for gi_id in gi_ids])


@export("nvmlDeviceGetGpuInstanceById", parameters=(Handle, Number, Ref))
def gpu_instance_by_id(session: Session, handle: int | None, gi_id: int, instance: int | None) -> None:
    """nvmlDeviceGetGpuInstanceById: NOT_FOUND also with MIG mode off."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.LIST, gpu, Privilege.MONITOR):
        gpu.instance(gi_id)
        structs.put(instance, ctypes.c_void_p, session.handles.of_instance(gpu, gi_id))


@export("nvmlDeviceCreateGpuInstance", parameters=(Handle, Number, Ref))
def create_gpu_instance(session: Session, handle: int | None, profile_id: int, instance: int | None) -> None:
    """nvmlDeviceCreateGpuInstance: where the driver likes."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.CREATE_GPU_INSTANCE, gpu, Privilege.CONFIG):
        not_virtual(session, gpu)
        made = gpu.create_gpu_instance(profile_id)
        structs.put(instance, ctypes.c_void_p, session.handles.of_instance(gpu, made.gi_id))


@export("nvmlDeviceCreateGpuInstanceWithPlacement", parameters=(Handle, Number, Ref, Ref))
def create_gpu_instance_with_placement(
    session: Session, handle: int | None, profile_id: int, placement: int | None, instance: int | None
) -> None:
    """nvmlDeviceCreateGpuInstanceWithPlacement."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.CREATE_GPU_INSTANCE, gpu, Privilege.CONFIG):
        not_virtual(session, gpu)
        requested = structs.GpuInstancePlacement.from_address(structs.pointing(placement))
        profile = gpu.board.by_profile_id(profile_id)
        if gpu.mode.current and profile is not None and requested.size != profile.memory_slices:
            raise device.InvalidArgumentError(f"size {requested.size} for {profile.name}")
        made = gpu.create_gpu_instance(profile_id, requested.start)
        structs.put(instance, ctypes.c_void_p, session.handles.of_instance(gpu, made.gi_id))


@export("nvmlGpuInstanceDestroy", parameters=(Handle,))
def destroy_gpu_instance(session: Session, handle: int | None) -> None:
    """nvmlGpuInstanceDestroy."""
    gpu, instance = session.handles.gpu_instance(handle)
    with session.driver.call(Call.DESTROY_GPU_INSTANCE, gpu, Privilege.CONFIG):
        gpu.destroy_gpu_instance(instance.gi_id)
        session.handles.drop(handle)


@export("nvmlGpuInstanceGetInfo", parameters=(Handle, Ref))
def gpu_instance_info(session: Session, handle: int | None, info: int | None) -> None:
    """nvmlGpuInstanceGetInfo."""
    gpu, instance = session.handles.gpu_instance(handle)
    with session.driver.call(Call.LIST, gpu, Privilege.MONITOR):
        filled = structs.GpuInstanceInfo.from_address(structs.pointing(info))
        filled.device, filled.id, filled.profileId = session.handles.of(gpu), instance.gi_id, instance.profile_id
        filled.placement = structs.GpuInstancePlacement(instance.start, instance.size)


@export("nvmlGpuInstanceGetComputeInstanceProfileInfo", parameters=(Handle, Number, Number, Ref))
def compute_profile_info(session: Session, handle: int | None, enum: int, engines: int, info: int | None) -> None:
    """nvmlGpuInstanceGetComputeInstanceProfileInfo: the first struct, without a name."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.PROFILE, gpu):
        profile = _listed_compute_profile(gpu, parent, enum, engines)
        filled = structs.ComputeInstanceProfileInfo.from_address(structs.pointing(info))
        _fill_compute_profile(filled, profile, gpu.catalogue.profile(parent.profile))


@export("nvmlGpuInstanceGetComputeInstanceProfileInfoV", parameters=(Handle, Number, Number, Ref))
def compute_profile_info_v(session: Session, handle: int | None, enum: int, engines: int, info: int | None) -> None:
    """nvmlGpuInstanceGetComputeInstanceProfileInfoV: struct 2."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.PROFILE, gpu):
        profile = _listed_compute_profile(gpu, parent, enum, engines)
        filled = structs.ComputeInstanceProfileInfoV2.from_address(structs.pointing(info))
        if filled.version != structs.ComputeInstanceProfileInfoV2.VERSION:
            raise structs.VersionMismatchError(f"struct version {filled.version:#x}")
        _fill_compute_profile(filled, profile, gpu.catalogue.profile(parent.profile))
        part = "" if profile.size == parent.compute_slices else f"{profile.size}c."
        filled.name = f"MIG {part}{parent.profile}".encode()
        filled.version = 0


@export("nvmlGpuInstanceGetComputeInstanceRemainingCapacity", parameters=(Handle, Number, Ref))
def compute_remaining_capacity(session: Session, handle: int | None, profile_id: int, count: int | None) -> None:
    """nvmlGpuInstanceGetComputeInstanceRemainingCapacity."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.CAPACITY, gpu):
        profile = _compute_profile(gpu, parent, profile_id)
        taken = [(c.start, c.size) for c in parent.compute_instances]
        structs.put(count, ctypes.c_uint, len(compute.free_starts(profile, taken)))


@export("nvmlGpuInstanceGetComputeInstancePossiblePlacements", parameters=(Handle, Number, Ref, Ref))
def compute_placements(
    session: Session, handle: int | None, profile_id: int, array: int | None, count: int | None
) -> None:
    """nvmlGpuInstanceGetComputeInstancePossiblePlacements, in compute slices of the GPU instance."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.PLACEMENTS, gpu):
        profile = _compute_profile(gpu, parent, profile_id)
        _fill_placements(array, count, [(start, profile.size) for start in profile.starts])


@export("nvmlGpuInstanceCreateComputeInstance", parameters=(Handle, Number, Ref))
def create_compute_instance(session: Session, handle: int | None, profile_id: int, instance: int | None) -> None:
    """nvmlGpuInstanceCreateComputeInstance: where the driver likes."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.CREATE_COMPUTE_INSTANCE, gpu, Privilege.CONFIG):
        made = gpu.create_compute_instance(parent.gi_id, profile_id)
        structs.put(instance, ctypes.c_void_p, session.handles.of_instance(gpu, parent.gi_id, made.ci_id))


@export("nvmlGpuInstanceCreateComputeInstanceWithPlacement", parameters=(Handle, Number, Ref, Ref))
def create_compute_instance_with_placement(
    session: Session, handle: int | None, profile_id: int, placement: int | None, instance: int | None
) -> None:
    """nvmlGpuInstanceCreateComputeInstanceWithPlacement."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.CREATE_COMPUTE_INSTANCE, gpu, Privilege.CONFIG):
        requested = structs.GpuInstancePlacement.from_address(structs.pointing(placement))
        made = gpu.create_compute_instance(parent.gi_id, profile_id, requested.start)
        structs.put(instance, ctypes.c_void_p, session.handles.of_instance(gpu, parent.gi_id, made.ci_id))


@export("nvmlComputeInstanceDestroy", parameters=(Handle,))
def destroy_compute_instance(session: Session, handle: int | None) -> None:
    """nvmlComputeInstanceDestroy."""
    gpu, parent, instance = session.handles.compute_instance(handle)
    with session.driver.call(Call.DESTROY_COMPUTE_INSTANCE, gpu, Privilege.CONFIG):
        gpu.destroy_compute_instance(parent.gi_id, instance.ci_id)
        session.handles.drop(handle)


@export("nvmlGpuInstanceGetComputeInstances", parameters=(Handle, Number, Ref, Ref))
def compute_instances(
    session: Session, handle: int | None, profile_id: int, array: int | None, count: int | None
) -> None:
    """nvmlGpuInstanceGetComputeInstances: the caller's array must hold as many as the profile allows."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.LIST, gpu, Privilege.MONITOR):
        profile = _compute_profile(gpu, parent, profile_id)
        ci_ids = [c.ci_id for c in parent.compute_instances if c.profile_id == profile.profile_id]
        _fill_handles(array, count, [session.handles.of_instance(gpu, parent.gi_id, ci_id) for ci_id in ci_ids])


@export("nvmlGpuInstanceGetComputeInstanceById", parameters=(Handle, Number, Ref))
def compute_instance_by_id(session: Session, handle: int | None, ci_id: int, instance: int | None) -> None:
    """nvmlGpuInstanceGetComputeInstanceById."""
    gpu, parent = session.handles.gpu_instance(handle)
    with session.driver.call(Call.LIST, gpu, Privilege.MONITOR):
        gpu.compute_instance(parent.gi_id, ci_id)
        structs.put(instance, ctypes.c_void_p, session.handles.of_instance(gpu, parent.gi_id, ci_id))


@export("nvmlComputeInstanceGetInfo_v2", parameters=(Handle, Ref))
def compute_instance_info(session: Session, handle: int | None, info: int | None) -> None:
    """nvmlComputeInstanceGetInfo_v2: its `device` is the parent GPU, not the MIG device."""
    gpu, parent, instance = session.handles.compute_instance(handle)
    with session.driver.call(Call.LIST, gpu, Privilege.MONITOR):
        filled = structs.ComputeInstanceInfo.from_address(structs.pointing(info))
        filled.device = session.handles.of(gpu)
        filled.gpuInstance = session.handles.of_instance(gpu, parent.gi_id)
        filled.id, filled.profileId = instance.ci_id, instance.profile_id
        filled.placement = structs.GpuInstancePlacement(instance.start, instance.size)


def _queries_answered(gpu: SimulatedGpu) -> None:
    """Ampere answers nothing about profiles while MIG mode is off; Hopper and later do."""
    if gpu.board.toggle_needs_reset and not gpu.mode.current:
        raise device.NotSupportedError(f"GPU {gpu.uuid}: MIG mode is off")


def _listed_profile(session: Session, gpu: SimulatedGpu, enum: int) -> Profile:
    """The profile of an enumerator: absent on this board is 3, unknown to this driver is 2."""
    _queries_answered(gpu)
    if enum >= session.driver.known_enums:
        raise device.InvalidArgumentError(f"no profile enumerator {enum}")
    profile = gpu.board.by_enum(enum)
    if profile is None:
        raise device.NotSupportedError(f"GPU {gpu.uuid} has no profile enumerator {enum}")
    return profile


def _profile(gpu: SimulatedGpu, profile_id: int) -> Profile:
    profile = gpu.board.by_profile_id(profile_id)
    if profile is None:
        raise device.InvalidArgumentError(f"GPU {gpu.uuid} has no profile id {profile_id}")
    return profile


def _listed_compute_profile(
    gpu: SimulatedGpu, parent: device.GpuInstance, enum: int, engines: int
) -> compute.ComputeProfile:
    if enum >= _COMPUTE_ENUMS or engines != SHARED_ENGINES:
        raise device.InvalidArgumentError(f"no compute profile enumerator {enum}, engine profile {engines}")
    for profile in gpu.compute_profiles[parent.profile]:
        if profile.enum_index == enum:
            return profile
    raise device.NotSupportedError(f"{parent.profile} has no compute profile enumerator {enum}")


def _compute_profile(gpu: SimulatedGpu, parent: device.GpuInstance, profile_id: int) -> compute.ComputeProfile:
    for profile in gpu.compute_profiles[parent.profile]:
        if profile.profile_id == profile_id:
            return profile
    raise device.InvalidArgumentError(f"{parent.profile} has no compute profile id {profile_id}")


def _fill_profile(
    filled: structs.GpuInstanceProfileInfo | structs.GpuInstanceProfileInfoV2 | structs.GpuInstanceProfileInfoV3,
    profile: Profile,
) -> None:
    engines = profile.engines or Engines()
    filled.id, filled.sliceCount, filled.instanceCount = (
        profile.profile_id,
        profile.compute_slices,
        profile.max_instances,
    )
    filled.multiprocessorCount, filled.copyEngineCount = profile.sm or 0, profile.copy_engines or 0
    filled.decoderCount, filled.encoderCount = engines.dec, engines.enc
    filled.jpegCount, filled.ofaCount = engines.jpeg, engines.ofa
    filled.memorySizeMB = profile.memory_mib or 0


def _fill_compute_profile(
    filled: structs.ComputeInstanceProfileInfo | structs.ComputeInstanceProfileInfoV2,
    profile: compute.ComputeProfile,
    parent: Profile,
) -> None:
    engines = parent.engines or Engines()
    filled.id, filled.sliceCount, filled.instanceCount = profile.profile_id, profile.size, profile.instances
    filled.multiprocessorCount, filled.sharedCopyEngineCount = profile.sm, parent.copy_engines or 0
    filled.sharedDecoderCount, filled.sharedEncoderCount = engines.dec, engines.enc
    filled.sharedJpegCount, filled.sharedOfaCount = engines.jpeg, engines.ofa


def _fill_placements(array: int | None, count: int | None, spans: list[tuple[int, int]]) -> None:
    """The two-call pattern: without an array the number needed, else the placements."""
    room = ctypes.c_uint.from_address(structs.pointing(count))
    given, room.value = room.value, len(spans)
    if not array:
        return
    if given < len(spans):
        raise structs.InsufficientSizeError(f"room for {given} of {len(spans)} placements")
    for slot, (start, size) in zip((structs.GpuInstancePlacement * len(spans)).from_address(array), spans, strict=True):
        slot.start, slot.size = start, size


def _fill_handles(array: int | None, count: int | None, handles: list[int]) -> None:
    """Write handles without asking how many the caller has room for: neither does the driver."""
    place = (ctypes.c_void_p * len(handles)).from_address(structs.pointing(array))
    for index, handle in enumerate(handles):
        place[index] = handle
    structs.put(count, ctypes.c_uint, len(handles))
