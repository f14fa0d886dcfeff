"""`migsched cluster` as a developer runs it: a genuine control plane from one command, gone after Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from allocator.claims import contract, placement_annotation
from allocator.mig import gpu_models
from testbed.control_plane import build
from tests.e2e.scheduling.stack import eventually

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, "-m", "cli"]
MODEL = "h100-80gb"
POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 7
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: none, resources: {limits: {nvidia.com/mig-1g.10gb: 1}}}]
"""


@contextmanager
def cluster(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and what it printed once the cluster was there."""
    command = [*COMMAND, "cluster", "--extender-port", "0", "--api-port", "0", *arguments]
    patient = {**os.environ, "MIGSCHED_TIE_WAIT_S": "1"}  # however busy this machine is, Bindings come in that time
    with tempfile.TemporaryFile("w+") as progress:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=progress, text=True, env=patient)
        try:
            yield process, _summary(process, progress)
        finally:
            process.kill()
            process.communicate()


def _summary(process: subprocess.Popen[str], progress: IO[str]) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("Try: "):
            return seen
    progress.seek(0)
    pytest.fail(f"it ended by itself: {progress.read()}")


def kubectl(binaries: build.Binaries, kubeconfig: str, *arguments: str, text: str = "") -> str:
    """What kubectl says."""
    environment = {"KUBECONFIG": kubeconfig, "PATH": os.environ["PATH"], "HOME": str(Path(kubeconfig).parent)}
    done = subprocess.run(
        [binaries.kubectl, *arguments], input=text, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def page_of(summary: str) -> str:
    """The address of the web page."""
    found = re.search(r"^web page +(\S+)$", summary, re.MULTILINE)
    assert found is not None
    return found[1]


def owners_on(page: str) -> set[str]:
    """The owners of the slices that the web page shows."""
    answer = httpx.get(f"{page}api/v1/overview", trust_env=False, timeout=60)
    gpus = (gpu for node in answer.raise_for_status().json()["nodes"] for gpu in node["gpus"])
    return {piece["owner"] for gpu in gpus for piece in gpu["slices"]}


def test_cluster_schedules_and_stops(binaries: build.Binaries) -> None:
    """Its kubectl works, a Deployment fills one GPU, `top` and the page show it, and Ctrl-C leaves no process and no
    folder.
    """
    with cluster("--nodes", "2", "--gpus", "1", "--model", MODEL) as (process, summary):
        found = re.search(r"export KUBECONFIG=(\S+)", summary)
        assert found is not None
        kubeconfig = found[1]
        logs = Path(kubeconfig).parent / "logs"
        assert str(logs) in summary
        assert {"kube-apiserver.log", "kube-scheduler.log"} <= {one.name for one in logs.iterdir()}
        kubectl(binaries, kubeconfig, "apply", "--filename=-", text=POD)
        kubectl(binaries, kubeconfig, "rollout", "status", "deployment/web", "--timeout=50s")
        pods = json.loads(kubectl(binaries, kubeconfig, "get", "pods", "--output=json"))["items"]
        places = [one for pod in pods for one in _promises(pod)]
        assert len({(one.gpu, one.start) for one in places}) == len(places) == 7
        assert {one.gpu for one in places} == {places[0].gpu}, "seven small pods belong on one GPU"
        catalogue = gpu_models.find(MODEL)
        assert all(catalogue.placement(one.profile, one.start) for one in places)
        shown = subprocess.run(
            [*COMMAND, "top", "--mig-nodes", "--kubeconfig", kubeconfig, "-o", "json"],
            capture_output=True,
            timeout=60,
            check=True,
        )
        masks = sorted(gpu["mask"] for node in json.loads(shown.stdout) for gpu in node["gpus"])
        assert masks == [0, 0b1111111]
        eventually(lambda: owners_on(page_of(summary)) == {"Deployment/web"}, "the page shows whose slices they are")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert not Path(kubeconfig).parent.exists()
        assert not _processes_naming(kubeconfig)


def test_kept_cluster_comes_back_as_it_was(binaries: build.Binaries, tmp_path: Path) -> None:
    """With a directory the objects are there again after a stop, and pods have the places they had."""
    seen = []
    for _ in range(2):
        with cluster("--nodes", "1", "--gpus", "1", "--model", MODEL, "--directory", str(tmp_path)) as (process, _):
            kubeconfig = str(tmp_path / "kubeconfig")
            kubectl(binaries, kubeconfig, "apply", "--filename=-", text=POD)
            kubectl(binaries, kubeconfig, "rollout", "status", "deployment/web", "--timeout=50s")
            pods = json.loads(kubectl(binaries, kubeconfig, "get", "pods", "--output=json"))["items"]
            seen.append({pod["metadata"]["uid"]: _promises(pod) for pod in pods})
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "0"], "--nodes: 0"),
        (["--model", "v100"], "model: 'v100'"),
        (["--policy", "luck"], "--policy: 'luck'"),
    ],
)
def test_bad_flags_start_nothing(arguments: list[str], message: str, tmp_path: Path) -> None:
    """A flag that cannot be meant is named before anything is started, and leaves no folder behind."""
    command = [*COMMAND, "cluster", *arguments]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "starting" not in done.stderr
    assert not list(tmp_path.iterdir())


def _promises(pod: dict[str, Any]) -> tuple[placement_annotation.Promise, ...]:
    return placement_annotation.decode(pod["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION])


def _processes_naming(text: str) -> list[str]:
    """Command lines of running processes that name a text."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = one.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if text in line:
            found.append(line)
    return found
