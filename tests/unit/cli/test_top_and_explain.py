"""`migsched top` and `migsched explain` against an API that the test plays."""

import json
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.claims import snapshot_file
from allocator.claims.snapshot_file import PodFacts, WaitingFacts
from kubeclient import timestamps
from tests.clusters import cluster
from tests.unit.cli.command_line import CommandLine, serving

SLICE = {
    "profile": "3g.20gb",
    "start": 4,
    "size": 4,
    "state": "ready",
    "namespace": "default",
    "pod": "train-0",
    "container": "main",
    "uid": "u",
}
GPU = {
    "uuid": "GPU-1",
    "index": 0,
    "product": "A100",
    "model": "a100-40gb",
    "memory_slices": 8,
    "mask": 0xF0,
    "problem": "",
    "slices": [SLICE],
}
BROKEN = GPU | {"uuid": "GPU-2", "index": 1, "mask": 0, "slices": [], "problem": "fell off the bus"}
NODES = [{"name": "n1", "problem": "", "gpus": [GPU, BROKEN]}, {"name": "n2", "problem": "no report", "gpus": []}]


def explanation(**changes: Any) -> dict[str, Any]:
    answer = {
        "namespace": "default",
        "pod": "train-0",
        "uid": "u",
        "request": "3g.20gb",
        "phase": "bound",
        "node": "n1",
        "reason": "its slices are ready",
        "nodes": {},
        "slices": [{"container": "main", "gpu": "GPU-1", "profile": "3g.20gb", "start": 4, "size": 4}],
    }
    return answer | changes


def test_top_draws_every_gpu(migsched: CommandLine) -> None:
    """The map shows slices where they are, the table counts, problems are named."""
    with serving({"/api/v1/nodes": (200, NODES)}) as url:
        outcome = migsched.run("top", "--api-url", url)
    assert outcome.code == 0
    assert "0 ········3a━━━━━━" in outcome.out
    assert "a train" in outcome.out
    row = next(line for line in outcome.out.splitlines() if line.startswith("n1"))
    assert row.split()[:6] == ["n1", "2", "1", "4", "4", "a100-40gb"]
    assert "GPU 1: fell off the bus" in row
    assert "no report" in outcome.out


def test_top_for_programs(migsched: CommandLine) -> None:
    """JSON and YAML have every slice with its owner; --node picks."""
    with serving({"/api/v1/nodes": (200, NODES)}) as url:
        as_json = json.loads(migsched.run("top", "--api-url", url, "-o", "json").out)
        as_yaml = yaml.safe_load(migsched.run("top", "--api-url", url, "-o", "yaml").out)
        picked = json.loads(migsched.run("top", "--api-url", url, "-o", "json", "--node", "n2").out)
        nothing = migsched.run("top", "--api-url", url, "--node", "n3")
    assert as_json == as_yaml
    assert as_json[0]["gpus"][0]["slices"][0]["pod"] == "train-0"
    assert [one["name"] for one in picked] == ["n2"]
    assert (nothing.code, nothing.out, nothing.err) == (
        1,
        "",
        "migsched: nothing to show: no GPU of n3 among 2 nodes\n",
    )


def test_explain_a_bound_pod(migsched: CommandLine) -> None:
    """A pod with a place is exit code 0, and its slices are listed."""
    with serving({"/api/v1/explain?pod=train-0": (200, explanation())}) as url:
        outcome = migsched.run("explain", "train-0", "--api-url", url)
    assert outcome.code == 0
    assert "default/train-0 asks for 3g.20gb: bound on n1" in outcome.out
    assert "GPU-1" in outcome.out


def test_explain_says_for_how_long_a_pod_waits(migsched: CommandLine) -> None:
    """A pending pod's age is beside its phase; of one that has a node it is not said."""
    since = timestamps.stamp(datetime.now(UTC) - timedelta(hours=5, minutes=1))
    pending = explanation(phase="pending", node="", slices=[], reason="no room", since=since)
    for answer, said in ((pending, "pending for 5h, no room"), (explanation(since=since), "bound on")):
        with serving({"/api/v1/explain?pod=default/p": (200, answer)}) as url:
            assert said in migsched.run("explain", "default/p", "--no-remedy", "--api-url", url).out


