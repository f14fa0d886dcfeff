"""NVML's C structures, written down from nvml.h independently of pynvml: so that the two check each other.

Used by the call modules to read and fill what the caller's pointers point to.
"""

import ctypes

from node_agent.gpu import device

NAME_SIZE = 96
UUID_SIZE = 96


class GpuInstancePlacement(ctypes.Structure):
    """nvmlGpuInstancePlacement_t and nvmlComputeInstancePlacement_t."""

    _fields_ = [("start", ctypes.c_uint), ("size", ctypes.c_uint)]


_PROFILE_COUNTS = [
    ("sliceCount", ctypes.c_uint),
    ("instanceCount", ctypes.c_uint),
    ("multiprocessorCount", ctypes.c_uint),
    ("copyEngineCount", ctypes.c_uint),
    ("decoderCount", ctypes.c_uint),
    ("encoderCount", ctypes.c_uint),
    ("jpegCount", ctypes.c_uint),
    ("ofaCount", ctypes.c_uint),
]


class GpuInstanceProfileInfo(ctypes.Structure):
    """nvmlGpuInstanceProfileInfo_t."""

    _fields_ = [
        ("id", ctypes.c_uint),
        ("isP2pSupported", ctypes.c_uint),
        *_PROFILE_COUNTS,
        ("memorySizeMB", ctypes.c_ulonglong),
    ]


class GpuInstanceProfileInfoV2(ctypes.Structure):
    """nvmlGpuInstanceProfileInfo_v2_t."""

    VERSION = 0x02000098
    _fields_ = [
        ("version", ctypes.c_uint),
        ("id", ctypes.c_uint),
        ("isP2pSupported", ctypes.c_uint),
        *_PROFILE_COUNTS,
        ("memorySizeMB", ctypes.c_ulonglong),
        ("name", ctypes.c_char * NAME_SIZE),
    ]


class GpuInstanceProfileInfoV3(ctypes.Structure):
    """nvmlGpuInstanceProfileInfo_v3_t: `capabilities` in place of `isP2pSupported`."""

    VERSION = 0x03000098
    _fields_ = [
        ("version", ctypes.c_uint),
        ("id", ctypes.c_uint),
        *_PROFILE_COUNTS,
        ("memorySizeMB", ctypes.c_ulonglong),
        ("name", ctypes.c_char * NAME_SIZE),
        ("capabilities", ctypes.c_uint),
    ]


class GpuInstanceInfo(ctypes.Structure):
    """nvmlGpuInstanceInfo_t."""

    _fields_ = [
        ("device", ctypes.c_void_p),
        ("id", ctypes.c_uint),
        ("profileId", ctypes.c_uint),
        ("placement", GpuInstancePlacement),
    ]


_SHARED_COUNTS = [
    ("sharedCopyEngineCount", ctypes.c_uint),
    ("sharedDecoderCount", ctypes.c_uint),
    ("sharedEncoderCount", ctypes.c_uint),
    ("sharedJpegCount", ctypes.c_uint),
    ("sharedOfaCount", ctypes.c_uint),
]
_COMPUTE_COUNTS = [
    ("id", ctypes.c_uint),
    ("sliceCount", ctypes.c_uint),
    ("instanceCount", ctypes.c_uint),
    ("multiprocessorCount", ctypes.c_uint),
    *_SHARED_COUNTS,
]


class ComputeInstanceProfileInfo(ctypes.Structure):
    """nvmlComputeInstanceProfileInfo_t."""

    _fields_ = _COMPUTE_COUNTS


class ComputeInstanceProfileInfoV2(ctypes.Structure):
    """nvmlComputeInstanceProfileInfo_v2_t."""

    VERSION = 0x02000088
    _fields_ = [("version", ctypes.c_uint), *_COMPUTE_COUNTS, ("name", ctypes.c_char * NAME_SIZE)]


class ComputeInstanceInfo(ctypes.Structure):
    """nvmlComputeInstanceInfo_t."""

    _fields_ = [
        ("device", ctypes.c_void_p),
        ("gpuInstance", ctypes.c_void_p),
        ("id", ctypes.c_uint),
        ("profileId", ctypes.c_uint),
        ("placement", GpuInstancePlacement),
    ]


class DeviceAttributes(ctypes.Structure):
    """nvmlDeviceAttributes_t."""

    _fields_ = [
        ("multiprocessorCount", ctypes.c_uint),
        *_SHARED_COUNTS,
        ("gpuInstanceSliceCount", ctypes.c_uint),
        ("computeInstanceSliceCount", ctypes.c_uint),
        ("memorySizeMB", ctypes.c_ulonglong),
    ]


class PciInfo(ctypes.Structure):
    """nvmlPciInfo_t."""

    _fields_ = [
        ("busIdLegacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pciDeviceId", ctypes.c_uint),
        ("pciSubSystemId", ctypes.c_uint),
        ("busId", ctypes.c_char * 32),
    ]


class MemoryInfo(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Utilization(ctypes.Structure):
    """nvmlUtilization_t, in percent."""

    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class ProcessInfo(ctypes.Structure):
    """nvmlProcessInfo_t of the _v2 and _v3 calls, memory in bytes."""

    _fields_ = [
        ("pid", ctypes.c_uint),
        ("usedGpuMemory", ctypes.c_ulonglong),
        ("gpuInstanceId", ctypes.c_uint),
        ("computeInstanceId", ctypes.c_uint),
    ]


class EventData(ctypes.Structure):
    """nvmlEventData_t."""

    _fields_ = [
        ("device", ctypes.c_void_p),
        ("eventType", ctypes.c_ulonglong),
        ("eventData", ctypes.c_ulonglong),
        ("gpuInstanceId", ctypes.c_uint),
        ("computeInstanceId", ctypes.c_uint),
    ]


class FieldValue(ctypes.Structure):
    """nvmlFieldValue_t; of its union only the unsigned int is used here."""

    _fields_ = [
        ("fieldId", ctypes.c_uint),
        ("scopeId", ctypes.c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latencyUsec", ctypes.c_longlong),
        ("valueType", ctypes.c_uint),
        ("nvmlReturn", ctypes.c_uint),
        ("uiVal", ctypes.c_uint),
        ("_rest", ctypes.c_uint),
    ]


def put(
    address: int | None, kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong] | type[ctypes.c_void_p], value: int
) -> None:
    """Store a number where an output pointer points. Raises InvalidArgumentError for NULL."""
    kind.from_address(pointing(address)).value = value


def put_text(address: int | None, size: int, text: str) -> None:
    """Store a C string in a buffer of a size. Raises InsufficientSizeError if it does not fit."""
    raw = text.encode() + b"\0"
    if len(raw) > size:
        raise InsufficientSizeError(f"{text!r} needs {len(raw)} bytes, the buffer has {size}")
    ctypes.memmove(pointing(address), raw, len(raw))


def pointing(address: int | None) -> int:
    """The address of an output pointer. Raises InvalidArgumentError for NULL."""
    if not address:
        raise device.InvalidArgumentError("a NULL pointer")
    return address


class InsufficientSizeError(device.DeviceError):
    """The caller's buffer is too small (NVML_ERROR_INSUFFICIENT_SIZE)."""

    code = 7


class TimeoutExpiredError(device.DeviceError):
    """No event came in time (NVML_ERROR_TIMEOUT)."""

    code = 10


class VersionMismatchError(device.DeviceError):
    """The struct's version is not known to this driver (NVML_ERROR_ARGUMENT_VERSION_MISMATCH)."""

    code = 25
