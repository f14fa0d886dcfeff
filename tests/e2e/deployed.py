"""A genuine API server with deploy/ applied to it, and what tests of it share."""

import asyncio
import base64
import contextlib
import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.admission.webhook import PATH
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
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
def cluster(
    binaries: build.Binaries, directory: Path, users: Mapping[str, Sequence[str]] = USERS
) -> Iterator[ControlPlane]:
    """An API server with the secondary scheduler's and the agents' objects applied."""
    with ControlPlane(directory, binaries=binaries, users=users) as started:
        for folder in ("kustomize", "agent"):
            started.kubectl("apply", "--server-side", "--validate=strict", f"--kustomize={manifests.DEPLOY / folder}")
        role = ["--clusterrole=migsched-scheduler", f"--user={EXTENDER}"]
        started.kubectl("create", "clusterrolebinding", EXTENDER, *role)
        started.kubectl("wait", "--for=condition=Established", "crd/mignodes.migsched.io")
        yield started


def apply_options(cluster: ControlPlane, *options: str) -> None:
    """Apply the scheduler's objects with options of it, all but the Deployment."""
    cluster.apply([document for document in built_with(cluster, *options) if document["kind"] != "Deployment"])


def built_with(cluster: ControlPlane, *options: str) -> list[dict[str, Any]]:
    """The scheduler's objects with options of it."""
    folder = cluster.directory / "-".join(("overlay", *options))
    folder.mkdir()

    def relative(path: Path) -> str:
        return os.path.relpath(path, folder)

    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(manifests.DEPLOY / "kustomize")],
        "components": [relative(manifests.DEPLOY / "options" / option) for option in options],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder)).stdout))


def agent_token(cluster: ControlPlane, node: str) -> str:
    """A token as the agent's pod on a node has it: of the agents' account, and it says where the pod runs."""
    name, namespace = f"agent-on-{node}", "migsched-agents"
    create(cluster, pod(name, namespace=namespace, nodeName=node, serviceAccountName="migsched-agent"))
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={name}"]
    return cluster.kubectl("create", "token", "migsched-agent", f"--namespace={namespace}", *bound).stdout.strip()


def agent_kubeconfig(cluster: ControlPlane, node: str) -> Path:
    """A kubeconfig with such a token."""
    config = yaml.safe_load(cluster.kubeconfig_of(AGENT).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": agent_token(cluster, node)}
    path = cluster.directory / f"agent-on-{node}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


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


async def soon(condition: Callable[[], bool], what: str) -> None:
    """`eventually`, while the test's event loop goes on."""
    await asyncio.to_thread(eventually, condition, what)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail the test, saying what did not happen, if it never does."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {SECONDS:g} s: {what}")
        time.sleep(0.05)


def webhook_at(url: str, authority: Path) -> dict[str, Any]:
    """The shipped webhook configuration, which asks an address in place of a Service's name."""
    shipped = manifests.DEPLOY / "options" / "queue-webhook" / "webhook.yaml"
    document = copy.deepcopy(dict(manifests.one(shipped, "MutatingWebhookConfiguration")))
    bundle = base64.b64encode(authority.read_bytes()).decode()
    document["webhooks"][0]["clientConfig"] = {"url": f"{url}{PATH}", "caBundle": bundle}
    return document


def gates_of(cluster: ControlPlane, document: dict[str, Any]) -> list[str]:
    """The gates that a pod would have."""
    made = json.loads(create(cluster, document, "--dry-run=server", "--output=json"))
    return [gate["name"] for gate in made["spec"].get("schedulingGates", ())]