def test_explain_a_pending_pod_groups_its_reasons(migsched: CommandLine) -> None:
    """A pod without a place is exit code 1; a thousand nodes with one reason are one line."""
    nodes = {f"n{number}": "no free 3g.20gb placement on any GPU" for number in range(1000)} | {"x": "no MIG report"}
    answer = explanation(phase="pending", node="", slices=[], nodes=nodes, reason="1000 nodes: no free …; 1 node: …")
    with serving({"/api/v1/explain?pod=default/train-0": (200, answer)}) as url:
        outcome = migsched.run("explain", "default/train-0", "--api-url", url)
        as_json = migsched.run("explain", "default/train-0", "--api-url", url, "-o", "json")
    assert outcome.code == as_json.code == 1
    rows = [line.split()[0] for line in outcome.out.splitlines() if "placement" in line or "no MIG" in line]
    assert rows == ["1000", "1"]
    assert json.loads(as_json.out) == answer


def test_explain_an_unknown_pod(migsched: CommandLine) -> None:
    """The API's own words about a pod that it does not know are passed on."""
    with serving({"/api/v1/explain?pod=x": (404, {"detail": "pod: 'x': no MIG pod of that name"})}) as url:
        outcome = migsched.run("explain", "x", "--api-url", url)
    assert (outcome.code, outcome.err) == (2, "migsched: pod: 'x': no MIG pod of that name\n")


@pytest.mark.parametrize("command", [["top"], ["explain", "x"]])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, {"detail": "boom"}), "HTTP 500: boom"),
        ((503, b"<html>"), "HTTP 503"),
        ((200, b"<html>"), "is not migsched"),
    ],
)
def test_bad_answers_are_named(
    command: list[str], answer: tuple[int, Any], message: str, migsched: CommandLine
) -> None:
    """An API that fails, or is something else, is exit code 2 and says what came back."""
    with serving({"/api/v1/nodes": answer, "/api/v1/explain?pod=x": answer}) as url:
        outcome = migsched.run(*command, "--api-url", url)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_nobody_there(migsched: CommandLine) -> None:
    """Where nothing listens the error says what should."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = migsched.run("top", "--api-url", f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert outcome.code == 2
    assert "is `migsched scheduler` or `migsched demo` running there?" in outcome.err


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "", "http://"])
def test_url_that_is_none(url: str, migsched: CommandLine) -> None:
    """A URL that is none is refused before anything is asked."""
    outcome = migsched.run("top", "--api-url", url)
    assert outcome.code == 2
    assert outcome.err.startswith("migsched: --api-url: ")


def test_top_of_a_cluster_needs_its_kubeconfig(migsched: CommandLine) -> None:
    """A kubeconfig that is not there is named."""
    outcome = migsched.run("top", "--mig-nodes", "--kubeconfig", "/nowhere/config")
    assert outcome.code == 2
    assert "/nowhere/config" in outcome.err


@pytest.mark.parametrize("arguments", [("top",), ("explain", "p")], ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("answer", [[{}], [1], {"a": 1}, 7, None])
def test_what_is_not_migsched_is_told_from_it(migsched: CommandLine, arguments: tuple[str, ...], answer: Any) -> None:
    """JSON of another service is no answer, and no traceback."""
    with serving(dict.fromkeys(("/api/v1/nodes", "/api/v1/explain?pod=p"), (200, answer))) as url:
        outcome = migsched.run(*arguments, "--api-url", url)
    assert outcome.code == 2
    assert "is not migsched" in outcome.err


def test_the_extender_is_not_the_api(migsched: CommandLine) -> None:
    """Asked at the extender's port, a command repeats what the extender says of itself."""
    with serving({"/api/v1/nodes": (404, {"Error": "Not Found: the extender answers POST to /v1/filter"})}) as url:
        outcome = migsched.run("top", "--api-url", url)
    assert outcome.code == 2
    assert "the extender answers POST to /v1/filter" in outcome.err


@pytest.mark.parametrize("answer", [(404, b"<html>"), (302, b""), (404, {"detail": "Not Found"}), (403, {"a": 1})])
def test_another_program_on_the_port_is_called_so(migsched: CommandLine, answer: tuple[int, Any]) -> None:
    """Whoever else has the API's port is named by its own name, with the URL."""
    with serving({"/api/v1/nodes": answer}, name="nginx/1.27") as url:
        outcome = migsched.run("top", "--api-url", url)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"what answers at {url} is not migsched (HTTP {answer[0]}; it calls itself 'nginx/1.27')" in outcome.err


