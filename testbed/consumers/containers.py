"""Gives containers the fetched programs, in place of a vendor's image of many GiB. Called by tests and `make stack`.

A vendor's image cannot be pulled here. What its programs need is mounted read-only: the machine's libraries, its Python
and the fetched packages. An image of them would be imported and unpacked for 6 s (Triton) and 10 s (Dynamo) into every
node's directory (docs/adr/0031); mounted, they cost nothing. All else in a manifest stays as it is written.
"""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.consumers.packages import Packages
from testbed.node import configuration, image

_API_NAME = "kubernetes.default.svc"  # in the API server's certificate
_AUTHORITY = "kube-root-ca.crt"
_LIBRARIES = ("/usr", "/lib", "/lib64")

PodSpec = dict[str, Any]


def with_programs(spec: PodSpec, packages: Packages, environment: Mapping[str, str], *more: Path) -> PodSpec:
    """A pod's spec whose containers see the programs, and `more` file trees, under the paths of this machine.

    `environment` is what the vendor's image would set; what a container sets itself wins.
    """
    changed = copy.deepcopy(spec)
    trees = [*_file_trees(packages), *more]
    mounted = {f"tree-{index}": str(path) for index, path in enumerate(trees)}
    changed.setdefault("volumes", []).extend(
        {"name": name, "hostPath": {"path": path, "type": "Directory"}} for name, path in mounted.items()
    )
    for container in changed["containers"]:
        container["image"], container["imagePullPolicy"] = image.BUSYBOX, "Never"
        own = container.get("env", [])
        named = {variable["name"] for variable in own}
        container["env"] = [
            *({"name": name, "value": value} for name, value in environment.items() if name not in named),
            *own,
        ]
        container.setdefault("volumeMounts", []).extend(
            {"name": name, "mountPath": path, "readOnly": True} for name, path in mounted.items()
        )
    return changed


def _file_trees(packages: Packages) -> list[Path]:
    """The directories that the programs need, none within another."""
    python = Path(sys.base_prefix).resolve()
    trees = [Path(name) for name in _LIBRARIES if Path(name).is_dir()]
    trees += [] if python.is_relative_to("/usr") else [python]
    return [*trees, packages.directory.resolve()]


def with_api_access(spec: PodSpec, port: int) -> PodSpec:
    """A pod's spec whose containers find the API server as in a cluster, under the pod's service account.

    In place of the service proxy and the admission plugin that a local cluster lacks. `port` is the API server's. The
    namespace needs the ConfigMap of `authority`.
    """
    changed = copy.deepcopy(spec)
    changed["automountServiceAccountToken"] = False  # a volume of our own takes its place
    changed.setdefault("hostAliases", []).append({"ip": configuration.NODE_ADDRESS, "hostnames": [_API_NAME]})
    changed.setdefault("volumes", []).append(
        {
            "name": "api-access",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": _AUTHORITY, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {
                        "downwardAPI": {
                            "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                        }
                    },
                ]
            },
        }
    )
    for container in changed["containers"]:
        container["env"] = [
            *container.get("env", []),
            {"name": "KUBERNETES_SERVICE_HOST", "value": _API_NAME},
            {"name": "KUBERNETES_SERVICE_PORT", "value": str(port)},
        ]
        container.setdefault("volumeMounts", []).append(
            {"name": "api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
        )
    return changed


def authority(certificate: Path) -> dict[str, Any]:
    """The ConfigMap by which pods know the API server's authority, as every namespace of a cluster has it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _AUTHORITY},
        "data": {"ca.crt": certificate.read_text(encoding="ascii")},
    }
