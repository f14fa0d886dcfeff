"""What one step decides: room, conflicts, ownership, reports, MIG mode."""

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims.report import SliceState
from allocator.mig.profile import Placement
from node_agent.allocation import AllocationError
from node_agent.gpu.device import DeadlineExceededError, DeviceBusyError, GpuInstance
from node_agent.slices import device_ids, states
from node_agent.slices.states import RecordState, SliceError, SliceEvent
from simulator.gpu.faults import Call
from tests.unit.node_agent.world import OPTIONS, World


def _events(world: World) -> list[tuple[str, str]]:
    outcome = world.outcome
    assert outcome is not None
    return [(one.pod, one.reason) for one in outcome.events]


def test_warm_slices_stay_until_their_room_is_wanted(world: World) -> None:
    """An idle slice that is not in the way of a new one is left alone, one that is goes."""
    for start in (0, 4):
        pod = world.bind(f"p{start}", "1g.5gb", at=(world.place("1g.5gb", start),))
        world.step()
        world.end(pod, gone=True)
    world.bind("big", "3g.20gb", at=(world.place("3g.20gb", 4),))
    world.step()
    assert world.instances() == ["1g.5gb@0", "3g.20gb@4"]


def test_a_warm_slice_is_used_again(world: World) -> None:
    """A pod promised the place of a warm slice gets that very slice."""
    first = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    made = world.driver.find(world.gpus[0]).serial(world.driver.find(world.gpus[0]).instances()[0].gi_id)
    world.end(first, gone=True)
    second = world.bind("b", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.admit(second)
    there = world.instance(world.place("1g.5gb", 0))
    assert there is not None
    assert world.driver.find(world.gpus[0]).serial(there.gi_id) == made


def test_a_plus_me_slice_displaces_an_idle_one_that_it_does_not_overlap(world: World) -> None:
    """Where a limit of the GPU and no overlap is in the way, an idle slice that uses it up goes."""
    first = world.bind("a", "1g.5gb+me", at=(world.place("1g.5gb+me", 0),))
    world.step()
    world.end(first, gone=True)
    world.bind("b", "1g.5gb+me", at=(world.place("1g.5gb+me", 6),))
    world.step()
    assert world.instances() == ["1g.5gb+me@6"]


def test_two_pods_promised_one_place_both_run_if_there_is_room(world: World) -> None:
    """The first has the place, the second is steered to a free one, and nobody is told of a failure."""
    place = world.place("1g.5gb", 3)
    first, second = world.bind("a", "1g.5gb", at=(place,)), world.bind("b", "1g.5gb", at=(place,))
    world.step()
    assert world.admit(first)
    assert world.admit(second)
    world.step()
    assert {p.placement.start for pod in (first, second) for p in world.places_of(pod)} >= {3}
    assert [one for one in _events(world) if one[1] == "SliceFailed"] == []


def test_a_pod_whose_slice_another_one_got_inherits_the_others_place(world: World) -> None:
    """The kubelet asks in its own order: room promised to two pods is kept until both have a slice."""
    first = world.bind("a", "3g.20gb", at=(world.place("3g.20gb", 0),))
    second = world.bind("b", "3g.20gb", at=(world.place("3g.20gb", 4),))
    world.step()
    world.admit(second)
    world.step()
    assert [one.placement.start for one in world.places_of(second)] == [0]
    third = world.bind("c", "1g.5gb")
    with pytest.raises(AllocationError, match="in the way"):
        world.admit(third)
    assert world.admit(first)
    assert [one.placement.start for one in world.places_of(first)] == [4]


def test_a_pod_of_whose_slices_another_got_one_gets_one_of_the_others(world: World) -> None:
    """What is missing of a pod's promises is taken from other promises of the profile, not from unpromised room."""
    pair = world.bind("pair", "1g.5gb", "1g.5gb", at=(world.place("1g.5gb", 4), world.place("1g.5gb", 5)))
    other = world.bind("other", "1g.5gb", at=(world.place("1g.5gb", 6),))
    world.step()
    first = device_ids.device_id(world.place("1g.5gb", 4))
    world.allocation.allocate("nvidia.com/mig-1g.5gb", [first])
    world.pods[other.uid].devices["main", "nvidia.com/mig-1g.5gb"] = (first,)
    assert world.admit(pair)
    assert sorted(one.placement.start for one in world.places_of(pair)) == [5, 6]


def test_a_promise_in_the_way_of_which_a_pod_is_going_is_preferred_to_any_place(world: World) -> None:
    """Where there is no room yet, the kubelet is sent to the promised place, where an Allocate may wait for it."""
    old = world.bind("old", "7g.40gb", at=(world.place("7g.40gb", 0),))
    world.step()
    world.admit(old)
    world.step()
    world.bind("new", "2g.10gb", at=(world.place("2g.10gb", 4),))
    world.hear()
    (chosen,) = world.choose("nvidia.com/mig-2g.10gb", 1)
    assert chosen == device_ids.device_id(world.place("2g.10gb", 4))
    with pytest.raises(AllocationError) as stays:
        world.allocation.allocate("nvidia.com/mig-2g.10gb", [chosen])
    assert not stays.value.retryable
    world.end(old, gone=True)
    world.hear()
    with pytest.raises(AllocationError) as goes:
        world.allocation.allocate("nvidia.com/mig-2g.10gb", [chosen])
    assert goes.value.retryable


def test_without_room_the_second_of_two_is_told(world: World) -> None:
    """Where nothing is left for it, the pod that came second hears what is in the way."""
    place = world.place("7g.40gb", 0)
    world.bind("a", "7g.40gb", at=(place,))
    world.bind("b", "7g.40gb", at=(place,))
    world.step()
    assert _events(world) == [("b", "SliceFailed")]


def test_a_pod_that_came_past_the_scheduler_does_not_take_promised_room(world: World) -> None:
    """Its slice goes where no promise is; where promises leave none, Allocate refuses it."""
    at = (world.place("3g.20gb", 0), world.place("3g.20gb", 4))
    world.bind("a", "3g.20gb", "3g.20gb", at=at)
    stranger = world.bind("x", "7g.40gb")
    world.step()
    with pytest.raises(AllocationError, match="promised to another pod"):
        world.admit(stranger)


def test_the_room_of_a_pod_that_is_over_is_worth_waiting_for(world: World) -> None:
    """Allocate says that it may succeed in a moment where only an ended pod's slice is in the way."""
    old = world.bind("old", "7g.40gb", at=(world.place("7g.40gb", 0),))
    world.step()
    world.admit(old)
    world.step()
    world.end(old, gone=True)
    world.hear()
    name = device_ids.device_id(world.place("1g.5gb", 0))
    with pytest.raises(AllocationError) as caught:
        world.allocation.allocate("nvidia.com/mig-1g.5gb", [name])
    assert caught.value.retryable
    world.step(10.0)
    assert world.allocation.allocate("nvidia.com/mig-1g.5gb", [name]).visible


def test_allocate_is_idempotent(world: World) -> None:
    """The same ids again, as for a container after an init container, give the same slice and change nothing."""
    world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 2),))
    world.step()
    name = device_ids.device_id(world.place("1g.5gb", 2))
    first = world.allocation.allocate("nvidia.com/mig-1g.5gb", [name])
    assert world.allocation.allocate("nvidia.com/mig-1g.5gb", [name]) == first
    assert world.instances() == ["1g.5gb@2"]


