"""NVML's functions about one GPU, and about MIG mode. Registered in exports."""

import ctypes

from node_agent.gpu import device
from simulator.gpu.driver import Privilege, Virtualization
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.pci import pci_bus_id
from simulator.nvml import structs
from simulator.nvml.exports import Handle, Number, Ref, export
from simulator.nvml.handles import MigKey
from simulator.nvml.session import Session

RESETLESS_MIG = 184  # NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED
INDEPENDENT_QUERIES = 199  # NVML_FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE
_UNSIGNED_INT = 1  # NVML_VALUE_TYPE_UNSIGNED_INT
_MIB = 1 << 20


@export("nvmlDeviceGetHandleByIndex_v2", parameters=(Number, Ref))
def handle_by_index(session: Session, index: int, handle: int | None) -> None:
    """nvmlDeviceGetHandleByIndex_v2."""
    gpu = next((candidate for candidate in session.driver.by_index() if candidate.index == index), None)
    if gpu is None:
        raise device.InvalidArgumentError(f"no GPU {index}")
    with session.driver.call(Call.HANDLE, gpu):
        structs.put(handle, ctypes.c_void_p, session.handles.of(gpu))


@export("nvmlDeviceGetHandleByUUID", parameters=(Ref, Ref))
def handle_by_uuid(session: Session, uuid: int | None, handle: int | None) -> None:
    """nvmlDeviceGetHandleByUUID, of a GPU or a MIG device."""
    wanted_uuid = ctypes.string_at(structs.pointing(uuid)).decode()
    for gpu in session.driver.by_index():
        listed = next(
            (
                mig_device
                for mig_device in session.driver.mig_devices(gpu)
                if mig_device and mig_device.mig_uuid == wanted_uuid
            ),
            None,
        )
        if wanted_uuid == gpu.uuid or listed is not None:
            with session.driver.call(Call.UUID, gpu):
                target = gpu if listed is None else MigKey(gpu.uuid, listed)
                structs.put(handle, ctypes.c_void_p, session.handles.of(target))
            return
    raise device.StaleHandleError(f"no device {wanted_uuid}")


@export("nvmlDeviceGetHandleByPciBusId_v2", parameters=(Ref, Ref))
def handle_by_pci_bus_id(session: Session, bus_id: int | None, handle: int | None) -> None:
    """nvmlDeviceGetHandleByPciBusId_v2, with a domain of eight digits."""
    wanted_bus_id = ctypes.string_at(structs.pointing(bus_id)).decode().upper()
    gpu = next(
        (candidate for candidate in session.driver.by_index() if pci_bus_id(candidate.index) == wanted_bus_id), None
    )
    if gpu is None:
        raise device.StaleHandleError(f"no GPU at {wanted_bus_id}")
    with session.driver.call(Call.HANDLE, gpu):
        structs.put(handle, ctypes.c_void_p, session.handles.of(gpu))


@export("nvmlDeviceGetTotalEnergyConsumption", parameters=(Handle, Ref))
def energy(session: Session, handle: int | None, energy_mj: int | None) -> None:
    """nvmlDeviceGetTotalEnergyConsumption."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.ENERGY, gpu):
        structs.put(energy_mj, ctypes.c_ulonglong, gpu.energy_mj())


@export("nvmlDeviceGetName", parameters=(Handle, Ref, Number))
def name(session: Session, handle: int | None, text: int | None, size: int) -> None:
    """nvmlDeviceGetName: a MIG device's is its GPU's with the profile."""
    gpu, mig = session.handles.any_device(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        profile = "" if mig is None else f" MIG {gpu.instance(mig.gi_id).profile}"
        structs.put_text(text, size, gpu.product + profile)


@export("nvmlDeviceGetUUID", parameters=(Handle, Ref, Number))
def uuid_of(session: Session, handle: int | None, text: int | None, size: int) -> None:
    """nvmlDeviceGetUUID."""
    gpu, mig = session.handles.any_device(handle)
    with session.driver.call(Call.UUID, gpu):
        structs.put_text(text, size, gpu.uuid if mig is None else mig.mig_uuid)


@export("nvmlDeviceGetMinorNumber", parameters=(Handle, Ref))
def minor_number(session: Session, handle: int | None, number: int | None) -> None:
    """nvmlDeviceGetMinorNumber."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        structs.put(number, ctypes.c_uint, gpu.minor)


