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
from tests.unit.node_agent.agent_on_node import OPTIONS, AgentOnNode


def _events(node: AgentOnNode) -> list[tuple[str, str]]:
    outcome = node.outcome
    assert outcome is not None
    return [(event.pod, event.reason) for event in outcome.events]


def test_warm_slices_stay_until_their_room_is_wanted(node: AgentOnNode) -> None:
    """An idle slice that is not in the way of a new one is left alone, one that is goes."""
    for start in (0, 4):
        pod = node.bind(f"p{start}", "1g.5gb", at=(node.place("1g.5gb", start),))
        node.step()
        node.end(pod, gone=True)
    node.bind("big", "3g.20gb", at=(node.place("3g.20gb", 4),))
    node.step()
    assert node.instances() == ["1g.5gb@0", "3g.20gb@4"]


def test_a_warm_slice_is_used_again(node: AgentOnNode) -> None:
    """A pod promised the place of a warm slice gets that very slice."""
    first = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    made = node.driver.find(node.gpus[0]).serial(node.driver.find(node.gpus[0]).instances()[0].gi_id)
    node.end(first, gone=True)
    second = node.bind("b", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(second)
    there = node.instance(node.place("1g.5gb", 0))
    assert there is not None
    assert node.driver.find(node.gpus[0]).serial(there.gi_id) == made


def test_a_plus_me_slice_displaces_an_idle_one_that_it_does_not_overlap(node: AgentOnNode) -> None:
    """Where a limit of the GPU and no overlap is in the way, an idle slice that uses it up goes."""
    first = node.bind("a", "1g.5gb+me", at=(node.place("1g.5gb+me", 0),))
    node.step()
    node.end(first, gone=True)
    node.bind("b", "1g.5gb+me", at=(node.place("1g.5gb+me", 6),))
    node.step()
    assert node.instances() == ["1g.5gb+me@6"]


def test_two_pods_promised_one_place_both_run_if_there_is_room(node: AgentOnNode) -> None:
    """The first has the place, the second is steered to a free one, and nobody is told of a failure."""
    place = node.place("1g.5gb", 3)
    first, second = node.bind("a", "1g.5gb", at=(place,)), node.bind("b", "1g.5gb", at=(place,))
    node.step()
    assert node.admit(first)
    assert node.admit(second)
    node.step()
    assert {p.placement.start for pod in (first, second) for p in node.places_of(pod)} >= {3}
    assert [event for event in _events(node) if event[1] == "SliceFailed"] == []


def test_a_pod_whose_slice_another_one_got_inherits_the_others_place(node: AgentOnNode) -> None:
    """The kubelet asks in its own order: room promised to two pods is kept until both have a slice."""
    first = node.bind("a", "3g.20gb", at=(node.place("3g.20gb", 0),))
    second = node.bind("b", "3g.20gb", at=(node.place("3g.20gb", 4),))
    node.step()
    node.admit(second)
    node.step()
    assert [place.placement.start for place in node.places_of(second)] == [0]
    third = node.bind("c", "1g.5gb")
    with pytest.raises(AllocationError, match="in the way"):
        node.admit(third)
    assert node.admit(first)
    assert [place.placement.start for place in node.places_of(first)] == [4]


def test_a_pod_of_whose_slices_another_got_one_gets_one_of_the_others(node: AgentOnNode) -> None:
    """What is missing of a pod's promises is taken from other promises of the profile, not from unpromised room."""
    pair = node.bind("pair", "1g.5gb", "1g.5gb", at=(node.place("1g.5gb", 4), node.place("1g.5gb", 5)))
    other = node.bind("other", "1g.5gb", at=(node.place("1g.5gb", 6),))
    node.step()
    first = device_ids.device_id(node.place("1g.5gb", 4))
    node.allocation.allocate("nvidia.com/mig-1g.5gb", [first])
    node.pods[other.uid].devices["main", "nvidia.com/mig-1g.5gb"] = (first,)
    assert node.admit(pair)
    assert sorted(place.placement.start for place in node.places_of(pair)) == [5, 6]


def test_a_promise_in_the_way_of_which_a_pod_is_going_is_preferred_to_any_place(node: AgentOnNode) -> None:
    """Where there is no room yet, the kubelet is sent to the promised place, where an Allocate may wait for it."""
    old = node.bind("old", "7g.40gb", at=(node.place("7g.40gb", 0),))
    node.step()
    node.admit(old)
    node.step()
    node.bind("new", "2g.10gb", at=(node.place("2g.10gb", 4),))
    node.hear()
    (chosen,) = node.choose("nvidia.com/mig-2g.10gb", 1)
    assert chosen == device_ids.device_id(node.place("2g.10gb", 4))
    with pytest.raises(AllocationError) as stays:
        node.allocation.allocate("nvidia.com/mig-2g.10gb", [chosen])
    assert not stays.value.retryable
    node.end(old, gone=True)
    node.hear()
    with pytest.raises(AllocationError) as goes:
        node.allocation.allocate("nvidia.com/mig-2g.10gb", [chosen])
    assert goes.value.retryable


def test_without_room_the_second_of_two_is_told(node: AgentOnNode) -> None:
    """Where nothing is left for it, the pod that came second hears what is in the way."""
    place = node.place("7g.40gb", 0)
    node.bind("a", "7g.40gb", at=(place,))
    node.bind("b", "7g.40gb", at=(place,))
    node.step()
    assert _events(node) == [("b", "SliceFailed")]


def test_a_pod_that_came_past_the_scheduler_does_not_take_promised_room(node: AgentOnNode) -> None:
    """Its slice goes where no promise is; where promises leave none, Allocate refuses it."""
    at = (node.place("3g.20gb", 0), node.place("3g.20gb", 4))
    node.bind("a", "3g.20gb", "3g.20gb", at=at)
    stranger = node.bind("x", "7g.40gb")
    node.step()
    with pytest.raises(AllocationError, match="promised to another pod"):
        node.admit(stranger)


def test_the_room_of_a_pod_that_is_over_is_worth_waiting_for(node: AgentOnNode) -> None:
    """Allocate says that it may succeed in a moment where only an ended pod's slice is in the way."""
    old = node.bind("old", "7g.40gb", at=(node.place("7g.40gb", 0),))
    node.step()
    node.admit(old)
    node.step()
    node.end(old, gone=True)
    node.hear()
    name = device_ids.device_id(node.place("1g.5gb", 0))
    with pytest.raises(AllocationError) as caught:
        node.allocation.allocate("nvidia.com/mig-1g.5gb", [name])
    assert caught.value.retryable
    node.step(10.0)
    assert node.allocation.allocate("nvidia.com/mig-1g.5gb", [name]).visible


def test_allocate_is_idempotent(node: AgentOnNode) -> None:
    """The same ids again, as for a container after an init container, give the same slice and change nothing."""
    node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 2),))
    node.step()
    name = device_ids.device_id(node.place("1g.5gb", 2))
    first = node.allocation.allocate("nvidia.com/mig-1g.5gb", [name])
    assert node.allocation.allocate("nvidia.com/mig-1g.5gb", [name]) == first
    assert node.instances() == ["1g.5gb@2"]


