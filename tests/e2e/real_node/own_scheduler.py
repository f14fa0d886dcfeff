"""The scheduler of a cluster's owner, with migsched's extender in its configuration (the chart's mode standalone)."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.e2e.helm import Document
from tests.e2e.real_node import stand_in_images


def objects(node: str, extenders: str, names: Mapping[str, str]) -> list[Document]:
    """A kube-scheduler in the network of a node. It serves pods that name it `own`.

    `extenders` is the part of its configuration that the chart shows; the Secret `default-scheduler` in kube-system has
    the files that it names. `names` are DNS names by address, since no service proxy is here.
    """
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "profiles": [{"schedulerName": "own"}],
        **yaml.safe_load(extenders),
    }
    (extender,) = config["extenders"]
    metadata = {"name": "own-scheduler", "namespace": "kube-system"}
    files = {"name": "files", "mountPath": str(Path(extender["tlsConfig"]["caFile"]).parent)}
    container = {
        "name": "kube-scheduler",
        "image": f"{stand_in_images.KUBE_SCHEDULER}:{stand_in_images.KUBE_SCHEDULER_TAG}",
        "imagePullPolicy": "Never",
        "args": ["--config=/config/config.yaml", "--secure-port=0"],
        "volumeMounts": [files, {"name": "config", "mountPath": "/config"}],
    }
    spec = {
        "nodeName": node,
        "hostNetwork": True,
        "hostAliases": [{"ip": address, "hostnames": [name]} for address, name in names.items()],
        "serviceAccountName": "own-scheduler",
        "containers": [container],
        "volumes": [
            {"name": "files", "secret": {"secretName": "default-scheduler"}},
            {"name": "config", "configMap": {"name": "own-scheduler"}},
        ],
    }
    account = {"kind": "ServiceAccount", **metadata}
    rights = [_right(role, account) for role in ("kube-scheduler", "volume-scheduler")]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *rights,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": json.dumps(config)}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    ]


def _right(role: str, account: Document) -> Document:
    """One of the roles that Kubernetes has for its own scheduler."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"own-scheduler-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"system:{role}"},
        "subjects": [account],
    }
