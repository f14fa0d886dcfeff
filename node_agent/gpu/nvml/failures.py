"""Failures: NVML's return codes as the port's errors. Used by driver, and by nothing else."""

from node_agent.gpu import device

_LIBRARY_NOT_FOUND = 12
_ARGUMENT_VERSION_MISMATCH = 25  # the struct is newer than the driver

_CLASSES: tuple[type[device.DeviceError], ...] = (
    device.UninitializedError,
    device.InvalidArgumentError,
    device.NotSupportedError,
    device.NoPermissionError,
    device.StaleHandleError,
    device.DriverNotLoadedError,
    device.MissingFunctionError,
    device.GpuLostError,
    device.ResetRequiredError,
    device.DriverMismatchError,
    device.DeviceBusyError,
    device.NoRoomError,
)
_BY_CODE: dict[int, type[device.DeviceError]] = {
    **{error.code: error for error in _CLASSES},
    _LIBRARY_NOT_FOUND: device.DriverNotLoadedError,
    _ARGUMENT_VERSION_MISMATCH: device.MissingFunctionError,
}


def translated(code: int, function: str) -> device.DeviceError:
    """The port's error for a return code. A code of no class of its own gives a plain DeviceError that names it."""
    error = _BY_CODE.get(code, device.DeviceError)
    hint = (error.__doc__ or "").split("\n", 1)[0]
    return error(f"{function} answered {code}: {hint}")
