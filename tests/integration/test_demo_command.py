"""`migsched demo` as a newcomer runs it, with the shipped examples."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from allocator.mig import geometry, gpu_models
from cli import main
from config import logs
from simulator import demo as demos
from simulator.demo import DemoOptions
from simulator.scheduling_mode import SchedulingMode

COMMAND = [sys.executable, "-m", "cli"]
FREE_PORTS = ["--extender-port", "0", "--api-port", "0"]


async def picture(**wishes: Any) -> dict[str, Any]:
    """The document of a demo that came to rest."""
    logs.configure("json", "error")
    async with demos.start(DemoOptions(extender_port=0, api_port=0, **wishes)) as running:
        await asyncio.wait_for(running.settled(), 60)
        return running.picture().document()


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Run the command line here; its exit code, and what it wrote to standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["migsched", *arguments])
    with pytest.raises(SystemExit) as exited:
        main.main()
    written = capsys.readouterr()
    return int(exited.value.code or 0), written.out, written.err


def check_legal(document: Mapping[str, Any]) -> None:
    """Every placement is one of its GPU's model, none overlaps, and masks say what placements say."""
    gpus = {one["gpu"]: one for one in document["gpus"]}
    placed = defaultdict(list)
    for pod in document["pods"]:
        for one in pod["slices"]:
            gpu = gpus[one["gpu"]]
            assert gpu["node"] == pod["node"]
            placement = gpu_models.find(gpu["model"]).placement(one["profile"], one["start"])
            assert placement.size == one["size"]
            placed[one["gpu"]].append(placement)
    for uuid, gpu in gpus.items():
        compiled = geometry.compiled(gpu_models.find(gpu["model"]))
        assert gpu["mask"] == int(compiled.masks[compiled.state_of(placed[uuid])])


def test_the_examples_land_as_promised() -> None:
    """The shipped examples are placed legally on 4 × 8 GPUs; the one that cannot fit says why in plain words."""
    done = subprocess.run(
        [*COMMAND, "demo", "--once", "-o", "json", *FREE_PORTS], capture_output=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    document = json.loads(done.stdout)
    check_legal(document)
    assert len(document["gpus"]) == 32
    assert document["mode"] == "queue"
    assert {one["model"] for one in document["gpus"]} == {"a100-40gb"}
    by_profile = defaultdict(list)
    for pod in document["pods"]:
        by_profile[tuple(one["profile"] for one in pod["slices"])].append(pod)
    assert {names: len(pods) for names, pods in by_profile.items()} == {
        ("1g.5gb",): 14,
        ("2g.10gb",): 3,
        ("3g.20gb",): 1,
        ("7g.40gb",): 1,
        (): 2,
    }
    (refused,) = [pod for pod in document["pods"] if pod["phase"] == "Pending"]
    assert (refused["name"], refused["node"]) == ("cannot-fit", "")
    assert "is more than all its GPUs could hold empty" in refused["reason"]
    assert all(pod["phase"] == "Running" and not pod["reason"] for pod in document["pods"] if pod is not refused)


def test_the_picture_in_the_readme_is_what_the_demo_shows(tmp_path: Path) -> None:
    """docs/images/demo.svg shows the same pods, places and words as the demo does now; `make demo-picture` draws it."""
    drawn = tmp_path / "now.svg"
    done = subprocess.run(
        [*COMMAND, "demo", f"--svg={drawn}", *FREE_PORTS], capture_output=True, timeout=100, check=True
    )
    assert done.stderr == b""
    kept = (Path(__file__).parents[2] / "docs/images/demo.svg").read_text(encoding="utf-8")
    now, before = ([word for word in words(svg) if "http" not in word] for svg in (drawn.read_text("utf-8"), kept))
    assert now == before


def words(svg: str) -> list[str]:
    """What an SVG shows, from top to bottom, without the line that names ports."""
    shown = [re.sub(r"&#160;|\s+", " ", text).strip() for text in re.findall(r">([^<>]+)</text>", svg)]
    return [text for text in shown if text and not text.startswith("In another terminal")]


async def test_same_seed_same_picture() -> None:
    """The picture follows from the flags alone; another seed gives another one."""
    one, again, other = [await picture(nodes=2, seed=seed) for seed in (5, 5, 6)]
    assert one == again != other


@pytest.mark.parametrize("model", gpu_models.known())
async def test_every_model_is_shown(model: str) -> None:
    """On every known GPU the examples take that model's profiles, and whatever is placed is legal."""
    document = await picture(nodes=1, model=model)
    check_legal(document)
    assert sum(bool(pod["slices"]) for pod in document["pods"]) >= 15


async def test_own_manifests(tmp_path: Path) -> None:
    """A folder of one's own manifests is applied instead, as it is; what cannot run says why."""
    slices = "spec: {containers: [{name: a, resources: {limits: {nvidia.com/mig-%s: 1}}}], %s}\n"
    (tmp_path / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: mine, namespace: team}\n"
        + slices % ("9g.99gb", "schedulerName: migsched")
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: others}\n"
        + slices % ("1g.5gb", "restartPolicy: Never")
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: foreign}\n"
        + slices % ("1g.5gb", "schedulerName: volcano")
        + "---\napiVersion: v1\nkind: Pod\n"
        + "metadata: {name: hostile, annotations: {migsched.io/placement: '{}'}}\n"
        + slices % ("1g.5gb", "nodeName: node-1")
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: lost}\n"
        + slices % ("1g.5gb", "nodeName: nowhere")
    )
    pods = {pod["name"]: pod for pod in (await picture(examples=tmp_path))["pods"]}
    assert pods["mine"]["namespace"] == "team"
    assert "9g.99gb" in pods["mine"]["reason"]
    assert (pods["others"]["phase"], len(pods["others"]["slices"])) == ("Running", 1), "it needs no schedulerName"
    assert "schedulerName is volcano, which nothing here serves; leave it out" in pods["foreign"]["reason"]
    assert (pods["hostile"]["phase"], len(pods["hostile"]["slices"])) == ("Running", 1), "it gets a place of its own"
    assert "node nowhere, which there is not" in pods["lost"]["reason"]


