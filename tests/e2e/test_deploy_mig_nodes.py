"""The MigNode CRD as the genuine API server enforces it, written under the agent's account."""

import json
import ssl
from collections.abc import Iterator

import httpx
import pytest
import yaml

from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.unit.deploy import mig_nodes

pytestmark = pytest.mark.e2e

REFUSED = mig_nodes.BAD | mig_nodes.BAD_FOR_API_SERVER


NODE = "n1"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with deploy/ applied and a node."""
    with deployed.cluster(binaries, tmp_path_factory.mktemp("deploy")) as started:
        deployed.create(started, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        yield started


@pytest.fixture(scope="module")
def agent(cluster: ControlPlane) -> str:
    """The token of the node's agent, which has made its MigNode, without a status."""
    empty = {"apiVersion": "migsched.io/v1alpha1", "kind": "MigNode", "metadata": {"name": NODE}}
    kubeconfig = deployed.agent_kubeconfig(cluster, NODE)
    cluster.kubectl("create", "--filename=-", f"--kubeconfig={kubeconfig}", standard_input=json.dumps(empty))
    token: str = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))["users"][0]["user"]["token"]
    return token


def report(cluster: ControlPlane, status: mig_nodes.Status, token: str) -> httpx.Response:
    """Write a whole status with one PATCH, as an agent does; kubectl would read the subresource first."""
    trust = ssl.create_default_context(cafile=cluster.directory / "certificates" / "ca.crt")
    return httpx.patch(
        f"{cluster.url}/apis/migsched.io/v1alpha1/mignodes/{NODE}/status",
        content=json.dumps({"status": dict.fromkeys(mig_nodes.FIELDS) | status}),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
        verify=trust,
        trust_env=False,
    )


@pytest.mark.parametrize("status", mig_nodes.GOOD.values(), ids=mig_nodes.GOOD.keys())
def test_what_agents_write_is_stored_whole(cluster: ControlPlane, agent: str, status: mig_nodes.Status) -> None:
    """A status of the contract's code is taken from the agent's account, and nothing of it is dropped or changed."""
    stored = report(cluster, status, agent).json()["status"]
    for gpu in stored.get("gpus", []):  # the schema's defaults are those of the code, which leaves them out
        for field, value in (("healthy", True), ("migMode", "Unsupported")):
            if gpu[field] == value:
                del gpu[field]
    assert stored == status


@pytest.mark.parametrize("status", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused(cluster: ControlPlane, agent: str, status: mig_nodes.Status) -> None:
    """A status with one bad value is refused as invalid."""
    assert report(cluster, status, agent).json()["reason"] == "Invalid"


def test_the_table_shows_the_summary(cluster: ControlPlane, agent: str) -> None:
    """`kubectl get mn` shows models, GPUs, slices and readiness of a node."""
    assert report(cluster, mig_nodes.GOOD["every kind of slice and GPU"], agent).status_code == httpx.codes.OK
    header, row = cluster.kubectl("get", "mn").stdout.splitlines()
    assert " ".join(header.split()) == "NAME MODELS GPUS SLICES ALLOCATED FREE SLICES READY AGE"
    assert row.split()[:7] == ["n1", "a100-40gb", "3", "4", "2", "3", "True"]


def test_the_scheduler_may_not_write_reports(cluster: ControlPlane) -> None:
    """A report is the agent's word: the scheduler's account is refused."""
    assert report(cluster, mig_nodes.GOOD["no GPU"], cluster.tokens[deployed.SCHEDULER]).json()["reason"] == "Forbidden"
