"""What anybody may write or break: a clear message that names it, and nothing destroyed."""

from pathlib import Path

import msgspec
import pytest

from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from node_agent.allocation import AllocationError
from node_agent.cluster import pods
from node_agent.cluster.node_pod import NodePod
from node_agent.containers.cdi import CdiError, Specs
from node_agent.slices import journal
from node_agent.slices.journal import JournalError
from node_agent.slices.journal_file import FileStore
from node_agent.slices.states import RecordState
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode
from tests.unit.node_agent.memory_cluster import pod


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        ("{", "not a placement"),
        ("[]", "not a placement"),
        ('{"version":2,"slices":[]}', "version"),
        ('{"version":1,"slices":[]}', "not a placement"),
        (
            '{"version":1,"slices":[{"container":"main","gpu":"GPU-x","profile":"1g.5gb","start":-1}]}',
            "not a placement",
        ),
        ("x" * 40_000, "at most"),
        (
            placement_annotation.encode([Promise("other", "GPU-x", "1g.5gb", 0)]),
            "must promise what the pod asks for",
        ),
    ],
)
def test_an_annotation_that_cannot_be_believed_is_named(annotation: str, named: str) -> None:
    """A malformed, foreign or lying placement annotation becomes a problem that names the annotation."""
    seen = pods.view(pod("a", "1g.5gb", annotation=annotation))
    assert seen is not None
    assert not seen.promises
    assert "annotation migsched.io/placement" in (seen.problem or "")
    assert named in (seen.problem or "")


