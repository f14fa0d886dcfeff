"""The product's own pods on a real node: made from the manifests in deploy/, as their controllers would make them."""

from typing import Any

import yaml

from testbed.control_plane.control_plane import ControlPlane
from testbed.node import configuration
from tests.unit.deploy import manifests

API_SERVER = "kubernetes.default.svc"  # a name that the serving certificate has
_AUTHORITY = "kube-root-ca.crt"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def apply(cluster: ControlPlane, folder: str) -> list[dict[str, Any]]:
    """Apply a kustomization of deploy/ and return its objects."""
    path = manifests.DEPLOY / folder
    cluster.kubectl("apply", "--server-side", "--validate=strict", "--force-conflicts", f"--kustomize={path}")
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(path)).stdout))


def template(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The pod's specification in the only Deployment or DaemonSet among objects."""
    (controller,) = (document for document in objects if document["kind"] == kind)
    spec: dict[str, Any] = controller["spec"]["template"]["spec"]
    return spec


def bring_token(cluster: ControlPlane, spec: dict[str, Any], namespace: str) -> None:
    """Give a pod its account's token and the API server's address, for which a real cluster has controllers."""
    authority = cluster.directory / "certificates" / "ca.crt"
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _AUTHORITY, "namespace": namespace},
                "data": {"ca.crt": authority.read_text(encoding="ascii")},
            }
        ]
    )
    field = {"fieldRef": {"fieldPath": "metadata.namespace"}, "path": "namespace"}
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": _AUTHORITY}},
        {"downwardAPI": {"items": [field]}},
    ]
    spec["automountServiceAccountToken"] = False
    spec["hostAliases"] = [{"ip": configuration.NODE_ADDRESS, "hostnames": [API_SERVER]}]
    spec["volumes"].append({"name": "account", "projected": {"sources": sources}})
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        container["imagePullPolicy"] = "Never"
        container["volumeMounts"].append({"name": "account", "mountPath": _ACCOUNT, "readOnly": True})
        container.setdefault("env", []).extend(
            [
                {"name": "KUBERNETES_SERVICE_HOST", "value": API_SERVER},
                {"name": "KUBERNETES_SERVICE_PORT", "value": cluster.url.rpartition(":")[2]},
            ]
        )


def agent(cluster: ControlPlane, name: str) -> dict[str, Any]:
    """The DaemonSet's pod without a token; this node's /run is not shared, as systemd would make it."""
    spec = template(apply(cluster, "agent"), "DaemonSet")
    (container,) = spec["containers"]
    for mount in container["volumeMounts"]:
        mount.pop("mountPropagation", None)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "migsched-agents"},
        "spec": spec,
    }