def test_an_init_containers_slice_is_part_of_the_containers_set(world: World) -> None:
    """Ids handed on are preferred first and joined by the pod's other promises under one CDI name."""
    at = (world.place("1g.5gb", 0), world.place("1g.5gb", 5))
    world.bind("other", "1g.5gb", at=(world.place("1g.5gb", 1),))
    world.bind("a", "1g.5gb", "1g.5gb", at=at)
    world.step()
    first = device_ids.device_id(at[0])
    world.allocation.allocate("nvidia.com/mig-1g.5gb", [first])
    offered = list(world.allocation.offers()["nvidia.com/mig-1g.5gb"])
    chosen = world.allocation.prefer("nvidia.com/mig-1g.5gb", offered, [first], 2)
    assert chosen == [device_ids.device_id(one) for one in at]
    edits = world.allocation.allocate("nvidia.com/mig-1g.5gb", chosen)
    assert len(edits.visible) == 2
    assert world.specs.names() == {first, device_ids.set_name(chosen)}


def test_a_slice_still_in_use_is_not_given_to_the_next_pod(world: World) -> None:
    """While the old pod's process runs, Allocate of its id asks to try again, and names the process."""
    old = world.bind("old", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.admit(old)
    world.run(old)
    world.end(old, phase_only=True)
    with pytest.raises(AllocationError, match="used by process 101") as caught:
        world.allocation.allocate("nvidia.com/mig-1g.5gb", [device_ids.device_id(world.place("1g.5gb", 0))])
    assert caught.value.retryable


def test_a_leak_is_named_and_kept(world: World) -> None:
    """A process that outlives its pod keeps the slice, which the outcome names with pod and pid."""
    pod = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.admit(pod)
    world.run(pod)
    world.step()
    world.end(pod, phase_only=True)
    outcome = world.step(10.0)
    (leak,) = outcome.leaks
    assert "default/a" in leak
    assert "process 101" in leak
    assert outcome.report.gpus[0].slices[0].state is SliceState.ALLOCATED


@pytest.mark.parametrize("missing", ["api_up", "kubelet_up"])
def test_nothing_is_freed_on_half_the_truth(world: World, missing: str) -> None:
    """Without the API server or without PodResources no slice of an ended pod is taken back."""
    pod = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.admit(pod)
    world.step()
    setattr(world, missing, False)
    world.end(pod, gone=True)
    world.step(10.0)
    assert world.journal.records[world.place("1g.5gb", 0)].state is RecordState.ALLOCATED
    setattr(world, missing, True)
    world.step(10.0)
    assert world.journal.records[world.place("1g.5gb", 0)].state is RecordState.IDLE


def test_an_init_containers_slice_is_not_freed_while_its_pod_lives(world: World) -> None:
    """PodResources never lists ordinary init containers; their slice stays until the pod is over."""
    pod = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),), listed=False)
    world.step()
    world.admit(pod)
    world.step(1000.0)
    assert world.journal.records[world.place("1g.5gb", 0)].state is RecordState.ALLOCATED
    world.end(pod)
    world.step(10.0)
    assert world.journal.records[world.place("1g.5gb", 0)].state is RecordState.IDLE