async def test_the_other_mode_serves_pods_that_name_migsched(tmp_path: Path) -> None:
    """With the extender a pod that names no scheduler is told what to write; the shipped examples are told by us."""
    (tmp_path / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: mine}\n"
        "spec: {containers: [{name: a, resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}]}\n"
    )
    document = await picture(examples=tmp_path, nodes=1, gpus=1, mode=SchedulingMode.EXTENDER)
    assert document["mode"] == "extender"
    (pod,) = document["pods"]
    reason = "its schedulerName is default-scheduler, which nothing here serves; write schedulerName: migsched"
    assert (pod["phase"], pod["reason"]) == ("Pending", reason)
    document = await picture(nodes=1, mode=SchedulingMode.EXTENDER)
    assert {pod["name"] for pod in document["pods"] if pod["phase"] != "Running"} == {"cannot-fit"}


async def test_kinds_of_operators_are_placed_and_what_is_not_read_is_named(tmp_path: Path) -> None:
    """A DaemonSet, a LeaderWorkerSet and a graph over two nodes run; what was left out is in the document."""
    template = (
        "{spec: {schedulerName: migsched, containers: [{name: a, resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}]}}"
    )
    (tmp_path / "all.yaml").write_text(
        f"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: ds}}\nspec: {{template: {template}}}\n---\n"
        "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {name: lws}\n"
        f"spec: {{replicas: 2, leaderWorkerTemplate: {{size: 2, workerTemplate: {template}}}}}\n---\n"
        "apiVersion: nvidia.com/v1alpha1\nkind: DynamoGraphDeployment\nmetadata: {name: g}\nspec: {services: {w: {"
        "multinode: {nodeCount: 2}, scalingAdapter: {}, extraPodSpec: {schedulerName: migsched, mainContainer: "
        "{resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}}}}}\n---\n"
        "apiVersion: grove.io/v1alpha1\nkind: PodCliqueSet\nmetadata: {name: grove}\nspec: {}\n"
    )
    document = await picture(examples=tmp_path, nodes=2, gpus=1)
    assert {pod["phase"] for pod in document["pods"]} == {"Running"}
    assert sum(len(pod["slices"]) for pod in document["pods"]) == 2 + 4 + 2
    assert len({pod["node"] for pod in document["pods"] if pod["name"].startswith("ds-")}) == 2
    left = {(part["kind"], part["name"], part["field"]) for part in document["left_out"]}
    assert left == {("DynamoGraphDeployment", "g", "spec.services.w.scalingAdapter"), ("PodCliqueSet", "grove", "")}
    assert all(part["why"] for part in document["left_out"])


async def test_gated_pods_say_what_gates_them(tmp_path: Path) -> None:
    """A pod with scheduling gates is in the picture, with its gates."""
    (tmp_path / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: gated}\n"
        "spec: {schedulerName: migsched, schedulingGates: [{name: example.com/wait}], containers: [{name: a}]}\n"
    )
    (pod,) = (await picture(examples=tmp_path, nodes=1, gpus=1))["pods"]
    assert "example.com/wait" in pod["reason"]


