"""The chart's release on a real node: Helm installs it, and its pods run the built images as the kubelet finds them."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from allocator.claims import contract, placement_annotation
from testbed.control_plane.control_plane import ControlPlane
from testbed.image import build
from testbed.node.real_node import RealNode
from tests.e2e.helm import NAMESPACE, Document, Helm
from tests.e2e.real_node import pods

AGENTS = "migsched-agents"
GPUS = 2
SECONDS = 120.0  # for what takes seconds on a machine that has nothing else to do
PYTHON = "/opt/migsched/bin/python"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
PROFILE = "nvidia.com/mig-1g.5gb"


Place = tuple[str, int]  # GPU, start


@dataclass(frozen=True, slots=True)
class Held:
    """A pod's slice."""

    mig_uuid: str
    place: Place


class ChartRelease:
    """The release and what it serves. `node` has the images; `helm` is given values, as a user gives them."""

    def __init__(self, helm: Helm, cluster: ControlPlane, node: RealNode) -> None:
        self.helm = helm
        self.cluster = cluster
        self.node = node

    def deploy(self, values: Mapping[str, Any] | None = None, *, verb: str = "upgrade") -> str:
        """Install it, or change it to these values; returns at once, with what Helm says."""
        given = {
            "image": {"repository": f"{build.REPOSITORY}/migsched", "pullPolicy": "Never"},
            "simulate": {"enabled": True, "gpus": GPUS},
            **(values or {}),
        }
        # beside it are simulated nodes at times, on which no container runs
        given["scheduler"] = {"nodeSelector": {"kubernetes.io/hostname": self.node.name}, **given.get("scheduler", {})}
        flags = ["--install"] if verb == "upgrade" else []
        return self.helm.install(given, *flags, kubeconfig=self.cluster.kubeconfig, verb=verb)

    def rolled_out(self) -> None:
        """Wait until every pod of the release is of the last values, and ready."""
        for namespace, workload in ((NAMESPACE, "deployment/migsched-scheduler"), (AGENTS, "daemonset/migsched-agent")):
            rollout = ("rollout", "status", workload, f"--namespace={namespace}", f"--timeout={SECONDS:g}s")
            self.cluster.kubectl(*rollout, timeout_s=SECONDS + 10)

    def run(self, *command: str) -> None:
        """A command of Helm about the release."""
        done = self.helm.run(*command, "--namespace", NAMESPACE, kubeconfig=self.cluster.kubeconfig)
        assert done.returncode == 0, done.stderr

    # What there is

    def get(self, *arguments: str) -> Document:
        """Objects as the API server has them."""
        found: Document = json.loads(self.cluster.kubectl("get", *arguments, "--output=json").stdout)
        return found

    def pods_of(self, namespace: str) -> list[Document]:
        """The pods of a namespace that are not on their way out."""
        items = self.get("pods", f"--namespace={namespace}")["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def allocated(self) -> dict[str, Held]:
        """The slice of each pod, as the node's MigNode says."""
        status = json.dumps(self.get("mignode", self.node.name).get("status", {})).encode()
        report = contract.decode_status(status, self.node.name)
        return {
            cut.owner.pod: Held(cut.mig_uuid, (gpu.uuid, cut.placement.start))
            for gpu in report.gpus
            for cut in gpu.slices
            if cut.owner and cut.state.value == "allocated"
        }

    def leader(self) -> str:
        """The identity that holds the lease: the pod's name, and what its process chose."""
        return str(self.get("lease", "migsched-queue", f"--namespace={NAMESPACE}")["spec"]["holderIdentity"] or "")

    def token(self, pod: Document) -> str:
        """The token that the kubelet gave a pod of the release."""
        metadata = pod["metadata"]
        script = f"print(open({TOKEN!r}).read())"
        done = self.node.exec_in_pod(metadata["name"], PYTHON, "-c", script, namespace=metadata["namespace"])
        return done.stdout.strip()

    def eventually(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; fail the test, saying what did not happen."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {SECONDS:g} s: {what}")
            time.sleep(0.1)

    def places(self) -> dict[str, Place]:
        """Where the slice of each pod lies. By UUIDs they cannot be compared: simulated GPUs end with their agent."""
        return {pod: held.place for pod, held in self.allocated().items()}

    # Pods of users

    def start(self, *names: str, scheduler: str | None = None) -> None:
        """Create pods with a slice each and wait until they run, on slices of their own that the agent reports."""
        for name in names:
            document = pods.pod(name, pods.FOREVER, limits={PROFILE: 1})
            if scheduler:
                document["spec"]["schedulerName"] = scheduler
            self.cluster.apply([document])
        for name in names:
            ready = (f"pod/{name}", "--for=condition=Ready", f"--timeout={SECONDS:g}s")
            self.cluster.kubectl("wait", *ready, timeout_s=SECONDS + 10)
        self.eventually(lambda: set(names) <= self.allocated().keys(), "the agent reports their slices")

    def stop(self, *names: str) -> None:
        """Delete pods, and wait until their slices are given back."""
        self.cluster.kubectl("delete", "pods", *names, timeout_s=SECONDS)
        self.eventually(lambda: not set(names) & self.allocated().keys(), "their slices are given back")


def promises(pod: Document) -> list[Place]:
    """The place of each slice that a bound pod was promised. Equal pods of one node may get each other's."""
    text = pod["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION]
    return [(promise.gpu, promise.start) for promise in placement_annotation.decode(text, pod["spec"]["nodeName"])]


def lives(pod: Document) -> tuple[tuple[str, int], list[Place]]:
    """What must not change while a pod runs: its container and how often it restarted, and its place."""
    return pods.container(pod), promises(pod)