def test_a_pod_of_the_same_name_does_not_inherit(world: World) -> None:
    """While the kubelet lists the id under a name, the slice stays with the pod that had it, not with its successor."""
    old = world.bind("web-0", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.admit(old)
    world.step()
    young = replace(old, uid="uid-young", created="9", promises=())
    world.pods["uid-young"] = replace(world.pods[old.uid], view=young)
    del world.pods[old.uid]
    outcome = world.step()
    owner = outcome.report.gpus[0].slices[0].owner
    assert owner is not None
    assert owner.uid == old.uid


def test_a_slice_the_driver_will_not_destroy_is_not_called_idle(world: World) -> None:
    """After IN_USE the slice is reported as taken, its room is not promised again, and it is tried later."""
    old = world.bind("old", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.end(old, gone=True)
    world.driver.faults.fail(Call.DESTROY_GPU_INSTANCE, DeviceBusyError)
    world.driver.faults.fail(Call.DESTROY_COMPUTE_INSTANCE, DeviceBusyError)
    world.bind("big", "7g.40gb", at=(world.place("7g.40gb", 0),))
    outcome = world.step()
    assert outcome.report.gpus[0].slices[0].state is SliceState.ALLOCATED
    world.step(10.0)
    world.step(10.0)
    world.step(10.0)
    assert world.instances() == ["7g.40gb@0"]


def test_after_a_reboot_containers_get_their_slices_back(world: World) -> None:
    """The kubelet keeps ids over a reboot and asks for nothing: the slices stand again, their CDI names hold."""
    pod = world.bind("a", "2g.10gb", at=(world.place("2g.10gb", 2),))
    world.step()
    world.admit(pod)
    world.step()
    names = world.specs.names()
    world.reboot()
    world.step()
    assert world.instances() == ["2g.10gb@2"]
    assert world.specs.names() == names
    there = world.instance(world.place("2g.10gb", 2))
    assert there is not None
    assert (there.mig_uuid or "?") in next(world.specs.directory.glob("*.json")).read_text()


def test_what_somebody_else_cut_after_a_reboot_is_not_ours(world: World) -> None:
    """A slice cut by another at boot, at the very place of ours, is foreign: it stays, and the pod is told."""
    pod = world.bind("a", "2g.10gb", at=(world.place("2g.10gb", 2),))
    world.step()
    world.admit(pod)
    world.step()
    world.reboot(start=False)
    made = world.foreign("2g.10gb", 2)
    serial = world.driver.find(world.gpus[0]).serial(made.gi_id)
    world.restart()
    outcome = world.step(10.0)
    assert [one.state for one in outcome.report.gpus[0].slices] == [SliceState.FOREIGN]
    assert _events(world) == [("a", "SliceFailed")]
    world.end(pod, gone=True)
    world.bind("big", "7g.40gb", at=(world.place("7g.40gb", 0),))
    world.step(10.0)
    world.step(10.0)
    assert world.driver.find(world.gpus[0]).serial(made.gi_id) == serial


def test_what_the_kubelet_lists_is_held_whatever_the_journal_says(world: World) -> None:
    """An idle slice that PodResources names a container of is that container's."""
    pod = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    place = world.place("1g.5gb", 0)
    world.pods[pod.uid].devices["main", "nvidia.com/mig-1g.5gb"] = (device_ids.device_id(place),)
    outcome = world.step()
    assert outcome.report.gpus[0].slices[0].state is SliceState.ALLOCATED
    assert world.specs.names() == {device_ids.device_id(place)}


def test_a_cut_that_ends_after_its_deadline_is_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create that was called hung and then succeeded leaves a slice that is known, and not a foreign one."""
    create = world.devices.create

    def late(gpu: str, placement: Placement) -> GpuInstance:
        create(gpu, placement)
        raise DeadlineExceededError("still running")

    monkeypatch.setattr(world.devices, "create", late)
    world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    outcome = world.step()
    assert [one.state for one in outcome.report.gpus[0].slices] == [SliceState.IDLE]


def test_a_process_on_an_idle_slice_is_never_put_at_risk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is not even asked to destroy a slice on which somebody's process is seen."""
    old = world.bind("old", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.end(old, gone=True)
    there = world.instance(world.place("1g.5gb", 0))
    assert there is not None
    world.driver.find(world.gpus[0]).start_process(there.gi_id, 7)
    asked: list[int] = []

    def refuse(gpu: str, gi_id: int, placement: Placement) -> bool:
        asked.append(gi_id)
        raise DeviceBusyError(f"{gpu} {placement}")

    monkeypatch.setattr(world.devices, "destroy", refuse)
    world.bind("big", "7g.40gb", at=(world.place("7g.40gb", 0),))
    world.step()
    assert asked == []


def test_an_observer_changes_nothing(tmp_path: Path) -> None:
    """It reports what is there as foreign, cuts nothing and writes no journal."""
    world = World(tmp_path, options=replace(OPTIONS, observer=True))
    world.foreign("1g.5gb", 0)
    world.bind("a", "3g.20gb", at=(world.place("3g.20gb", 4),))
    outcome = world.step()
    assert [one.state for one in outcome.report.gpus[0].slices] == [SliceState.FOREIGN]
    assert world.instances() == ["1g.5gb@0"]
    assert world.store.writes == 0


def test_a_fault_of_the_hardware_is_reported(world: World) -> None:
    """An XID that concerns the whole GPU makes it unhealthy, one of an application does not."""
    world.driver.xid(world.gpus[0], 31)
    world.state.on_events(world.devices.wait(0))
    assert world.step().report.gpus[0].healthy
    world.driver.xid(world.gpus[0], 79)
    world.state.on_events(world.devices.wait(0))
    (gpu,) = world.step().report.gpus
    assert not gpu.healthy
    assert "XID 79" in gpu.message


def test_slices_are_counted_and_joinable(world: World) -> None:
    """migsched_slice_info carries what dcgm-exporter is joined on, and the owner."""
    pod = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 0),))
    world.step()
    world.admit(pod)
    world.step()
    there = world.instance(world.place("1g.5gb", 0))
    assert there is not None
    labels = {"gpu_uuid": world.gpus[0], "gi": str(there.gi_id), "ci": "0", "mig_uuid": there.mig_uuid or ""}
    labels |= {"profile": "1g.5gb", "state": "allocated", "namespace": "default", "pod": "a", "container": "main"}
    assert world.metrics.registry.get_sample_value("migsched_slice_info", labels) == 1


def test_the_table_of_a_slices_life_is_in_the_documentation() -> None:
    """docs/node-agent.md shows the transition table as the code has it."""
    text = (Path(__file__).parents[3] / "docs" / "node-agent.md").read_text(encoding="utf-8")
    assert states.table() in text


def test_an_event_the_table_lacks_changes_nothing() -> None:
    """A slice that is idle cannot be freed again."""
    with pytest.raises(SliceError, match="idle cannot take the event free"):
        states.after(RecordState.IDLE, SliceEvent.FREE)
