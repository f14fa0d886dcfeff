"""The tables of plan, capacity and repack: they say what was proven, and a no is a no."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from allocator.claims import snapshot_file
from allocator.claims.snapshot import Snapshot
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.node import NodeFacts
from cli import answers
from tests.unit.cli.command_line import CommandLine, serving

ROOT = Path(__file__).parents[3]
CLUSTER = str(ROOT / "docs" / "examples" / "cluster.json")
EXAMPLES = ROOT / "deploy" / "examples"


@pytest.fixture(name="asked")
def _asked(tmp_path: Path) -> Path:
    return tmp_path / "asked.yaml"


def test_a_plan_for_the_least_cost_says_cheapest(migsched: CommandLine, asked: Path) -> None:
    """The goal decides what is proven: the cheapest plan may have more GPUs than another."""
    fleet = "[{model: a100-40gb, price: 1}, {model: a100-80gb, price: 10}]"
    asked.write_text(f"{{goal: cost, fleet: {fleet}, demand: {{1g.10gb: 7}}}}")
    shown = migsched.run("plan", str(asked)).out
    assert shown.startswith("2 × a100-40gb   (proven the cheapest)\ncost: 2\n")
    assert "fewest" not in shown
    assert "0 ×" not in shown


def test_a_refused_plan_is_a_no(migsched: CommandLine, asked: Path) -> None:
    """A stock that is too small is not a plan with nothing in it."""
    asked.write_text("{fleet: [{model: a100-40gb, count: 2}], demand: {nvidia.com/mig-7g.40gb: 3}}")
    ended = migsched.run("plan", str(asked))
    assert (ended.code, ended.out) == (1, "no: 2 × a100-40gb cannot hold the demand; 3 × a100-40gb would do\n")


def test_a_plan_shows_what_is_new_pinned_and_left(migsched: CommandLine, asked: Path) -> None:
    """Pinned GPUs are told from new ones, slices have a picture, headroom its proof."""
    asked.write_text(
        "{fleet: [{model: a100-40gb}], demand: {3g.20gb: 2}, headroom: [1g.5gb],"
        " pinned: [{model: a100-40gb, slices: [{profile: 3g.20gb, start: 4}]}]}"
    )
    shown = migsched.run("plan", str(asked)).out
    assert "new: 1 × a100-40gb; pinned: 1 GPU" in shown
    assert "3g.20gb@4 (pinned)" in shown
    assert "3g━━━━━━3g━━━━━━" in shown
    assert "proven the most" in shown


def test_a_plan_is_csv_and_a_file_for_the_mig_manager(migsched: CommandLine, asked: Path) -> None:
    """`-o csv` has a row per layout, `-o mig-parted` is the file and nothing else."""
    asked.write_text("{fleet: [{model: a100-40gb}], demand: {3g.20gb: 3}}")
    rows = list(csv.DictReader(io.StringIO(migsched.run("plan", str(asked), "-o", "csv").out)))
    assert sum(int(row["gpus"]) for row in rows) == 2
    file = yaml.safe_load(migsched.run("plan", str(asked), "-o", "mig-parted").out)
    assert file["version"] == "v1"
    assert "a100-40gb-1" in file["mig-configs"]


def test_capacity_is_a_table(migsched: CommandLine, asked: Path) -> None:
    """A line per profile, and of pods that do not fit what would do, each with its proof."""
    asked.write_text("{profiles: [4g.20gb], requests: [{name: train, profiles: {4g.20gb: 1}}]}")
    ended = migsched.run("capacity", str(asked), "--snapshot", CLUSTER)
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "3 × a100-40gb   (10 free memory slices)"
    assert "no: the pods do not fit together as things stand" in ended.out
    assert "would do: 1 restart (3 compute slices) of default/chat-1 (proven the cheapest)" in ended.out
    assert "would do: 1 more a100-40gb on 1 node (proven the fewest)" in ended.out
    assert "&id" not in ended.out


def test_capacity_as_csv_has_a_row_per_profile(migsched: CommandLine) -> None:
    """The numbers of the table, for a spreadsheet."""
    rows = list(csv.DictReader(io.StringIO(migsched.run("capacity", "--snapshot", CLUSTER, "-o", "csv").out)))
    assert {row["profile"] for row in rows} >= {"1g.5gb", "7g.40gb"}
    assert list(rows[0]) == ["profile", "now", "after_repack", "proven"]


def test_yaml_has_no_anchors(migsched: CommandLine, asked: Path) -> None:
    """What appears twice is written twice: the change to take, and among the changes."""
    asked.write_text("{profiles: [], requests: [{profiles: {4g.20gb: 1}}]}")
    written = migsched.run("capacity", str(asked), "--snapshot", CLUSTER, "-o", "yaml").out
    assert "&" not in written
    assert yaml.safe_load(written)["requests"]["change"]["pods"] == ["default/chat-1"]


def test_a_manifest_s_replicas_are_counted(migsched: CommandLine) -> None:
    """A workload that the demo reads: how many of its replicas fit now, and on which nodes; CPU was looked at."""
    manifest = str(EXAMPLES / "triton-1g.yaml")
    ended = migsched.run("capacity", "--manifest", manifest, "--snapshot", CLUSTER, "-o", "json")
    (room,) = json.loads(ended.out)["replicas"]
    assert room["request"] == "triton-1g"
    assert room["now"] == sum(room["nodes"].values())
    assert not any("CPU" in note for note in json.loads(ended.out).get("notes", []))
    assert "PODS LIKE" in migsched.run("capacity", "--manifest", manifest, "--snapshot", CLUSTER).out


def test_a_manifest_s_replicas_go_where_their_pods_may_run(migsched: CommandLine, asked: Path, tmp_path: Path) -> None:
    """Selectors, CPU and what other pods use count: a node without the label takes none, the other as CPU allows."""
    saved = snapshot_file.decode(Path(CLUSTER).read_text())
    nodes = tuple(
        replace(
            node,
            facts=NodeFacts(node.name, labels={"pool": node.name}, allocatable=Amounts(4000, 1 << 40, 1 << 40, 99)),
            used=Amounts(1000, 0, 0, 3),
        )
        for node in saved.snapshot.nodes
    )
    kept = tmp_path / "kept.json"
    kept.write_text(snapshot_file.encode(replace(saved, snapshot=Snapshot(nodes))))
    container = "{name: c, image: i, resources: {limits: {nvidia.com/mig-1g.5gb: 1, cpu: 2}}}"
    asked.write_text(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {},"
        f" template: {{spec: {{nodeSelector: {{pool: gpu-2}}, containers: [{container}]}}}}}}}}"
    )
    ended = migsched.run("capacity", "--manifest", str(asked), "--snapshot", str(kept), "-o", "json")
    answer = json.loads(ended.out)
    assert answer["replicas"][0]["nodes"] == {"gpu-2": 1}
    assert answer["replicas"][0]["ineligible"] == {"NodeAffinity": 1}
    assert (ended.code, answer["requests"]["fit"]) == (1, False)
    table = migsched.run("capacity", "--manifest", str(asked), "--snapshot", str(kept)).out
    assert "1 NodeAffinity" in table


def test_a_plan_for_a_cluster_pins_what_it_has(migsched: CommandLine, asked: Path) -> None:
    """The GPUs of a snapshot stay as they are cut, and what a demand needs beyond them is new."""
    asked.write_text("{demand: {7g.40gb: 2}}")
    ended = migsched.run("plan", str(asked), "--snapshot", CLUSTER, "-o", "json")
    answer = json.loads(ended.out)
    assert (ended.code, answer["gpus"], answer["new_gpus"]) == (0, {"a100-40gb": 5}, {"a100-40gb": 2})
    assert sum(slice_.get("pinned", False) for layout in answer["layouts"] for slice_ in layout["slices"]) >= 5
    with serving({"/api/v1/snapshot": (200, Path(CLUSTER).read_bytes())}) as url:
        assert json.loads(migsched.run("plan", str(asked), "--live", "--api-url", url, "-o", "json").out) == answer
    asked.write_text("{fleet: [{model: a100-40gb, count: 3}], demand: {7g.40gb: 2}}")
    assert migsched.run("plan", str(asked), "--snapshot", CLUSTER).code == 1
    asked.write_text("{pinned: [{model: a100-40gb, slices: []}], demand: {7g.40gb: 2}}")
    refused = migsched.run("plan", str(asked), "--snapshot", CLUSTER)
    assert (refused.code, "pinned" in refused.err) == (2, True)
    assert migsched.run("plan", str(asked), "--snapshot", CLUSTER, "--live").code == 2


def test_a_manifest_without_slices_is_refused(migsched: CommandLine, asked: Path) -> None:
    """A manifest that asks for nothing cannot be answered for, and says what to write."""
    asked.write_text("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i}]}}")
    ended = migsched.run("capacity", "--manifest", str(asked), "--snapshot", CLUSTER)
    assert ended.code == 2
    assert "nvidia.com/mig-<profile>" in ended.err


def test_a_repack_lists_its_moves_with_their_price(migsched: CommandLine, asked: Path) -> None:
    """Steps in their order, each with what it costs; a refusal is a no with its reason."""
    asked.write_text("requests: [{name: big, profiles: {7g.40gb: 1}}]")
    shown = migsched.run("repack", str(asked), "--snapshot", CLUSTER).out
    assert shown.startswith("2 restarts of 2 pods, cost 6: 1 each and 4 compute slices   (proven the cheapest)\n")
    assert "default/chat-1" in shown
    rows = list(csv.DictReader(io.StringIO(migsched.run("repack", str(asked), "--snapshot", CLUSTER, "-o", "csv").out)))
    assert [row["cost"] for row in rows] == ["4", "2"]
    asked.write_text("{requests: [{profiles: {7g.40gb: 1}}], budgets: {moves: 1}}")
    ended = migsched.run("repack", str(asked), "--snapshot", CLUSTER)
    assert ended.code == 1
    assert ended.out.startswith("no: kept from it by the budgets")


@pytest.mark.parametrize(("verdict", "code", "word"), [(False, 1, "no: why"), (None, 3, "undecided: why")])
def test_undecided_is_not_no(verdict: bool | None, code: int, word: str) -> None:
    """What is open has a word and an exit code of its own."""
    assert answers.exit_code(verdict) == code
    assert answers.refusal(verdict, "why").plain == word
