"""What the port does to GPUs: cut, list, destroy, and refuse."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from allocator.mig.profile import Placement
from node_agent.gpu import device
from simulator.gpu.driver import SimulatedDriver, simulate
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.spans import Orientation
from simulator.gpu.users import DeviceUser
from tests.contract.devices.simulated_nodes import A30, A100, H100, RTX, Benches, SimulatedNodePort


@pytest.mark.parametrize("model", gpu_models.known())
def test_every_placement_is_cut_where_it_was_asked_for(benches: Benches, model: str) -> None:
    """Each legal placement of each known model is cut exactly there, whole, named, and can be destroyed again."""
    bench = benches.of(model)
    for placement in bench.gpu.catalogue.placements():
        made = bench.devices.create(bench.uuid, placement)
        assert made.placement == placement
        assert made.whole
        assert made.mig_uuid is not None
        assert made.mig_uuid.startswith("MIG-")
        assert bench.devices.instances(bench.uuid) == (made,)
        assert bench.devices.destroy(bench.uuid, made.gi_id, placement)
    assert bench.devices.instances(bench.uuid) == ()


@pytest.mark.parametrize("orientation", list(Orientation))
def test_ids_are_read_back_not_computed(benches: Benches, orientation: Orientation) -> None:
    """Whatever way the driver numbers instances, the port reports its number."""
    gpu = SimulatedGpu(gpu_models.find(A100), "GPU-0", orientation=orientation)
    bench = benches.on(SimulatedDriver([gpu]))
    made = bench.create("1g.5gb", 0)
    assert made.gi_id == {Orientation.NORMAL: 7, Orientation.HALVES_SWAPPED: 11}[orientation]


def test_a_full_gpu(bench: SimulatedNodePort) -> None:
    """4g and 3g fill a GPU, capacity falls to nothing, and MIG UUIDs are distinct."""
    made = [bench.create("4g.20gb", 0), bench.create("3g.20gb", 4)]
    assert sorted(bench.devices.instances(bench.uuid), key=lambda one: one.start) == made
    assert len({one.mig_uuid for one in made}) == 2
    assert not any(bench.devices.remaining(bench.uuid).values())


@pytest.mark.parametrize(("profile", "start"), [("1g.5gb", 1), ("3g.20gb", 0), ("7g.40gb", 0)])
def test_overlap_is_no_room(bench: SimulatedNodePort, profile: str, start: int) -> None:
    """A placement over a present slice is refused for want of room and changes nothing."""
    there = bench.create("2g.10gb", 0)
    with pytest.raises(device.NoRoomError):
        bench.create(profile, start)
    assert bench.devices.instances(bench.uuid) == (there,)


def test_profile_limit_is_no_room(bench: SimulatedNodePort) -> None:
    """A second +me slice is refused for want of room, wherever it is to lie."""
    bench.create("1g.5gb+me", 0)
    with pytest.raises(device.NoRoomError):
        bench.create("1g.5gb+me", 6)


def test_exhausted_engines_are_no_room(benches: Benches) -> None:
    """On an A30 a second profile that needs the one JPEG engine is refused for want of room."""
    bench = benches.of(A30)
    bench.create("1g.6gb+me", 0)
    with pytest.raises(device.NoRoomError):
        bench.create("2g.12gb+me", 2)


def test_all_engines_leave_room_only_for_slices_without(benches: Benches) -> None:
    """Beside a +me.all slice only slices without media engines fit."""
    bench = benches.of(RTX)
    bench.create("1g.24gb+me.all", 0)
    with pytest.raises(device.NoRoomError):
        bench.create("1g.24gb", 3)
    assert bench.create("1g.24gb-me", 3).whole


@pytest.mark.parametrize(
    "placement", [Placement("3g.20gb", 2, 4), Placement("3g.20gb", 0, 3), Placement("9g.99gb", 0, 8)], ids=str
)
def test_illegal_placement_is_an_invalid_argument(bench: SimulatedNodePort, placement: Placement) -> None:
    """A start, a size or a profile that the GPU does not have can never be cut, and nothing is left behind."""
    with pytest.raises(device.InvalidArgumentError):
        bench.devices.create(bench.uuid, placement)
    assert bench.devices.instances(bench.uuid) == ()


@pytest.mark.parametrize("model", [A100, H100])
def test_nothing_is_cut_with_mig_off(benches: Benches, model: str) -> None:
    """With MIG mode off a cut is not supported, on every generation."""
    bench = benches.of(model, mig=False)
    placement = next(bench.gpu.catalogue.placements())
    with pytest.raises(device.NotSupportedError):
        bench.devices.create(bench.uuid, placement)


def test_first_cut_on_a_gpu_in_use_as_a_whole_is_busy(bench: SimulatedNodePort) -> None:
    """The first instance of a GPU that somebody holds as a whole is refused as busy, a later one is made."""
    monitor = DeviceUser("dcgm")
    bench.gpu.hold(monitor)
    with pytest.raises(device.DeviceBusyError):
        bench.create("1g.5gb", 0)
    bench.gpu.release(monitor)
    bench.create("1g.5gb", 0)
    bench.gpu.hold(monitor)
    assert bench.create("1g.5gb", 1).whole


@pytest.mark.parametrize("call", [Call.CREATE_COMPUTE_INSTANCE, Call.CREATE_GPU_INSTANCE])
@pytest.mark.parametrize("error", [device.NoRoomError, device.DeviceBusyError, device.DeviceError])
def test_a_cut_that_fails_leaves_nothing(bench: SimulatedNodePort, call: Call, error: type[device.DeviceError]) -> None:
    """When either step of a cut fails, the error comes through, nothing is left, and the next try succeeds."""
    bench.driver.faults.fail(call, error)
    with pytest.raises(error):
        bench.create("3g.20gb", 4)
    assert bench.devices.instances(bench.uuid) == ()
    assert bench.create("3g.20gb", 4).whole


def test_a_cut_whose_compute_instance_was_made_in_spite_of_the_error(bench: SimulatedNodePort) -> None:
    """A compute instance that exists although its creation failed is destroyed with its GPU instance."""
    bench.driver.faults.fail(Call.CREATE_COMPUTE_INSTANCE, device.DeviceError, after=True)
    with pytest.raises(device.DeviceError):
        bench.create("2g.10gb", 2)
    assert bench.devices.instances(bench.uuid) == ()


def test_a_rollback_that_fails_shows_in_the_inventory(bench: SimulatedNodePort) -> None:
    """Where even the rollback fails, the half-made instance is listed, not whole, and can be destroyed later."""
    bench.driver.faults.fail(Call.CREATE_COMPUTE_INSTANCE, device.NoRoomError)
    bench.driver.faults.fail(Call.DESTROY_GPU_INSTANCE, device.DeviceBusyError)
    with pytest.raises(device.NoRoomError):
        bench.create("2g.10gb", 2)
    (left,) = bench.devices.instances(bench.uuid)
    assert not left.whole
    assert left.mig_uuid is None
    assert bench.devices.destroy(bench.uuid, left.gi_id, left.placement)


def test_destroying_twice_is_no_error(bench: SimulatedNodePort) -> None:
    """Destroying what is gone already answers False."""
    made = bench.create("1g.5gb", 3)
    assert bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    assert not bench.devices.destroy(bench.uuid, made.gi_id, made.placement)


def test_an_id_that_was_reused_is_not_destroyed(bench: SimulatedNodePort) -> None:
    """An id that names another profile at the same place by now is stale, and what has it stays."""
    first = bench.create("3g.20gb", 0)
    bench.devices.destroy(bench.uuid, first.gi_id, first.placement)
    second = bench.create("4g.20gb", 0)
    assert second.gi_id == first.gi_id
    with pytest.raises(device.StaleHandleError):
        bench.devices.destroy(bench.uuid, first.gi_id, first.placement)
    assert bench.devices.instances(bench.uuid) == (second,)


def test_a_used_slice_is_busy_until_its_process_ends(bench: SimulatedNodePort) -> None:
    """A slice with a process is not destroyed and stays whole; after the process it is."""
    made = bench.create("1g.5gb", 0)
    bench.gpu.start_process(made.gi_id, 4242, memory_mib=300)
    with pytest.raises(device.DeviceBusyError):
        bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    assert bench.devices.instances(bench.uuid) == (made,)
    assert bench.devices.processes(bench.uuid, made.gi_id) == (device.GpuProcess(4242, 300, made.gi_id, 0),)
    bench.gpu.end_process(4242)
    assert bench.devices.processes(bench.uuid, made.gi_id) == ()
    assert bench.devices.destroy(bench.uuid, made.gi_id, made.placement)


def test_a_hidden_holder_of_the_gpu_instance_leaves_it_half_destroyed(bench: SimulatedNodePort) -> None:
    """A holder without a process lets the compute instance go but not the GPU instance; trying again finishes it."""
    made = bench.create("2g.10gb", 4)
    holder = DeviceUser("dcgm-exporter", made.gi_id)
    bench.gpu.hold(holder)
    with pytest.raises(device.DeviceBusyError):
        bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    (left,) = bench.devices.instances(bench.uuid)
    assert (left.placement, left.compute_instances) == (made.placement, ())
    bench.gpu.release(holder)
    assert bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    assert bench.devices.instances(bench.uuid) == ()


def test_processes_of_a_missing_instance(bench: SimulatedNodePort) -> None:
    """The processes of an instance that does not exist are a stale handle."""
    with pytest.raises(device.StaleHandleError):
        bench.devices.processes(bench.uuid, 7)


def test_foreign_instances_are_listed_as_they_are(bench: SimulatedNodePort) -> None:
    """Instances made by others are listed, without a compute instance or with several, and none of them is whole."""
    empty = bench.gpu.create_gpu_instance(14, 0)
    split = bench.gpu.create_gpu_instance(9, 4)
    bench.gpu.create_compute_instance(split.gi_id, 0)
    bench.gpu.create_compute_instance(split.gi_id, 1)
    listed = {one.gi_id: one for one in bench.devices.instances(bench.uuid)}
    assert listed[empty.gi_id].compute_instances == ()
    parts = listed[split.gi_id].compute_instances
    assert [(part.ci_id, part.size) for part in parts] == [(0, 1), (1, 2)]
    assert len({part.mig_uuid for part in parts}) == 2
    assert not any(one.whole or one.mig_uuid for one in listed.values())
    assert bench.devices.destroy(bench.uuid, split.gi_id, split.placement)


def test_another_hand_at_the_same_gpu(bench: SimulatedNodePort) -> None:
    """Changes that others make are seen at the next look, and what they destroyed counts as gone."""
    made = bench.create("1g.5gb", 0)
    bench.gpu.destroy(made.gi_id)
    theirs = bench.gpu.create("2g.10gb", 2)
    assert bench.devices.instances(bench.uuid) == (theirs,)
    assert not bench.devices.destroy(bench.uuid, made.gi_id, made.placement)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("stale", [False, True])
def test_uuids_are_right_however_mig_devices_are_listed(benches: Benches, holes: bool, stale: bool) -> None:
    """MIG UUIDs belong to the right instances, with holes in the list of MIG devices and with gone ones still on it."""
    driver = SimulatedDriver([SimulatedGpu(gpu_models.find(A100), "GPU-0")], holes=holes, stale_listing=stale)
    bench = benches.on(driver)
    made = [bench.create("1g.5gb", start) for start in range(6)]
    for one in made[1::2]:
        bench.devices.destroy(bench.uuid, one.gi_id, one.placement)
    assert bench.devices.instances(bench.uuid) == tuple(sorted(made[0::2], key=lambda one: one.gi_id))


def test_the_same_place_again(benches: Benches) -> None:
    """The same place has the same ids again, and the MIG UUID that the driver gives it this time."""
    for changes in (False, True):
        gpu = SimulatedGpu(gpu_models.find(A100), "GPU-0", uuids_change=changes)
        bench = benches.on(SimulatedDriver([gpu]))
        first = bench.create("1g.5gb", 5)
        bench.devices.destroy(bench.uuid, first.gi_id, first.placement)
        second = bench.create("1g.5gb", 5)
        assert second.gi_id == first.gi_id
        assert (second.mig_uuid != first.mig_uuid) is changes


def test_two_cuts_at_once(bench: SimulatedNodePort) -> None:
    """Of two cuts of the same place at the same time exactly one is made."""
    outcomes: list[object] = []

    def cut() -> None:
        try:
            outcomes.append(bench.create("3g.20gb", 0))
        except device.NoRoomError as exc:
            outcomes.append(exc)

    bench.devices.discover()
    threads = [threading.Thread(target=cut, daemon=True) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(type(one).__name__ for one in outcomes) == ["GpuInstance", "NoRoomError"]
    assert len(bench.devices.instances(bench.uuid)) == 1


def test_a_slow_gpu_does_not_delay_another(bench: SimulatedNodePort) -> None:
    """While a cut on one GPU takes its time, the other GPU is cut."""
    first, second = (gpu.uuid for gpu in bench.driver.by_index())
    bench.devices.discover()
    gate = bench.driver.faults.hold(Call.CREATE_GPU_INSTANCE, gpu=first)

    def cut() -> None:
        with suppress(device.DeadlineExceededError):
            bench.devices.create(first, bench.place("1g.5gb", 0))

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    assert gate.reached.wait(10)
    assert bench.devices.create(second, bench.place("1g.5gb", 0)).whole
    gate.open()
    thread.join()


def test_device_nodes_are_the_driver_s(benches: Benches, tmp_path: Path) -> None:
    """The capability nodes of a slice have the minors that the driver's files tell, and none once it is gone."""
    driver = simulate(f"{A100}:4", root=tmp_path)
    bench = benches.on(driver)
    gpu = driver.by_index()[3]
    bench.devices.discover()
    made = bench.devices.create(gpu.uuid, gpu.catalogue.placement("2g.10gb", 0))
    assert made.gi_id == 3
    nodes = bench.devices.device_nodes(gpu.uuid, made.gi_id)
    assert [(one.path, one.minor, one.major) for one in nodes] == [
        ("/dev/nvidia-caps/nvidia-cap435", 435, 241),
        ("/dev/nvidia-caps/nvidia-cap436", 436, 241),
    ]
    bench.devices.destroy(gpu.uuid, made.gi_id, made.placement)
    with pytest.raises(device.StaleHandleError):
        bench.devices.device_nodes(gpu.uuid, made.gi_id)
