"""What becomes of pods on a node, whoever cuts their slices: the real agents, and the stand-ins of large fleets."""

import msgspec
import pytest

from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import MigMode
from simulator.cluster import api, nodes
from simulator.cluster.api import Document
from tests.contract.agents.conftest import FLEET, FOREIGN_GPU, GPU, NODE, OTHER_GPU, AgentsWorld
from tests.unit.simulator.cluster import memory_cluster
from tests.waiting import eventually

REFUSED = "UnexpectedAdmissionError"


def status(world: AgentsWorld, pod: str) -> Document:
    """A pod's status."""
    document: Document = world.server.get(api.POD, pod, "default").document["status"]
    return document


async def test_slices_are_cut_as_promised_and_reported(world: AgentsWorld) -> None:
    """A pod gets its slices exactly where its placement says; the report names it, and it is told so."""
    async with world.started() as agents:
        world.bound("p", NODE, (GPU, "3g.20gb", 4), (OTHER_GPU, "1g.5gb", 6))
        await world.until_phase("p", "Running")
        await world.reported((GPU, "3g.20gb@4", "allocated", "p/main"), (OTHER_GPU, "1g.5gb@6", "allocated", "p/main"))
        assert {gpu: list(map(str, places)) for gpu, places in agents.in_use().items() if places} == {
            GPU: ["3g.20gb@4"],
            OTHER_GPU: ["1g.5gb@6"],
        }
        assert agents.hardware() == agents.in_use()
        await eventually(lambda: world.told("p") == ["SliceReady", "SliceReady"], "both are told")
    assert set(world.conditions()) == {("Ready", "True", "Ready")}


async def test_report_can_be_read_by_the_scheduler(world: AgentsWorld) -> None:
    """A MigNode's status decodes into a report without a problem, its slices owned, its GPUs well."""
    async with world.started():
        uid = world.bound("p", NODE, (GPU, "1g.5gb+me", 2))
        await world.reported((GPU, "1g.5gb+me@2", "allocated", "p/main"))
    status_ = world.server.get(api.MIG_NODE, NODE).document["status"]
    report = contract.decode_status(msgspec.json.encode(status_), NODE)
    assert report.problem == ""
    assert [gpu.uuid for gpu in report.gpus] == [gpu.uuid for gpu in FLEET[0].gpus]
    assert all(gpu.healthy and not gpu.message and gpu.mig_mode is MigMode.ENABLED for gpu in report.gpus)
    (cut,) = report.by_uuid()[GPU].slices
    assert cut.owner is not None
    assert (cut.owner.uid, cut.owner.container) == (uid, "main")
    assert cut.mig_uuid.startswith("MIG-")


@pytest.mark.parametrize("end", ["deleted", "Succeeded", "Failed"])
async def test_slices_of_ended_pods_stay_until_their_room_is_wanted(world: AgentsWorld, end: str) -> None:
    """They turn idle; the same place is used again as it is, and a larger slice replaces them."""
    async with world.started() as agents:
        world.bound("p", NODE, (GPU, "1g.5gb", 0), (GPU, "1g.5gb", 1))
        await world.reported((GPU, "1g.5gb@0", "allocated", "p/main"), (GPU, "1g.5gb@1", "allocated", "p/main"))
        await world.until_phase("p", "Running")
        if end == "deleted":
            world.delete("p", grace_seconds=0)
        else:
            world.set_phase("p", end)
        await world.reported((GPU, "1g.5gb@0", "idle", ""), (GPU, "1g.5gb@1", "idle", ""))
        assert not any(agents.in_use().values())
        world.bound("again", NODE, (GPU, "1g.5gb", 1))
        await world.reported((GPU, "1g.5gb@0", "idle", ""), (GPU, "1g.5gb@1", "allocated", "again/main"))
        world.bound("larger", NODE, (GPU, "3g.20gb", 4))
        await world.reported(
            (GPU, "1g.5gb@0", "idle", ""),
            (GPU, "1g.5gb@1", "allocated", "again/main"),
            (GPU, "3g.20gb@4", "allocated", "larger/main"),
        )
        world.delete("again", grace_seconds=0)
        await eventually(lambda: (GPU, "1g.5gb@1", "idle", "") in world.rows(), "it is idle, too")
        world.bound("half", NODE, (GPU, "3g.20gb", 0))
        await world.reported(
            (GPU, "3g.20gb@0", "allocated", "half/main"), (GPU, "3g.20gb@4", "allocated", "larger/main")
        )