def test_an_init_containers_slice_is_part_of_the_containers_set(node: AgentOnNode) -> None:
    """Ids handed on are preferred first and joined by the pod's other promises under one CDI name."""
    at = (node.place("1g.5gb", 0), node.place("1g.5gb", 5))
    node.bind("other", "1g.5gb", at=(node.place("1g.5gb", 1),))
    node.bind("a", "1g.5gb", "1g.5gb", at=at)
    node.step()
    first = device_ids.device_id(at[0])
    node.allocation.allocate("nvidia.com/mig-1g.5gb", [first])
    offered = list(node.allocation.offers()["nvidia.com/mig-1g.5gb"])
    chosen = node.allocation.prefer("nvidia.com/mig-1g.5gb", offered, [first], 2)
    assert chosen == [device_ids.device_id(place) for place in at]
    edits = node.allocation.allocate("nvidia.com/mig-1g.5gb", chosen)
    assert len(edits.visible) == 2
    assert node.specs.names() == {first, device_ids.set_name(chosen)}


def test_a_slice_still_in_use_is_not_given_to_the_next_pod(node: AgentOnNode) -> None:
    """While the old pod's process runs, Allocate of its id asks to try again, and names the process."""
    old = node.bind("old", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(old)
    node.run(old)
    node.end(old, phase_only=True)
    with pytest.raises(AllocationError, match="used by process 101") as caught:
        node.allocation.allocate("nvidia.com/mig-1g.5gb", [device_ids.device_id(node.place("1g.5gb", 0))])
    assert caught.value.retryable


def test_a_leak_is_named_and_kept(node: AgentOnNode) -> None:
    """A process that outlives its pod keeps the slice, which the outcome names with pod and pid."""
    pod = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(pod)
    node.run(pod)
    node.step()
    node.end(pod, phase_only=True)
    outcome = node.step(10.0)
    (leak,) = outcome.leaks
    assert "default/a" in leak
    assert "process 101" in leak
    assert outcome.report.gpus[0].slices[0].state is SliceState.ALLOCATED


@pytest.mark.parametrize("missing", ["api_up", "kubelet_up"])
def test_nothing_is_freed_on_half_the_truth(node: AgentOnNode, missing: str) -> None:
    """Without the API server or without PodResources no slice of an ended pod is taken back."""
    pod = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(pod)
    node.step()
    setattr(node, missing, False)
    node.end(pod, gone=True)
    node.step(10.0)
    assert node.journal.records[node.place("1g.5gb", 0)].state is RecordState.ALLOCATED
    setattr(node, missing, True)
    node.step(10.0)
    assert node.journal.records[node.place("1g.5gb", 0)].state is RecordState.IDLE


def test_an_init_containers_slice_is_not_freed_while_its_pod_lives(node: AgentOnNode) -> None:
    """PodResources never lists ordinary init containers; their slice stays until the pod is over."""
    pod = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),), listed=False)
    node.step()
    node.admit(pod)
    node.step(1000.0)
    assert node.journal.records[node.place("1g.5gb", 0)].state is RecordState.ALLOCATED
    node.end(pod)
    node.step(10.0)
    assert node.journal.records[node.place("1g.5gb", 0)].state is RecordState.IDLE


