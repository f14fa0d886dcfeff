"""Access from within a pod, by its service account: what Kubernetes mounts into each container. Made by `kube`.

Environment variables name the API server; a directory holds its certificate authority and a token, which the kubelet
renews there before it runs out (Kubernetes documentation, "Accessing the Kubernetes API from a Pod").
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from allocator import errors
from kubeclient import token
from kubeclient.tls_files import CHECK_S, TlsFiles

DIRECTORY = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOST = "KUBERNETES_SERVICE_HOST"
PORT = "KUBERNETES_SERVICE_PORT"


class ServiceAccount:
    """The service account of the pod that we run in. Raises SettingsError where there is none."""

    def __init__(self, directory: Path | None = None, *, check_s: float = CHECK_S) -> None:
        directory = directory or DIRECTORY
        host, port = os.environ.get(HOST, ""), os.environ.get(PORT, "")
        if not host or not port:
            raise _unusable(f"{HOST} and {PORT} are not set")
        self.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self.server_name = ""
        self._token = directory / "token"
        authority = str(directory / "ca.crt")
        try:
            self._tls = TlsFiles(
                lambda: ssl.create_default_context(cafile=authority), lambda: (authority,), check_s=check_s
            )
            token.read(self._token)
        except OSError as error:
            raise _unusable(f"{directory}: {error}") from error

    async def headers(self) -> Mapping[str, str]:
        """See Access. The token is read again: it is another one every hour or so."""
        return {"Authorization": f"Bearer {token.read(self._token)}"}

    def ssl_context(self) -> ssl.SSLContext:
        """See Access."""
        return self._tls.context()

    def refused(self) -> None:
        """See Access. The token is read again each time."""

    async def close(self) -> None:
        """See Access. Nothing is open."""


def _unusable(why: str) -> errors.SettingsError:
    return errors.SettingsError(
        "kubeconfig", "service account", f"cannot be used: {why}; outside of a cluster name a kubeconfig file"
    )
