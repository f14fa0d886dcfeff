"""The snapshot file: what is saved is read back, and nothing else is believed."""

import json
from dataclasses import replace

import pytest

from allocator import errors
from allocator.claims import snapshot, snapshot_file
from allocator.claims.inventory import Inventory
from allocator.claims.snapshot import Snapshot
from allocator.claims.snapshot_file import Saved
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts, Taint
from allocator.mig import gpu_models
from tests.builders import node, pod
from tests.clusters import cluster


def full() -> Saved:
    """A cluster with everything in it."""
    return (
        cluster()
        .node("n1")
        .gpu("a100-40gb")
        .pod("a", "3g.20gb@4", movable=True, priority=7, service="Deployment/a")
        .idle("1g.5gb@0")
        .gpu("rtx-pro-6000-blackwell-96gb")
        .foreign("1g.24gb+me.all@3")
        .node("n2")
        .gpu("a30-24gb", problem="unhealthy")
        .budget(1, "a")
        .saved()
    )


def test_a_snapshot_survives_its_file() -> None:
    """Reading a written file gives the same nodes, GPUs, slices, pods and budgets."""
    assert snapshot_file.decode(snapshot_file.encode(full())) == full()


def test_where_pods_may_run_survives_its_file() -> None:
    """Nodes' facts, why they are closed, and pods' constraints are read back; a file of version 1 has none of them."""
    asked = PodConstraints(node_selector=(("pool", "a"),), unjudged=("host ports",))
    saved = cluster().node("n1").gpu().pod("a", "1g.5gb@0", constraints=asked, terminating=True).saved()
    facts = NodeFacts("n1", unschedulable=True, taints=(Taint("gpu", "NoSchedule"),), labels={"pool": "a"})
    (node_1,) = saved.snapshot.nodes
    told = replace(saved, snapshot=Snapshot((replace(node_1, facts=facts, closed="cordoned"),)))
    data = json.loads(snapshot_file.encode(told))
    assert snapshot_file.decode(json.dumps(data)) == told
    older = json.loads(snapshot_file.encode(full())) | {"version": 1}
    assert snapshot_file.decode(json.dumps(older)) == full()
    data["pods"]["uid-a"]["constraints"] = 1
    with pytest.raises(errors.InputError, match="constraints"):
        snapshot_file.decode(json.dumps(data))


def test_used_amounts_and_shared_labels_survive_their_file() -> None:
    """What pods of a node use is read back; labels are written once, and a file that has them in the facts is read."""
    saved = cluster().node("n1").gpu().node("n2").gpu().saved()
    labels = {"pool": "a", "zone": "z"}
    nodes = tuple(
        replace(node, facts=NodeFacts(node.name, labels=labels), used=Amounts(500, 1, 2, 3))
        for node in saved.snapshot.nodes
    )
    told = replace(saved, snapshot=Snapshot(nodes))
    text = snapshot_file.encode(told)
    assert text.count('"pool"') == 1
    assert snapshot_file.decode(text) == told
    data = json.loads(text)
    for node_ in data["nodes"]:
        del node_["labels"], node_["used"]
        node_["facts"]["labels"] = labels
    older = snapshot_file.decode(json.dumps(data))
    assert older.snapshot.nodes == tuple(replace(node, used=None) for node in nodes)
    data["nodes"][0]["labels"] = [2]
    with pytest.raises(errors.InputError, match="node n1: labels"):
        snapshot_file.decode(json.dumps(data))


def test_the_live_state_survives_its_file() -> None:
    """A snapshot taken from an inventory survives its file, catalogues included."""
    live = Inventory()
    live.observe(node("n1").gpu().allocated("3g.20gb", 0, pod="train").idle("1g.5gb", 4).gpu("h100-80gb").report())
    live.adopt(pod("web", "1g.5gb").promised("n1-gpu-0", "1g.5gb", 5).bound("n1"))
    saved = Saved(snapshot.take(live))
    assert snapshot_file.decode(snapshot_file.encode(saved)) == saved
    assert [one.state for one in saved.snapshot.nodes[0].gpus[0].occupants] == ["unclaimed", "idle", "bound"]


def test_one_name_for_two_catalogues_is_kept_apart() -> None:
    """Two drivers that disagree about one model keep a catalogue each."""
    plain = gpu_models.find("a100-40gb")
    fewer = plain.restricted(frozenset(["1g.5gb", "7g.40gb"]))
    saved = cluster().node("n1").gpu(plain).gpu(fewer).saved()
    text = snapshot_file.encode(saved)
    assert set(json.loads(text)["catalogues"]) == {"a100-40gb", "a100-40gb#2"}
    assert snapshot_file.decode(text) == saved


def test_unknown_fields_are_ignored() -> None:
    """A file of the same version with fields more is read."""
    data = json.loads(snapshot_file.encode(full()))
    data["saved_by"] = "somebody"
    data["nodes"][0]["zone"] = "a"
    assert snapshot_file.decode(json.dumps(data)) == full()


def test_slices_that_contradict_each_other_take_the_gpu_out() -> None:
    """A GPU whose slices cannot exist together is kept, marked with its problem."""
    data = json.loads(snapshot_file.encode(cluster().node("n1").gpu().pod("a", "4g.20gb@0").saved()))
    data["nodes"][0]["gpus"][0]["slices"].append({"profile": "1g.5gb", "start": 2, "size": 1, "state": "ready"})
    (gpu,) = snapshot_file.decode(json.dumps(data)).snapshot.gpus()
    assert "1g.5gb@2" in gpu.problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "kind"),
        (b"\xff\xfe", "cannot be read"),
        ('{"kind": "migsched-snapshot", "version": 2}', "version"),
        ('{"kind": "migsched-snapshot", "version": 1}', "cannot be read"),
        ('{"kind": "migsched-snapshot", "version": 1, "catalogues": {}, "nodes": [{}]}', "cannot be read"),
    ],
)
def test_what_is_no_snapshot_is_refused(text: str | bytes, problem: str) -> None:
    """Text that is not a snapshot of this version raises InputError saying what is wrong."""
    with pytest.raises(errors.InputError, match=problem):
        snapshot_file.decode(text)


def test_names_in_a_file_are_distinct() -> None:
    """A file that names a node or a GPU twice, or a catalogue it does not have, is refused."""
    data = json.loads(snapshot_file.encode(full()))
    twice = {**data, "nodes": [data["nodes"][0], data["nodes"][0]]}
    with pytest.raises(errors.InputError, match="twice"):
        snapshot_file.decode(json.dumps(twice))
    data["catalogues"].pop("a30-24gb")
    with pytest.raises(errors.InputError, match="not among the file's catalogues"):
        snapshot_file.decode(json.dumps(data))


def test_a_catalogue_that_contradicts_itself_is_refused() -> None:
    """A catalogue in a file is checked like any other."""
    data = json.loads(snapshot_file.encode(full()))
    data["catalogues"]["a30-24gb"]["profiles"][0]["starts"] = [9]
    with pytest.raises(errors.InputError, match="start"):
        snapshot_file.decode(json.dumps(data))


def test_a_described_fleet_is_empty_and_usable() -> None:
    """A described fleet has the nodes and GPUs asked for, all free."""
    saved = snapshot_file.describe([(gpu_models.find("a30-24gb"), 2, 3)])
    assert len(saved.snapshot.nodes) == 2
    assert [replace(gpu, node="", uuid="", index=0) for gpu in saved.snapshot.gpus()] == [
        replace(next(saved.snapshot.gpus().__iter__()), node="", uuid="", index=0)
    ] * 6