@export("nvmlDeviceGetIndex", parameters=(Handle, Ref))
def index_of(session: Session, handle: int | None, number: int | None) -> None:
    """nvmlDeviceGetIndex: of a MIG device, its index on its GPU."""
    gpu, mig = session.handles.any_device(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        index = gpu.index if mig is None else session.driver.mig_devices(gpu).index(mig)
        structs.put(number, ctypes.c_uint, index)


@export("nvmlDeviceGetBrand", parameters=(Handle, Ref))
def brand(session: Session, handle: int | None, number: int | None) -> None:
    """nvmlDeviceGetBrand."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        structs.put(number, ctypes.c_uint, gpu.brand)


@export("nvmlDeviceGetComputeMode", parameters=(Handle, Ref))
def compute_mode(session: Session, handle: int | None, number: int | None) -> None:
    """nvmlDeviceGetComputeMode."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        structs.put(number, ctypes.c_uint, gpu.compute_mode)


@export("nvmlDeviceGetPciInfo_v3", parameters=(Handle, Ref))
def pci_info(session: Session, handle: int | None, info: int | None) -> None:
    """nvmlDeviceGetPciInfo_v3."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        filled = structs.PciInfo.from_address(structs.pointing(info))
        bus_id = pci_bus_id(gpu.index)
        filled.busId, filled.busIdLegacy = bus_id.encode(), bus_id[4:].encode()
        filled.domain, filled.bus, filled.device = 0, int(bus_id[9:11], 16), 0
        filled.pciDeviceId = gpu.board.pci_device_id


@export("nvmlDeviceGetMemoryInfo", parameters=(Handle, Ref))
def memory_info(session: Session, handle: int | None, info: int | None) -> None:
    """nvmlDeviceGetMemoryInfo: a MIG device's memory is its GPU instance's."""
    gpu, mig = session.handles.any_device(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        filled = structs.MemoryInfo.from_address(structs.pointing(info))
        total = gpu.board.memory_mib if mig is None else gpu.memory_mib(mig.gi_id)
        used = [p for p in gpu.users.processes.values() if mig is None or p.gi_id == mig.gi_id]
        filled.total, filled.used = total * _MIB, sum(p.memory_mib or 0 for p in used) * _MIB
        filled.free = filled.total - filled.used


@export("nvmlDeviceGetUtilizationRates", parameters=(Handle, Ref))
def utilization(session: Session, handle: int | None, rates: int | None) -> None:
    """nvmlDeviceGetUtilizationRates: not supported with MIG on."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        if gpu.mode.current:
            raise device.NotSupportedError("no utilization with MIG mode on")
        filled = structs.Utilization.from_address(structs.pointing(rates))
        filled.gpu, filled.memory = (100, 50) if gpu.users.processes else (0, 0)


@export("nvmlDeviceGetVirtualizationMode", parameters=(Handle, Ref))
def virtualization_mode(session: Session, handle: int | None, mode: int | None) -> None:
    """nvmlDeviceGetVirtualizationMode."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        structs.put(mode, ctypes.c_uint, int(session.driver.virtualization))


@export("nvmlDeviceGetFieldValues", parameters=(Handle, Number, Ref))
def field_values(session: Session, handle: int | None, number: int, values: int | None) -> None:
    """nvmlDeviceGetFieldValues: of the two fields about MIG; NOT_SUPPORTED for each other one."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.DESCRIBE, gpu):
        for filled in (structs.FieldValue * number).from_address(structs.pointing(values)):
            is_answered = filled.fieldId in (RESETLESS_MIG, INDEPENDENT_QUERIES)
            filled.nvmlReturn = 0 if is_answered else device.NotSupportedError.code
            filled.valueType = _UNSIGNED_INT
            filled.uiVal = int(is_answered and not gpu.board.toggle_needs_reset)


@export("nvmlDeviceGetMigMode", parameters=(Handle, Ref, Ref))
def get_mig_mode(session: Session, handle: int | None, current: int | None, pending: int | None) -> None:
    """nvmlDeviceGetMigMode."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.GET_MODE, gpu):
        structs.put(current, ctypes.c_uint, int(gpu.mode.current))
        structs.put(pending, ctypes.c_uint, int(gpu.mode.pending))


@export("nvmlDeviceSetMigMode", parameters=(Handle, Number, Ref))
def set_mig_mode(session: Session, handle: int | None, mode: int, status: int | None) -> None:
    """nvmlDeviceSetMigMode: succeeds also when the mode only becomes pending, and says so in the status."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.SET_MODE, gpu, Privilege.ADMIN):
        not_virtual(session, gpu)
        if mode not in (0, 1):
            raise device.InvalidArgumentError(f"no MIG mode {mode}")
        structs.put(status, ctypes.c_uint, gpu.set_mode(bool(mode)))


def not_virtual(session: Session, gpu: SimulatedGpu) -> None:
    """Raises NotSupportedError where a host decides about MIG."""
    if session.driver.virtualization >= Virtualization.VGPU:
        raise device.NotSupportedError(f"GPU {gpu.uuid}: a virtual GPU")