HOSTILE = {
    "not-json": "rm -rf /",
    "other-version": '{"version":7,"slices":[]}',
    "empty": "",
    "wrong-types": '{"version":1,"slices":[{"container":1,"gpu":2,"profile":3,"start":"x"}]}',
    "huge": '{"version":1,"slices":[' + "1," * 40_000 + "1]}",
    "other-profile": f'{{"version":1,"slices":[{{"container":"main","gpu":"{GPU}","profile":"7g.40gb","start":0}}]}}',
    "other-container": f'{{"version":1,"slices":[{{"container":"init","gpu":"{GPU}","profile":"1g.5gb","start":0}}]}}',
    "foreign-gpu": (
        f'{{"version":1,"slices":[{{"container":"main","gpu":"{FOREIGN_GPU}","profile":"1g.5gb","start":0}}]}}'
    ),
    "illegal-start": f'{{"version":1,"slices":[{{"container":"main","gpu":"{GPU}","profile":"1g.5gb","start":7}}]}}',
    "unicode": '{"version":1,"slices":[{"container":"main","gpu":"GPU-ẞ💥","profile":"1g.5gb","start":0}]}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_placements_that_cannot_be_meant_are_told_and_not_followed(world: AgentsWorld, text: str) -> None:
    """The pod has an event that says so, and gets a place that is free, as the scheduler would choose it."""
    async with world.started():
        world.bind(world.pod("p", "1g.5gb"), NODE, text)
        await world.until_phase("p", "Running")
        await world.reported((GPU, "1g.5gb@6", "allocated", "p/main"))
        await eventually(lambda: sorted(world.told("p")) == ["SliceFailed", "SliceReady"], "it is told")
        assert all(0 < len(event["message"]) <= 1024 for event in world.events())


async def test_place_that_is_taken_is_replaced_by_another(world: AgentsWorld) -> None:
    """Two pods with one promise: the second gets room elsewhere on the node."""
    async with world.started():
        world.bound("first", NODE, (GPU, "7g.40gb", 0))
        await world.reported((GPU, "7g.40gb@0", "allocated", "first/main"))
        world.bound("second", NODE, (GPU, "1g.5gb", 3))
        await world.reported(
            (GPU, "7g.40gb@0", "allocated", "first/main"), (OTHER_GPU, "1g.5gb@6", "allocated", "second/main")
        )
        await world.until_phase("second", "Running")


async def test_pod_without_room_fails_and_has_nothing(world: AgentsWorld) -> None:
    """The kubelet refuses it, its status and an event say why, it holds nothing, and others are unharmed."""
    async with world.started() as agents:
        world.bound("first", NODE, (GPU, "7g.40gb", 0))
        world.bound("half", NODE, (OTHER_GPU, "4g.20gb", 0))
        await world.until_phase("half", "Running")
        await world.until_phase("first", "Running")
        world.bound("second", NODE, (OTHER_GPU, "3g.20gb", 4), (GPU, "3g.20gb", 0))
        await world.until_phase("second", "Failed")
        assert status(world, "second")["reason"] == REFUSED
        assert status(world, "second")["message"].startswith("Pod was rejected: ")
        assert sum(map(len, agents.in_use().values())) == 2
        await eventually(lambda: "SliceFailed" in world.told("second"), "it is told")
        await eventually(lambda: not any("second" in row[3] for row in world.rows()), "it has nothing")
        assert {(row[1], row[3]) for row in world.rows() if row[3]} == {
            ("7g.40gb@0", "first/main"),
            ("4g.20gb@0", "half/main"),
        }
        world.bound("third", NODE, (OTHER_GPU, "3g.20gb", 4))
        await world.until_phase("third", "Running")


async def test_pods_bound_past_the_scheduler_are_given_room(world: AgentsWorld) -> None:
    """Without a placement a pod gets slices while there is room, and fails when there is none."""
    async with world.started():
        world.bound("first", NODE, asks=("7g.40gb", "7g.40gb"))
        await world.until_phase("first", "Running")
        await world.reported(
            (GPU, "7g.40gb@0", "allocated", "first/main"), (OTHER_GPU, "7g.40gb@0", "allocated", "first/main")
        )
        world.bound("second", NODE, asks=("1g.5gb",))
        await world.until_phase("second", "Failed")


async def test_promises_come_before_pods_without_one_at_the_start(world: AgentsWorld) -> None:
    """Agents that start again give promised places to those they were promised to, whoever is listed first."""
    world.bound("a-stray", NODE, asks=("7g.40gb",))
    world.bound("b-promised", NODE, (GPU, "7g.40gb", 0))
    async with world.started():
        await world.reported(
            (GPU, "7g.40gb@0", "allocated", "b-promised/main"), (OTHER_GPU, "7g.40gb@0", "allocated", "a-stray/main")
        )


def containers(**asks: dict[str, str]) -> list[Document]:
    """Containers by name, with what each asks for."""
    return [{"name": name, "image": "none", "resources": {"limits": limits}} for name, limits in asks.items()]


ONE, TWO, THREE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-2g.10gb", "nvidia.com/mig-3g.20gb"


def bind(world: AgentsWorld, name: str, spec: Document, *promises: Promise) -> None:
    """Create and bind a pod of any form."""
    document = memory_cluster.pod(name) | {"spec": {"schedulerName": "migsched", **spec}}
    made = world.server.create(api.POD, document).document
    world.bind(made, NODE, placement_annotation.encode(promises) if promises else None)


async def test_init_container_hands_its_slice_on(world: AgentsWorld) -> None:
    """The container after it gets the same slice, and the report names the one that goes on running."""
    async with world.started():
        spec = {"initContainers": containers(prepare={ONE: "1"}), "containers": containers(main={ONE: "1"})}
        bind(world, "p", spec, Promise("main", GPU, "1g.5gb", 3))
        await world.until_phase("p", "Running")
        await world.reported((GPU, "1g.5gb@3", "allocated", "p/main"))


async def test_slice_of_an_init_container_alone_stays_its(world: AgentsWorld) -> None:
    """PodResources lists no ordinary init container: the kubelet's checkpoint says whose slice it is."""
    async with world.started():
        spec = {"initContainers": containers(prepare={TWO: "1"}), "containers": containers(main={})}
        bind(world, "p", spec, Promise("prepare", GPU, "2g.10gb", 2))
        await world.until_phase("p", "Running")
        await world.reported((GPU, "2g.10gb@2", "allocated", "p/prepare"))


async def test_sidecar_keeps_its_slice(world: AgentsWorld) -> None:
    """A restartable init container hands nothing on: the container after it has a slice of its own."""
    async with world.started():
        (sidecar,) = containers(side={ONE: "1"})
        spec = {"initContainers": [sidecar | {"restartPolicy": "Always"}], "containers": containers(main={ONE: "1"})}
        bind(world, "p", spec, Promise("main", GPU, "1g.5gb", 0), Promise("side", GPU, "1g.5gb", 1))
        await world.until_phase("p", "Running")
        await eventually(lambda: sorted(row[3] for row in world.rows()) == ["p/main", "p/side"], "each has its own")


async def test_container_of_several_profiles_and_several_containers(world: AgentsWorld) -> None:
    """Each container is given all it asks for, where it was promised."""
    async with world.started():
        spec = {"containers": containers(one={ONE: "2", THREE: "1"}, two={TWO: "1"})}
        bind(
            world,
            "p",
            spec,
            Promise("one", GPU, "1g.5gb", 0),
            Promise("one", GPU, "1g.5gb", 1),
            Promise("one", GPU, "3g.20gb", 4),
            Promise("two", OTHER_GPU, "2g.10gb", 4),
        )
        await world.until_phase("p", "Running")
        await world.reported(
            (GPU, "1g.5gb@0", "allocated", "p/one"),
            (GPU, "1g.5gb@1", "allocated", "p/one"),
            (GPU, "3g.20gb@4", "allocated", "p/one"),
            (OTHER_GPU, "2g.10gb@4", "allocated", "p/two"),
        )


async def test_pod_that_asks_for_nothing_runs(world: AgentsWorld) -> None:
    """Nor does one that asks for a slice 0 times, or for what no GPU of the node has, wait for anything."""
    async with world.started():
        asks = {"none": {}, "zero": {ONE: "0"}, "unknown": {"nvidia.com/mig-9g.99gb": "1"}}
        for name, limits in asks.items():
            bind(world, name, {"containers": containers(main=limits)})
        for name in asks:
            await world.until_phase(name, "Running")
        assert world.rows() == []


async def test_a_node_counts_what_its_agent_offers(world: AgentsWorld) -> None:
    """The simulated Node's allocatable devices are those that a kubelet counts of the agent's plugins."""
    async with world.started() as agents:
        allocatable = world.server.get(api.NODE, NODE).document["status"]["allocatable"]
        counted = {name: int(amount) for name, amount in allocatable.items() if name.startswith("nvidia.com/")}
        assert counted == agents.offered(NODE)
    assert nodes.document(FLEET[0])["status"]["allocatable"] == allocatable
