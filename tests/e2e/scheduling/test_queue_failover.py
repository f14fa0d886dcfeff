"""Two service processes with a lease, under the shipped account, rights and policies, on a stock kube-scheduler."""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION
from simulator.cluster import queue_policy
from testbed.control_plane import build, ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed, history, policy_gate
from tests.e2e.history import Recorder
from tests.e2e.scheduling.queued_workloads import pod
from tests.e2e.scheduling.stack import MODEL, Document, ExtenderProcess, Stack, bound, eventually, placements

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NODES, GPUS, PODS = 4, 4, 100
LEASE_S, RENEW_DEADLINE_S, RETRY_S = 7, 5, 0.5  # half of the default: a crash costs a test that much


class Replicas:
    """A stack, and two services of which each has taken part in one election."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack = stack
        self.first, self.second = (
            ExtenderProcess(
                stack.plane.kubeconfig_of(deployed.SCHEDULER),
                folder,
                *ports.choose_free(2),
                queue=True,
                leader_election=True,
                lease_duration_s=LEASE_S,
                lease_renew_deadline_s=RENEW_DEADLINE_S,
                lease_retry_s=RETRY_S,
            )
            for folder in (directory / "first", directory / "second")
        )

    def start(self, fail_points: str = "") -> None:
        """The first leads, the second stands by."""
        self.first.start(fail_points)
        eventually(lambda: leads(self.first), "the first leads")
        self.second.start()

    def follow(self) -> float:
        """Seconds from the death of the first until the second leads, by their logs."""
        eventually(lambda: self.first.killed, "the first is killed")
        eventually(lambda: leads(self.second), "the second leads")
        return (logged(self.second, "leads") - logged(self.first, "a fail point acts")).total_seconds()

    def stop(self) -> None:
        """End both."""
        self.first.stop()
        self.second.stop()


def leads(service: ExtenderProcess) -> bool:
    """Whether it decides, by what its metrics say."""
    try:
        with urllib.request.urlopen(f"{service.api_url}/metrics", timeout=5) as answer:
            return "\nmigsched_leader 1.0" in answer.read().decode()
    except OSError:
        return False


def logged(service: ExtenderProcess, event: str) -> datetime:
    """When a service logged an event first."""
    lines = (json.loads(line) for line in service.log().splitlines() if line.startswith("{"))
    return next(datetime.fromisoformat(line["timestamp"]) for line in lines if line["event"] == event)


@pytest.fixture(scope="module")
def stack(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """4 nodes × 4 A100-40GB, a stock kube-scheduler, and what deploy/ ships for two replicas."""
    directory = tmp_path_factory.mktemp("failover")
    with ControlPlane(directory / "plane", binaries=binaries, users=deployed.USERS) as plane:
        policy_gate.require(plane)
        plane.start_controller_manager()
        deployed.apply_options(plane, "queue", "queue-replicas")
        queue_policy.wait_until(plane, gates=True)
        plane.start_scheduler()
        with closing(Stack(plane, NODES, GPUS)) as made:
            yield made


@pytest.fixture
def replicas(stack: Stack, tmp_path: Path) -> Iterator[Replicas]:
    """Both replicas, not started; afterwards no workloads are left."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    made = Replicas(stack, tmp_path)
    yield made
    made.stop()
    stack.clear()


@pytest.fixture
def recorder(stack: Stack) -> Iterator[Recorder]:
    """The cluster's history, which breaks no rule."""
    recording = Recorder(stack.plane.kubeconfig)
    yield recording
    assert history.violations(recording.stop(), gpu_models.find(MODEL)) == []


def all_run(stack: Stack, recorder: Recorder, number: int) -> None:
    """Every pod comes to run where it was promised, and nothing is cut beside."""

    def running() -> bool:
        seen = [document for document in recorder.pods() if document["metadata"]["namespace"] == "default"]
        return len(seen) == number and all(document["status"]["phase"] == "Running" for document in seen)

    eventually(running, "all pods running")
    promised = {gpu: sorted(place for _, place in there) for gpu, there in placements(stack, stack.pods()).items()}
    assert sum(len(there) for there in promised.values()) == number
    assert promised == {gpu: sorted(there) for gpu, there in stack.agents.in_use().items() if there}


def burst(number: int) -> list[Document]:
    return [pod(f"p-{n}", "1g.5gb") for n in range(number)]


def test_a_leader_killed_in_a_burst_is_followed(replicas: Replicas, recorder: Recorder) -> None:
    """Of 100 pods none is lost and none is placed twice; the second takes over once the lease has run out."""
    replicas.start("queue.released=kill@30")
    replicas.stack.create(*burst(PODS))
    seconds = replicas.follow()
    print(f"take-over after {seconds:.1f} s, with a lease of {LEASE_S} s looked at every {RETRY_S} s")  # noqa: T201
    assert LEASE_S - RETRY_S - 1 < seconds < LEASE_S + RETRY_S + 5
    all_run(replicas.stack, recorder, PODS)


def test_a_successor_goes_on_in_the_middle_of_a_gang(replicas: Replicas, recorder: Recorder) -> None:
    """A gang of which some pods are released when the leader dies is completed, and stands where it was promised."""
    replicas.start("queue.released=kill@3")
    marks = {GANG_ANNOTATION: "torn", GANG_SIZE_ANNOTATION: "8"}
    replicas.stack.create(*(pod(f"torn-{n}", "3g.20gb", annotations=marks) for n in range(8)))
    replicas.follow()
    all_run(replicas.stack, recorder, 8)


def test_a_burst_outlives_etcd_and_the_api_server(replicas: Replicas, recorder: Recorder, tmp_path: Path) -> None:
    """Both are stopped and started in mid-burst; then a clean stop hands the rest over within a look at the lease."""
    stack = replicas.stack
    replicas.start()
    stack.create(*burst(PODS // 2))
    eventually(lambda: len(bound(recorder.pods())) > PODS // 10, "a part of the burst bound")
    stack.plane.save(tmp_path / "saved")
    stack.create(*(pod(f"q-{n}", "1g.5gb") for n in range(PODS // 2)))
    leader, other = (replicas.first, replicas.second) if leads(replicas.first) else (replicas.second, replicas.first)
    leader.stop()
    began = time.monotonic()
    eventually(lambda: leads(other), "the other leads")
    print(f"hand-over {time.monotonic() - began:.1f} s after a clean stop")  # noqa: T201
    all_run(stack, recorder, PODS)