def test_of_places_on_several_nodes_that_of_its_own_node_counts() -> None:
    """A pod with spare places is promised what its annotation says for the node to which it was bound."""
    first, second = Promise("main", "GPU-1", "1g.5gb", 0), Promise("main", "GPU-2", "1g.5gb", 3)
    text = placement_annotation.encode([first], {"n2": [second]})
    container = {"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}

    def promises_on(node: str) -> tuple[Promise, ...]:
        meta = {"name": "a", "namespace": "d", "uid": "u", "annotations": {contract.PLACEMENT_ANNOTATION: text}}
        spec = {"containers": [container], "nodeName": node}
        seen = pods.view(msgspec.convert({"metadata": meta, "spec": spec}, NodePod))
        assert seen is not None
        return seen.promises

    assert promises_on("n1") == (first,)
    assert promises_on("n2") == (second,)


def test_a_quantity_that_cannot_be_meant_asks_for_nothing() -> None:
    """A pod with an impossible number of slices is named and wants nothing."""
    wrong = msgspec.convert(
        {
            "metadata": {"name": "a", "namespace": "d", "uid": "u"},
            "spec": {"containers": [{"name": "m", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1000000"}}}]},
        },
        NodePod,
    )
    seen = pods.view(wrong)
    assert seen is not None
    assert not seen.wanted
    assert "nvidia.com/mig-1g.5gb" in (seen.problem or "")


@pytest.mark.parametrize(
    ("gpu", "profile", "start", "named"),
    [("GPU-elsewhere", "1g.5gb", 0, "GPU-elsewhere"), ("", "3g.20gb", 1, "start"), ("", "9g.99gb", 0, "9g.99gb")],
)
def test_a_placement_that_cannot_exist_here_is_told_to_its_pod(
    node: AgentOnNode, gpu: str, profile: str, start: int, named: str
) -> None:
    """A GPU of another node, an illegal start and an unknown profile are named in an event, and nothing is cut."""
    bound = node.bind("a", profile)
    promise = Promise("main", gpu or node.gpus[0], profile, start)
    known = node.pods[bound.uid]
    known.view = pods.PodView(bound.uid, "default", "a", asks=bound.asks, promises=(promise,))
    (event,) = node.step().events
    assert event.reason == "SliceFailed"
    assert named in event.message
    assert node.instances() == []


def test_ten_thousand_false_pods_cut_no_more_than_fits(node: AgentOnNode) -> None:
    """A node full of false promises gets one GPU's worth of slices, and few events at a time."""
    place = node.place("1g.5gb", 3)
    for number in range(10_000):
        node.bind(f"p{number:05}", "1g.5gb", at=(place,))
    outcome = node.step()
    assert node.instances() == ["1g.5gb@3"]
    assert len(outcome.events) <= 50


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"{}",
        b'{"version":1}',
        b'{"version":99,"boot":"b"}',
        b'{"version":1,"boot":"b","slices":[{"gpu":"g"}]}',
        b'{"version":1,"boot":"b","slices":[{"gpu":"g","profile":"1g.5gb","start":0,"size":1,"state":"mine"}]}',
        b'{"version":1,"boot":"b","slices":['
        + b",".join([b'{"gpu":"g","profile":"1g.5gb","start":0,"size":1,"state":"idle"}'] * 2)
        + b"]}",
        b"[" * 100_000,
    ],
)
def test_a_garbage_journal_stops_the_agent_and_destroys_nothing(node: AgentOnNode, content: bytes) -> None:
    """A journal that cannot be read is an error with a way out; slices stay as they are."""
    node.foreign("1g.5gb", 0)
    node.store.content = content
    node.restart(start=False)
    with pytest.raises(JournalError, match="Nothing was destroyed"):
        node.agent.start()
    assert node.instances() == ["1g.5gb@0"]
    assert node.store.content == content


def test_a_journal_too_large_to_be_one_is_refused(node: AgentOnNode) -> None:
    """More than any node's slices could need is not decoded."""
    node.store.content = b" " * (journal.MAX_BYTES + 10)
    node.restart(start=False)
    with pytest.raises(JournalError, match="larger than"):
        node.agent.start()


def test_a_journal_that_cannot_be_written_stops_every_change(node: AgentOnNode) -> None:
    """On a full disk nothing is cut or destroyed, and the report says why."""
    warm = node.bind("old", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.end(warm, gone=True)

    def full() -> None:
        raise JournalError("journal /x: cannot be written: No space left on device")

    node.store.before = full
    pending = node.bind("a", "7g.40gb", at=(node.place("7g.40gb", 0),))
    outcome = node.step(10.0)
    assert (outcome.ready, outcome.reason) == (False, "JournalUnusable")
    assert "No space left" in outcome.message
    with pytest.raises(JournalError, match="No space left"):
        node.admit(pending)
    assert node.instances() == ["1g.5gb@0"]


def test_a_journal_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A state directory that is a file is named, with the promise that nothing changes meanwhile."""
    (tmp_path / "state").write_text("")
    store = FileStore(tmp_path / "state" / "journal.json")
    with pytest.raises(JournalError, match=r"journal .*journal\.json.*: cannot be"):
        store.write(b"{}")


def test_a_cdi_directory_that_cannot_be_written_fails_allocate_and_takes_nothing(
    node: AgentOnNode, tmp_path: Path
) -> None:
    """Allocate names the directory; the slice stays idle, free for the next."""
    (tmp_path / "cdi").write_text("a file where the directory should be")
    bound = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    with pytest.raises(CdiError, match=r"CDI directory .*cdi"):
        node.admit(bound)
    assert [r.state for r in node.journal.records.values()] == [RecordState.IDLE]
    assert node.journal.grants == frozenset()


def test_a_foreign_specification_stays(tmp_path: Path) -> None:
    """Files in the CDI directory that are not ours are never removed."""
    other = tmp_path / "nvidia.json"
    other.write_text("{}")
    specs = Specs(tmp_path)
    specs.sync({})
    assert other.exists()


@pytest.mark.parametrize("name", ["", "x", "../../etc/passwd", "81345ab9-1g.5gb-99"])
def test_a_device_that_is_not_ours_is_refused(node: AgentOnNode, name: str) -> None:
    """Allocate of an id that was never offered names it."""
    with pytest.raises(AllocationError, match="none of this node's GPUs"):
        node.allocation.allocate("nvidia.com/mig-1g.5gb", [name])


def test_a_device_of_another_resource_is_refused(node: AgentOnNode) -> None:
    """An id of one profile is not handed out under another."""
    name = next(iter(node.allocation.offers()["nvidia.com/mig-3g.20gb"]))
    with pytest.raises(AllocationError, match="none of this node's GPUs"):
        node.allocation.allocate("nvidia.com/mig-1g.5gb", [name])


def test_no_driver_is_said_and_nothing_is_forgotten(node: AgentOnNode) -> None:
    """While the driver is away the last report stands, marked unhealthy, and no slice is given up."""
    bound = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(bound)
    node.step()
    node.driver.unload()
    outcome = node.step(10.0)
    assert (outcome.ready, outcome.reason) == (False, "NoDriver")
    (gpu,) = outcome.report.gpus
    assert not gpu.healthy
    assert gpu.message
    assert [str(slice_.placement) for slice_ in gpu.slices] == ["1g.5gb@0"]
    assert len(node.journal.records) == 1


def test_a_lost_gpu_does_not_hide_the_others(tmp_path: Path) -> None:
    """A GPU that fell off the bus is unhealthy with a reason; the other one goes on."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    node.step()
    node.driver.lose(node.gpus[0])
    bound = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0, gpu=1),))
    outcome = node.step()
    assert [gpu.healthy for gpu in outcome.report.gpus] == [False, True]
    assert node.admit(bound)


def test_a_driver_call_that_hangs_leaves_an_intent_that_is_settled_later(node: AgentOnNode) -> None:
    """A create that outlives its deadline is neither forgotten nor repeated blindly."""
    gate = node.driver.faults.hold(Call.CREATE_COMPUTE_INSTANCE)
    bound = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 0),))
    outcome = node.step()
    assert not outcome.report.gpus[0].healthy
    gate.open()
    node.step(10.0)
    node.step(10.0)
    assert node.admit(bound)
    assert node.instances() == ["1g.5gb@0"]
