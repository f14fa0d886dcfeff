"""Kinds of other projects on a genuine API server, by the definitions that their projects publish."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeclient.kube import Connection
from testbed.control_plane.control_plane import ControlPlane

CRDS = Path(__file__).parents[1] / "data" / "crds"
GROUPS = frozenset(path.stem.partition(".")[2] for path in CRDS.glob("*.yaml"))  # files are named plural.group
CLUSTER_WIDE = {"ClusterQueue", "ResourceFlavor", "ImageDigestMirrorSet", "ImageTagMirrorSet"}
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


def install(cluster: ControlPlane) -> None:
    """Have the API server serve every kind of tests/data/crds.

    kubectl does not validate them: it would ask for the schemas of all kinds, which the API server makes anew for each.
    """
    cluster.kubectl("create", "--validate=false", f"--filename={CRDS}")
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")


def group(document: Mapping[str, Any]) -> str:
    """The API group of an object; empty for Kubernetes' own, which have no dot or end with `.k8s.io`."""
    name = str(document["apiVersion"]).rpartition("/")[0]
    return name if "." in name and not name.endswith(".k8s.io") else ""


async def take(connection: Connection, document: Mapping[str, Any]) -> None:
    """Have the API server judge an object of such a kind, without a field that it does not know, and keep nothing.

    Raises ClusterError where it refuses it.
    """
    kind, metadata = str(document["kind"]), document["metadata"]
    plurals = {path.name.split(".")[0] for path in CRDS.glob("*.yaml")}
    plural = f"{kind.lower()}s"
    assert plural in plurals, f"tests/data/crds has no definition of {kind}"
    cluster_wide = kind in CLUSTER_WIDE
    place = "" if cluster_wide else f"/namespaces/{metadata.get('namespace', 'default')}"
    path = f"/apis/{document['apiVersion']}{place}/{plural}"
    await connection.request("POST", path, body=json.dumps(document).encode(), query=STRICT)
