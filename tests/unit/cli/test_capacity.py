"""`migsched capacity`: what it asks, what it keeps, and how its exit code answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims import snapshot_file
from allocator.claims.snapshot_file import PodFacts, WaitingFacts
from tests.clusters import cluster
from tests.unit.cli.command_line import CommandLine, serving

CLUSTER = Path(__file__).parents[3] / "docs" / "examples" / "cluster.json"


@pytest.mark.parametrize(("profile", "code"), [("1g.5gb", 0), ("4g.20gb", 1)])
def test_the_exit_code_says_whether_the_requests_fit(
    migsched: CommandLine, tmp_path: Path, profile: str, code: int
) -> None:
    """0 where all pods asked about fit together, 1 where they do not, which the answer explains."""
    document = tmp_path / "asked.yaml"
    document.write_text(f"requests: [{{profiles: {{{profile}: 1}}}}]")
    ended = migsched.run("capacity", str(document), "--snapshot", str(CLUSTER), "-o", "json")
    assert ended.code == code
    assert json.loads(ended.out)["requests"]["fit"] is (code == 0)


def test_a_move_is_told_in_words(migsched: CommandLine, tmp_path: Path) -> None:
    """Which waiting pods could start and where, why the pod may not be moved, and what became of the others."""
    there = cluster().node("n0").gpu().pod("it", "1g.5gb@2", kept="it has no owner").node("n1").gpu()
    saved = there.pod("other", "3g.20gb@4", movable=True).saved()
    wants = {"a": "7g.40gb", "b": "1g.5gb", "c": "9g.99gb"}
    waiting = {
        name: PodFacts(waiting=WaitingFacts(f"default/{name}", ((profile, 1),))) for name, profile in wants.items()
    }
    file = tmp_path / "cluster.json"
    file.write_text(snapshot_file.encode(replace(saved, pods={**saved.pods, **waiting})))
    document = tmp_path / "asked.yaml"
    document.write_text("{profiles: [], move: default/it}")
    ended = migsched.run("capacity", str(document), "--snapshot", str(file))
    assert ended.code == 0
    words = " ".join(ended.out.split())
    for text in (
        "if default/it on n0 were restarted elsewhere; it may not be moved: it has no owner",
        "default/a (7g.40gb) could start on n0, while it goes to n1",
        "waiting pods: 1 could start, each kind alone; 1 fit already, 1 do not fit even then",
    ):
        assert text in words


def test_a_live_cluster_is_kept_whole(migsched: CommandLine, tmp_path: Path) -> None:
    """--save writes what the scheduler told: pods' facts, budgets and notes too."""
    told = CLUSTER.read_bytes()
    kept = tmp_path / "kept.json"
    with serving({"/api/v1/snapshot": (200, told)}) as url:
        assert migsched.run("capacity", "--api-url", url, "--save", str(kept)).code == 0
    saved = snapshot_file.decode(kept.read_text())
    assert saved == snapshot_file.decode(told)
    assert (len(saved.pods), len(saved.budgets)) == (4, 1)


@pytest.mark.parametrize("flag", ["--snapshot", "--save"])
def test_a_described_fleet_has_no_cluster(migsched: CommandLine, tmp_path: Path, flag: str) -> None:
    """A document with a fleet and a flag about a cluster contradict each other: neither is silently left out."""
    document = tmp_path / "asked.yaml"
    document.write_text("fleet: [{model: a100-40gb, nodes: 1}]")
    ended = migsched.run("capacity", str(document), flag, str(CLUSTER))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"migsched: {flag}: ")
    assert "leave out" in ended.err


def test_a_file_that_cannot_be_written_is_named(migsched: CommandLine, tmp_path: Path) -> None:
    """--save to a folder that is not there ends with exit code 2 and the file's name."""
    kept = tmp_path / "nowhere" / "kept.json"
    ended = migsched.run("capacity", "--snapshot", str(CLUSTER), "--save", str(kept))
    assert ended.code == 2
    assert f"{str(kept)!r}: cannot be written: No such file or directory" in ended.err


def test_a_document_that_cannot_be_read_ends_with_a_message(migsched: CommandLine, tmp_path: Path) -> None:
    """A document nested too deeply to be read gets one line and exit code 2, no traceback."""
    document = tmp_path / "deep.yaml"
    document.write_text("[" * 3000)
    for command in ("plan", "capacity", "repack"):
        ended = migsched.run(command, str(document))
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "is nested too deeply" in ended.err


def test_a_fleet_of_nothing_is_refused(migsched: CommandLine, tmp_path: Path) -> None:
    """A described fleet names at least one GPU model, as a plan's does."""
    document = tmp_path / "asked.yaml"
    document.write_text("fleet: []")
    ended = migsched.run("capacity", str(document))
    assert (ended.code, ended.err) == (2, "migsched: fleet: []: is empty; name at least one GPU model\n")


def test_what_a_manifest_has_besides_is_told(migsched: CommandLine, tmp_path: Path) -> None:
    """Kinds and fields that are not understood are told on standard error; the answer is about the rest."""
    template = "{spec: {containers: [{name: a, resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}]}}"
    file = tmp_path / "all.yaml"
    file.write_text(
        f"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: ds}}\nspec: {{template: {template}}}\n---\n"
        f"apiVersion: v1\nkind: ReplicationController\nmetadata: {{name: rc}}\nspec: {{template: {template}}}\n---\n"
        "apiVersion: grove.io/v1alpha1\nkind: PodCliqueSet\nmetadata: {name: grove}\nspec: {}\n"
    )
    ended = migsched.run("capacity", "--manifest", str(file), "--snapshot", str(CLUSTER), "-o", "json")
    assert ended.code == 0
    assert len(json.loads(ended.out)["replicas"]) == 1
    told = ended.err.splitlines()
    assert [line.split(":")[2].strip() for line in told] == ["DaemonSet ds", "PodCliqueSet grove"]
