"""A genuine API server with deploy/ applied to it, and what tests of it share."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.control_plane import build
from simulator.control_plane.control_plane import ControlPlane
from tests.unit.deploy import manifests

SCHEDULER = "system:serviceaccount:migsched-system:migsched-scheduler"
AGENT = "system:serviceaccount:migsched-agents:migsched-agent"
EXTENDER = "extender-alone"  # has the extender's role and not, like the scheduler's account, kube-scheduler's as well
USERS = {
    EXTENDER: ["system:authenticated"],
    SCHEDULER: ["system:serviceaccounts", "system:serviceaccounts:migsched-system", "system:authenticated"],
    AGENT: ["system:serviceaccounts", "system:serviceaccounts:migsched-agents", "system:authenticated"],
}
SLICE = {"limits": {"nvidia.com/mig-1g.5gb": "1"}}
SECONDS = 30.0


@contextlib.contextmanager
def cluster(binaries: build.Binaries, directory: Path) -> Iterator[ControlPlane]:
    """An API server with the secondary scheduler's and the agents' objects applied."""
    with ControlPlane(directory, binaries=binaries, users=USERS) as started:
        for folder in ("kustomize", "rbac/agent"):
            started.kubectl("apply", "--server-side", "--validate=strict", f"--kustomize={manifests.DEPLOY / folder}")
        role = ["--clusterrole=migsched-scheduler", f"--user={EXTENDER}"]
        started.kubectl("create", "clusterrolebinding", EXTENDER, *role)
        started.kubectl("wait", "--for=condition=Established", "crd/mignodes.migsched.io")
        yield started


def create(cluster: ControlPlane, document: dict[str, Any], *arguments: str) -> str:
    """Create an object; return what kubectl said, warnings included. CommandError if it was refused."""
    done = cluster.kubectl("create", *arguments, "--filename=-", standard_input=json.dumps(document))
    return done.stdout + done.stderr


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container; `resources` are the container's, all else is the pod's spec."""
    container = {"name": "main", "image": "none", "resources": spec.pop("resources", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": spec.pop("namespace", "default")},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail the test, saying what did not happen, if it never does."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {SECONDS:g} s: {what}")
        time.sleep(0.05)