def test_picture_without_colours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table fits a hundred columns and, in a pipe, holds no escape codes."""
    code, out, _ = run(capsys, monkeypatch, "demo", "--once", *FREE_PORTS)
    assert code == 0
    assert "\x1b" not in out
    assert max(len(line) for line in out.splitlines()) <= 100
    assert re.search(r"0 7a━+ ", out)
    assert "a batch-7g" in out, "the letter leads to the owner"
    assert "Ctrl-C" not in out, "it has ended"
    assert "cannot-fit" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "0"], "--nodes: 0: use 1"),
        (["--gpus", "99"], "--gpus: 99: a node has 1"),
        (["--model", "v100"], "model: 'v100': use one of a30-24gb"),
        (["--policy", "luck"], "--policy: 'luck': use one of mfi"),
        (["--examples", "/nowhere"], "/nowhere: 'file': cannot be read"),
        (["--api-port", "70000"], "--api-port: 70000"),
        (["--output", "xml"], "xml"),
    ],
)
def test_bad_flags_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that cannot be meant ends with exit code 2 and a message that names it."""
    code, out, err = run(capsys, monkeypatch, "demo", "--once", *FREE_PORTS, *arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("flag", ["--extender-port", "--api-port"])
def test_taken_port_names_its_flag(
    flag: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that somebody else has is named with the flag that changes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = run(capsys, monkeypatch, "demo", "--once", *FREE_PORTS, flag, port)
    assert code == 2
    assert err.startswith(f"migsched: {flag}: {port}: cannot listen")


async def test_it_serves_until_told_to_stop() -> None:
    """Without --once it prints the picture, answers `top` and `explain`, and ends in order on Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "demo", *FREE_PORTS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        api_url = await _api_url(process)
        code, out = await _ask(api_url, "explain", "cannot-fit")
        assert (code, "more than all its GPUs could hold" in out) == (1, True)
        code, out = await _ask(api_url, "top", "-o", "json")
        assert (code, len(json.loads(out))) == (0, 4)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
            await process.wait()


async def test_hints_work_as_printed(short_path: Path) -> None:
    """What the demo says to try runs in a shell, whatever the ports are; on 80 columns, so the path is short."""
    migsched = short_path / "migsched"
    migsched.write_text(f"#!{sys.executable}\nfrom cli.__main__ import main\nmain()\n")
    migsched.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(Path(main.__file__).parents[1]), "HOME": str(short_path)}
    process = await asyncio.create_subprocess_exec(
        migsched, "demo", *FREE_PORTS, stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        _, seen = await _served(process)
        hints = [line.strip() for line in seen.splitlines() if line.startswith("  ") and "│" not in line][:3]
        assert [hint.split()[1] for hint in hints[1:]] == ["top", "explain"]
        assert hints[1].endswith("--watch")
        script = "\n".join([hints[0], hints[1].removesuffix("--watch") + "-o json", hints[2]])
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", script, stdout=asyncio.subprocess.PIPE, env=environment
        )
        out, _ = await asyncio.wait_for(shell.communicate(), 60)
        assert shell.returncode == 1, "the pod has no place"
        assert out.count(b'"name": "node-') == 4
        assert b"cannot-fit" in out
        live = await asyncio.create_subprocess_exec(
            sys.executable, "-c", TERMINAL, "sh", "-c", f"{hints[0]}\n{hints[1]}",
            stdout=asyncio.subprocess.PIPE, env={**environment, "TERM": "xterm"},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(live.communicate(), 60)
        assert live.returncode == 0
        assert b"32 GPUs (5 used)" in out
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
            await process.wait()


TERMINAL = """
import os, pty, sys
sent = b""
def read(terminal):
    global sent
    block = os.read(terminal, 65536)
    sent += block
    if b"q quit" in sent:
        os.write(terminal, b"q")
    return block
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], read)))
"""  # a terminal that types q once the screen is there


async def _api_url(process: asyncio.subprocess.Process) -> str:
    """Where the API answers, once the picture is there."""
    return (await _served(process))[0]


async def _served(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Where the API answers, and what was printed, once the picture is there."""
    assert process.stdout is not None
    seen = ""
    while "cannot-fit " not in seen:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, seen
        seen += line.decode()
    found = re.search(r"(?:API|Page) (http://\S+)/ ", seen)
    assert found is not None
    return found[1], seen


async def _ask(api_url: str, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ, "MIGSCHED_API_URL": api_url}
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode()
