"""What deploy/ has of other projects' kinds is taken by a genuine API server, under the schemas that they publish."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator import errors
from kubeclient.kube import Connection
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import foreign_crds
from tests.unit.deploy import manifests, monitoring, olm

pytestmark = pytest.mark.e2e

NAMESPACES = ("migsched-system", "migsched-agents", "openshift-secondary-scheduler-operator")
OURS = {"migsched.io", "krew.googlecontainertools.github.com"}  # our own kind, and one that is no object of a cluster
NOT_PUBLISHED_HERE = {"DynamoGraphDeployment"}  # Dynamo's graph: tests/data/crds/README.md
PAGES = [manifests.DEPLOY.parent / "docs" / f"{name}.md" for name in ("openshift", "operatorhub")]
COMPONENT = monitoring.MONITORING / "dcgm-same-names"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that knows the kinds."""
    with ControlPlane(tmp_path_factory.mktemp("foreign"), binaries=binaries) as started:
        foreign_crds.install(started)
        for namespace in NAMESPACES:
            started.kubectl("create", "namespace", namespace)
        yield started


@pytest.fixture
async def connection(cluster: ControlPlane) -> AsyncIterator[Connection]:
    """An administrator's connection."""
    made = await Connection.connect(cluster.kubeconfig)
    yield made
    await made.close()


def foreign(documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those objects whose kind is another project's."""
    return [document for document in documents if foreign_crds.group(document) not in {"", *OURS}]


async def refusals(connection: Connection, documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the API server says against objects."""
    said = []
    for document in documents:
        try:
            await foreign_crds.take(connection, document)
        except errors.ClusterError as error:
            said.append(f"{document['kind']} {document['metadata']['name']}: {error}")
    return said


async def test_objects_of_other_projects_are_taken(connection: Connection) -> None:
    """Each object of another project's kind is taken with strict validation; a kind without a schema here is named."""
    found = foreign([document for path in manifests.files() for document in manifests.documents(path)])
    tried = [document for document in found if document["kind"] not in NOT_PUBLISHED_HERE]
    assert {foreign_crds.group(document) for document in tried} <= foreign_crds.GROUPS
    assert {document["kind"] for document in tried} >= {
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "ScaledObject",
        "SecondaryScheduler",
    }
    assert await refusals(connection, tried) == []


@pytest.mark.parametrize(
    "folder", ["monitoring", "openshift-monitoring", "openshift-monitoring-lock", "with-component"]
)
async def test_each_way_to_monitor_is_taken(
    cluster: ControlPlane, connection: Connection, folder: str, tmp_path: Path
) -> None:
    """Both kustomizations of monitoring build and are taken, and so is an overlay with the component."""
    path = manifests.DEPLOY / folder
    if folder == "with-component":
        path = tmp_path
        base, part = (os.path.relpath(target, tmp_path) for target in (monitoring.MONITORING, COMPONENT))
        overlay = {"resources": [base], "components": [part]}
        (path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    built = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(path)).stdout))
    found = foreign(built)
    assert await refusals(connection, found) == []
    rules = {document["metadata"]["name"]: document for document in found if document["kind"] == "PrometheusRule"}
    assert rules.keys() >= {"migsched-scheduler", "migsched-agent", "migsched-dcgm"}
    assert ("migsched-dcgm-same-names" in rules) == (folder == "with-component")
    scope = "openshift.io/prometheus-rule-evaluation-scope"
    assert (scope in rules["migsched-agent"]["metadata"]["labels"]) == folder.startswith("openshift-monitoring")
    assert scope not in rules["migsched-dcgm"]["metadata"]["labels"]
    (boards,) = (one for one in built if one["kind"] == "ConfigMap" and "dashboards" in one["metadata"]["name"])
    assert len(boards["data"]) == 2
    assert sum(map(len, boards["data"].values())) < 2**20  # the most that a ConfigMap holds


async def test_objects_for_operatorhub_and_on_pages_are_taken(connection: Connection) -> None:
    """The ClusterServiceVersion, the mirror sets, and what pages show of OLM's and OpenShift's kinds are taken."""
    found = [olm.read(olm.CSV_FILE), *manifests.documents(olm.MIRROR / "mirror-sets.yaml")]
    found += [document for page in PAGES for document in olm.documents_in(page)]
    tried = [{**one, "metadata": {**one["metadata"], "namespace": NAMESPACES[0]}} for one in foreign(found)]
    assert {one["kind"] for one in tried} == {
        "CatalogSource",
        "ClusterServiceVersion",
        "ImageDigestMirrorSet",
        "ImageTagMirrorSet",
        "OperatorGroup",
        "Subscription",
    }
    assert await refusals(connection, tried) == []


def test_both_halves_of_operatorhubs_installation_are_taken(cluster: ControlPlane) -> None:
    """The bundle's objects but its ClusterServiceVersion, and those beside it, are taken by the API server."""
    beside = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(manifests.OLM / "beside")).stdout
    assert "daemonset.apps/migsched-agent serverside-applied" in beside
    paths = [path for path in sorted((olm.BUNDLE / "manifests").iterdir()) if path != olm.CSV_FILE]
    bundled = [f"--filename={path}" for path in paths]
    taken = cluster.kubectl("apply", "--server-side", "--dry-run=server", *bundled).stdout
    assert taken.count("serverside-applied") == len(paths)


async def test_a_field_that_there_is_not_is_refused(connection: Connection) -> None:
    """The schemas are in force: one misspelled field of a monitor is enough."""
    found = manifests.one(monitoring.MONITORING / "scrape" / "scheduler.yaml", "ServiceMonitor")
    found["spec"]["endpoints"][0]["intervall"] = "30s"
    (said,) = await refusals(connection, [found])
    assert "intervall" in said