def test_top_shows_what_is_asked_for(migsched: CommandLine) -> None:
    """By namespace, profile, model and whether it is used, in either form; a live screen needs a terminal."""
    with serving({"/api/v1/nodes": (200, NODES)}) as url:
        for flags in (("-n", "default"), ("--profile", "3g.20gb"), ("--used",)):
            (node,) = json.loads(migsched.run("top", "--api-url", url, "-o", "json", *flags).out)
            assert [gpu["index"] for gpu in node["gpus"]] == [0], flags
        assert migsched.run("top", "--api-url", url, "--model", "h100-80gb").code == 1
        refused = migsched.run("top", "--api-url", url, "--watch")
    assert (refused.code, refused.out) == (2, "")
    assert "--watch: 'true': needs a terminal" in refused.err


CORDONED = {"name": "n3", "problem": "", "gpus": [GPU | {"uuid": "GPU-3"}], "closed": "NodeUnschedulable: cordoned"}


def test_top_counts_closed_nodes_apart(migsched: CommandLine) -> None:
    """A node that takes no pods says why, and what is free there is no room: the totals count it apart."""
    with serving({"/api/v1/nodes": (200, [*NODES, CORDONED])}) as url:
        outcome = migsched.run("top", "--api-url", url)
    said = " ".join(outcome.out.split())
    assert "closed to new pods: NodeUnschedulable: cordoned" in said
    assert "8 memory slices taken, 4 free, 4 more on 1 node closed to new pods" in said


def test_top_looks_at_a_snapshot_file(migsched: CommandLine) -> None:
    """With --snapshot no scheduler is asked; what only a cluster can be asked is refused beside it."""
    cluster = "docs/examples/cluster.json"
    outcome = migsched.run("top", "--snapshot", cluster, "-o", "json")
    assert (outcome.code, [node["name"] for node in json.loads(outcome.out)]) == (0, ["gpu-1", "gpu-2"])
    for flag in ("--watch", "--mig-nodes"):
        refused = migsched.run("top", "--snapshot", cluster, flag)
        assert refused.code == 2
        assert "--snapshot" in refused.err


def _saved(tmp_path: Path) -> str:
    """A snapshot file: a GPU whose free memory slices stand apart, three pods on it, and three that wait."""
    waits = {
        "fits": PodFacts(waiting=WaitingFacts("default/fits", (("1g.5gb", 1),))),
        "wide": PodFacts(waiting=WaitingFacts("default/wide", (("2g.10gb", 1),)), service="Deployment/wide"),
        "gated": PodFacts(waiting=WaitingFacts("default/gated", (("1g.5gb", 1),), gates=("a.io/gate",))),
    }
    built = cluster().node("n1").gpu().pod("train", "1g.5gb@1").pod("b", "1g.5gb@3").pod("c", "1g.5gb@5")
    saved = built.saved()
    file = tmp_path / "saved.json"
    file.write_text(snapshot_file.encode(replace(saved, pods={**saved.pods, **waits})))
    return str(file)


def test_explain_looks_at_a_snapshot_file(migsched: CommandLine, tmp_path: Path) -> None:
    """Pods of a file are explained as those of a cluster: bound, with room, without it and why, gated."""
    saved = _saved(tmp_path)

    def said(pod: str) -> dict[str, Any]:
        ended = migsched.run("explain", pod, "--snapshot", saved, "-o", "json")
        answer: dict[str, Any] = json.loads(ended.out)
        assert ended.code == (0 if answer["phase"] == "bound" else 1)
        return answer

    assert (said("default/train")["node"], said("train")["code"]) == ("n1", "ready")
    assert said("train")["slices"][0]["profile"] == "1g.5gb"
    assert said("fits")["code"] == "has_room"
    wide = said("wide")
    assert (wide["code"], wide["counts"]) == ("fragmented", {"fragmented": 1})
    assert wide["remedy"]["cheapest"] is not None
    assert said("gated")["code"] == "gated"
    ended = migsched.run("explain", "nobody", "--snapshot", saved)
    assert (ended.code, "no pod with slices" in ended.err) == (2, True)


def test_explain_lists_a_snapshot_s_waiting_pods(migsched: CommandLine, tmp_path: Path) -> None:
    """--all and an owner are answered from a file too."""
    saved = _saved(tmp_path)
    answer = json.loads(migsched.run("explain", "--all", "--snapshot", saved, "-o", "json").out)
    assert (answer["pending"], answer["placed"]) == (3, 3)
    answer = json.loads(migsched.run("explain", "deployment/wide", "--snapshot", saved, "-o", "json").out)
    assert [pod["code"] for pod in answer["pods"]] == ["fragmented"]
