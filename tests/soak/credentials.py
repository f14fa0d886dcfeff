"""Rotation: a kubeconfig whose token is replaced again and again, and whose old tokens stop working.

Each token is a service account's, bound to a Secret; with the Secret deleted the API server refuses the token. That is
what a short-lived token does at its end, without the ten minutes that are the shortest life it can be asked for.
"""

import json
import time
from pathlib import Path

import yaml

from testbed.control_plane.control_plane import ControlPlane

NAMESPACE = "default"
ACCOUNT = "soak"
OVERLAP_S = 15.0  # an old token still works so long: services read the file anew within this time


class Rotation:
    """The kubeconfig of both services; it reaches the API server at a port that is given."""

    def __init__(self, cluster: ControlPlane, port: int, directory: Path) -> None:
        self.kubeconfig = directory / "kubeconfig-soak"
        self.rotations = 0
        self._cluster = cluster
        self._token = directory / "token"
        self._replaced: dict[str, float] = {}  # secrets of tokens that were replaced, and when
        self._create_account()
        config = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        config["users"][0]["user"] = {"tokenFile": str(self._token)}
        self.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.kubeconfig.chmod(0o600)
        self.rotate()

    def rotate(self) -> None:
        """Write a new token; those that were replaced long enough ago end."""
        secret = f"{ACCOUNT}-{self.rotations}"
        self._cluster.kubectl("create", "secret", "generic", secret, f"--namespace={NAMESPACE}")
        bound = (f"--namespace={NAMESPACE}", "--bound-object-kind=Secret", f"--bound-object-name={secret}")
        token = self._cluster.kubectl("create", "token", ACCOUNT, *bound).stdout.strip()
        new = self._token.with_name("token.new")
        new.write_text(token, encoding="ascii")
        new.chmod(0o600)
        new.replace(self._token)
        now = time.monotonic()
        for old, replaced in list(self._replaced.items()):
            if now - replaced > OVERLAP_S:
                self._cluster.kubectl("delete", "secret", old, f"--namespace={NAMESPACE}")
                del self._replaced[old]
        if self.rotations:
            self._replaced[f"{ACCOUNT}-{self.rotations - 1}"] = now
        self.rotations += 1

    def _create_account(self) -> None:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
        }
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        }
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [account, binding]})
        self._cluster.kubectl("apply", "--filename=-", standard_input=text)
