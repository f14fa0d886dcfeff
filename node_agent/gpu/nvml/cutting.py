"""Cutting: making and destroying one slice, each as a whole or not at all. Used by devices, in the GPU's lane."""

from contextlib import suppress

from allocator.mig.profile import Placement, Profile
from node_agent.gpu import device
from node_agent.gpu.nvml.driver import Driver, Handle
from node_agent.gpu.nvml.instances import Instances
from node_agent.gpu.nvml.lane import Ticket


def create(
    driver: Driver, handle: Handle, inventory: Instances, profile: Profile, placement: Placement, ticket: Ticket
) -> device.GpuInstance:
    """Cut a slice at a placement: the slice as read back.

    What was made is destroyed again when a later step fails or the caller has given up before it. The first error is
    raised; if even destroying failed, it carries a note that says what is left over.
    """
    instance = driver.create_gpu_instance(handle, profile.profile_id, placement.start, placement.size)
    try:
        return _complete(driver, inventory, profile, placement, instance, ticket)
    except device.DeviceError as error:
        try:
            _tear_down(driver, inventory, profile.profile_id, instance)
        except device.DeviceError as left:
            error.add_note(f"and what was made could not be destroyed: {left}")
        raise


def _complete(
    driver: Driver, inventory: Instances, profile: Profile, placement: Placement, instance: Handle, ticket: Ticket
) -> device.GpuInstance:
    """Check that the GPU instance is what was asked for, and give it its compute instance."""
    ticket.check()
    info = driver.gpu_instance_info(instance)
    if (info.profile_id, info.start, info.size) != (profile.profile_id, placement.start, placement.size):
        raise device.DeviceError(f"asked for {placement}, got profile {info.profile_id} at {info.start}:{info.size}")
    driver.create_compute_instance(instance, inventory.full_compute_profile(profile, instance).profile_id)
    made = inventory.describe(profile, instance, inventory.mig_uuids())
    if made.mig_uuid is None:
        raise device.DeviceError(f"{placement} was cut as instance {made.gi_id}, but has no MIG UUID")
    return made


def destroy(
    driver: Driver, handle: Handle, inventory: Instances, profile: Profile, gi_id: int, placement: Placement
) -> bool:
    """Destroy the slice with an id if it still is the one at a placement: whether it was there.

    Raises StaleHandleError if the id names another placement by now, DeviceBusyError naming the processes.
    """
    try:
        instance = driver.gpu_instance(handle, gi_id)
        info = driver.gpu_instance_info(instance)
    except (device.StaleHandleError, device.InvalidArgumentError):
        return False
    if (info.profile_id, info.start, info.size) != (profile.profile_id, placement.start, placement.size):
        current = f"profile {info.profile_id} at {info.start}:{info.size}"
        raise device.StaleHandleError(f"instance {gi_id} is {current} now, not {placement}: left alone")
    try:
        _tear_down(driver, inventory, profile.profile_id, instance)
    except device.DeviceBusyError as error:
        pids = _pids(driver, handle, gi_id)
        error.add_note(f"processes in it: {', '.join(map(str, pids)) or 'none visible, so a client without one'}")
        raise
    return True


def _tear_down(driver: Driver, inventory: Instances, profile_id: int, instance: Handle) -> None:
    """Compute instances, then the GPU instance. One that is gone already is as good as destroyed."""
    for number, _ in inventory.compute_instances(profile_id, instance):
        with suppress(device.StaleHandleError, device.InvalidArgumentError):
            driver.destroy_compute_instance(number)
    with suppress(device.StaleHandleError, device.InvalidArgumentError):
        driver.destroy_gpu_instance(instance)


def _pids(driver: Driver, handle: Handle, gi_id: int) -> list[int]:
    with suppress(device.DeviceError):
        return [process.pid for process in processes(driver, handle, gi_id)]
    return []


def processes(driver: Driver, handle: Handle, gi_id: int) -> list[device.GpuProcess]:
    """The processes of a GPU instance, by pid.

    Asked of its MIG devices, because asked of the parent the driver hides the ids from the unprivileged.
    """
    processes_by_pid: dict[int, device.GpuProcess] = {}
    for gi, ci, mig in driver.mig_devices(handle):
        if gi == gi_id:
            with suppress(device.StaleHandleError, device.InvalidArgumentError):
                for process in driver.processes(mig):
                    processes_by_pid[process.pid] = device.GpuProcess(process.pid, process.memory_mib, gi, ci)
    return [processes_by_pid[pid] for pid in sorted(processes_by_pid)]