def test_a_pod_of_the_same_name_does_not_inherit(node: AgentOnNode) -> None:
    """While the kubelet lists the id under a name, the slice stays with the pod that had it, not with its successor."""
    old = node.bind("web-0", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(old)
    node.step()
    young = replace(old, uid="uid-young", created="9", promises=())
    node.pods["uid-young"] = replace(node.pods[old.uid], view=young)
    del node.pods[old.uid]
    outcome = node.step()
    owner = outcome.report.gpus[0].slices[0].owner
    assert owner is not None
    assert owner.uid == old.uid


def test_a_slice_the_driver_will_not_destroy_is_not_called_idle(node: AgentOnNode) -> None:
    """After IN_USE the slice is reported as taken, its room is not promised again, and it is tried later."""
    old = node.bind("old", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.end(old, gone=True)
    node.driver.faults.fail(Call.DESTROY_GPU_INSTANCE, DeviceBusyError)
    node.driver.faults.fail(Call.DESTROY_COMPUTE_INSTANCE, DeviceBusyError)
    node.bind("big", "7g.40gb", at=(node.place("7g.40gb", 0),))
    outcome = node.step()
    assert outcome.report.gpus[0].slices[0].state is SliceState.ALLOCATED
    node.step(10.0)
    node.step(10.0)
    node.step(10.0)
    assert node.instances() == ["7g.40gb@0"]


def test_after_a_reboot_containers_get_their_slices_back(node: AgentOnNode) -> None:
    """The kubelet keeps ids over a reboot and asks for nothing: the slices stand again, their CDI names hold."""
    pod = node.bind("a", "2g.10gb", at=(node.place("2g.10gb", 2),))
    node.step()
    node.admit(pod)
    node.step()
    names = node.specs.names()
    node.reboot()
    node.step()
    assert node.instances() == ["2g.10gb@2"]
    assert node.specs.names() == names
    there = node.instance(node.place("2g.10gb", 2))
    assert there is not None
    assert (there.mig_uuid or "?") in next(node.specs.directory.glob("*.json")).read_text()


def test_what_somebody_else_cut_after_a_reboot_is_not_ours(node: AgentOnNode) -> None:
    """A slice cut by another at boot, at the very place of ours, is foreign: it stays, and the pod is told."""
    pod = node.bind("a", "2g.10gb", at=(node.place("2g.10gb", 2),))
    node.step()
    node.admit(pod)
    node.step()
    node.reboot(start=False)
    made = node.foreign("2g.10gb", 2)
    serial = node.driver.find(node.gpus[0]).serial(made.gi_id)
    node.restart()
    outcome = node.step(10.0)
    assert [slice_.state for slice_ in outcome.report.gpus[0].slices] == [SliceState.FOREIGN]
    assert _events(node) == [("a", "SliceFailed")]
    node.end(pod, gone=True)
    node.bind("big", "7g.40gb", at=(node.place("7g.40gb", 0),))
    node.step(10.0)
    node.step(10.0)
    assert node.driver.find(node.gpus[0]).serial(made.gi_id) == serial


def test_what_the_kubelet_lists_is_held_whatever_the_journal_says(node: AgentOnNode) -> None:
    """An idle slice that PodResources names a container of is that container's."""
    pod = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    place = node.place("1g.5gb", 0)
    node.pods[pod.uid].devices["main", "nvidia.com/mig-1g.5gb"] = (device_ids.device_id(place),)
    outcome = node.step()
    assert outcome.report.gpus[0].slices[0].state is SliceState.ALLOCATED
    assert node.specs.names() == {device_ids.device_id(place)}


def test_a_cut_that_ends_after_its_deadline_is_ours(node: AgentOnNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create that was called hung and then succeeded leaves a slice that is known, and not a foreign one."""
    create = node.devices.create

    def late(gpu: str, placement: Placement) -> GpuInstance:
        create(gpu, placement)
        raise DeadlineExceededError("still running")

    monkeypatch.setattr(node.devices, "create", late)
    node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    outcome = node.step()
    assert [slice_.state for slice_ in outcome.report.gpus[0].slices] == [SliceState.IDLE]


def test_a_process_on_an_idle_slice_is_never_put_at_risk(node: AgentOnNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is not even asked to destroy a slice on which somebody's process is seen."""
    old = node.bind("old", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.end(old, gone=True)
    there = node.instance(node.place("1g.5gb", 0))
    assert there is not None
    node.driver.find(node.gpus[0]).start_process(there.gi_id, 7)
    asked: list[int] = []

    def refuse(gpu: str, gi_id: int, placement: Placement) -> bool:
        asked.append(gi_id)
        raise DeviceBusyError(f"{gpu} {placement}")

    monkeypatch.setattr(node.devices, "destroy", refuse)
    node.bind("big", "7g.40gb", at=(node.place("7g.40gb", 0),))
    node.step()
    assert asked == []


def test_an_observer_changes_nothing(tmp_path: Path) -> None:
    """It reports what is there as foreign, cuts nothing and writes no journal."""
    node = AgentOnNode(tmp_path, options=replace(OPTIONS, observer=True))
    node.foreign("1g.5gb", 0)
    node.bind("a", "3g.20gb", at=(node.place("3g.20gb", 4),))
    outcome = node.step()
    assert [slice_.state for slice_ in outcome.report.gpus[0].slices] == [SliceState.FOREIGN]
    assert node.instances() == ["1g.5gb@0"]
    assert node.store.writes == 0


def test_a_fault_of_the_hardware_is_reported(node: AgentOnNode) -> None:
    """An XID that concerns the whole GPU makes it unhealthy, one of an application does not."""
    node.driver.xid(node.gpus[0], 31)
    node.state.on_events(node.devices.wait(0))
    assert node.step().report.gpus[0].healthy
    node.driver.xid(node.gpus[0], 79)
    node.state.on_events(node.devices.wait(0))
    (gpu,) = node.step().report.gpus
    assert not gpu.healthy
    assert "XID 79" in gpu.message


def test_slices_are_counted_and_joinable(node: AgentOnNode) -> None:
    """migsched_slice_info carries what dcgm-exporter is joined on, and the owner."""
    pod = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(pod)
    node.step()
    there = node.instance(node.place("1g.5gb", 0))
    assert there is not None
    labels = {"gpu_uuid": node.gpus[0], "gi": str(there.gi_id), "ci": "0", "mig_uuid": there.mig_uuid or ""}
    labels |= {"profile": "1g.5gb", "start": "0", "state": "allocated"}
    labels |= {"namespace": "default", "pod": "a", "container": "main"}
    assert node.metrics.registry.get_sample_value("migsched_slice_info", labels) == 1
    assert node.metrics.registry.get_sample_value("migsched_agent_time_to_slice_seconds_count") == 1


def test_the_table_of_a_slices_life_is_in_the_documentation() -> None:
    """docs/node-agent.md shows the transition table as the code has it."""
    text = (Path(__file__).parents[3] / "docs" / "node-agent.md").read_text(encoding="utf-8")
    assert states.table() in text


def test_an_event_the_table_lacks_changes_nothing() -> None:
    """A slice that is idle cannot be freed again."""
    with pytest.raises(SliceError, match="idle cannot take the event free"):
        states.after(RecordState.IDLE, SliceEvent.FREE)
