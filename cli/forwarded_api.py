"""The capacity API of a cluster's scheduler, asked by a port-forward through the API server. Opened by `api_client`.

The rights it takes are to list pods, and to get and create pods/portforward, in the scheduler's namespace. API server,
credentials and context are the kubeconfig's. Where the API is locked, which its pod's probes tell, the user's token is
sent through the tunnel, over TLS with the pod.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cli import api_client, credentials
from cli.api_client import Reply
from kubeclient.kube import Connection
from kubeclient.kubeconfig import Kubeconfig
from kubeclient.port_forward import PortForward

SERVICE = "migsched"
PORT = 8080  # of the capacity API in deploy/kustomize
SELECTOR = "app.kubernetes.io/name=migsched,app.kubernetes.io/component=scheduler"
MAX_ANSWER = 2**28  # bytes: the snapshot of the largest cluster has tens of millions


@contextlib.contextmanager
def opened(
    files: Sequence[Path], context: str | None, namespace: str, *, token: str = "", authority: Path | None = None
) -> Iterator["ForwardedApi"]:
    """The API of the scheduler in a namespace. Raises SettingsError, NoAnswerError and other ClusterErrors.

    `token` is sent in place of the user's own. Without `authority` any certificate is taken: that the tunnel leads to
    the scheduler's pod is what the API server says, whose certificate is checked.
    """
    with asyncio.Runner() as runner:
        api = ForwardedApi(runner, runner.run(_connect(files, context, namespace, token, authority)))
        try:
            yield api
        finally:
            runner.run(api.close())


class ForwardedApi:
    """See CapacityApi."""

    def __init__(self, runner: asyncio.Runner, forward: "_Forward") -> None:
        self._runner = runner
        self._forward = forward
        self.where = forward.where
        self.without_token = "" if forward.headers else credentials.NO_TOKEN

    def get(self, target: str) -> Reply:
        """See CapacityApi."""
        answer = self._runner.run(self._forward.port.get(target, self._forward.headers, timeout_s=api_client.SECONDS))
        return Reply(answer.status, answer.body, api_client.SERVER)  # its labels say who it is

    async def close(self) -> None:
        """Close connections."""
        await self._forward.close()


class _Forward:
    """What is open for it."""

    def __init__(self, access: Kubeconfig, port: PortForward, where: str, headers: Mapping[str, str]) -> None:
        self._access = access
        self.port = port
        self.where = where
        self.headers = headers

    async def close(self) -> None:
        await self.port.close()
        await self._access.close()


async def _connect(
    files: Sequence[Path], context: str | None, namespace: str, token: str, authority: Path | None
) -> _Forward:
    access = await Kubeconfig.load(*files, context=context)
    connection = await Connection.to(access)
    try:
        pod = await _scheduler(connection, namespace, access.host)
    finally:
        await connection.close()
    tls = None
    if _speaks_tls(pod):
        tls = _trust(authority)
        token = token or credentials.bearer(dict(await access.headers()))
    name = str(pod["metadata"]["name"])
    server_name = f"{SERVICE}.{namespace}.svc"
    port = PortForward(access, namespace, name, PORT, max_answer=MAX_ANSWER, tls=tls, server_name=server_name)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return _Forward(access, port, f"{namespace}/{name} of {access.host}", headers)


def _speaks_tls(pod: Mapping[str, Any]) -> bool:
    """Whether the API's port speaks TLS: the kubelet has to know it for its probes."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    probes = [(container.get("readinessProbe") or {}).get("httpGet") or {} for container in containers]
    return any(probe.get("port") == PORT and probe.get("scheme") == "HTTPS" for probe in probes)


def _trust(authority: Path | None) -> ssl.SSLContext:
    context = credentials.trust(authority)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _scheduler(connection: Connection, namespace: str, host: str) -> Mapping[str, Any]:
    """A running pod of the scheduler. Raises NoAnswerError where there is none."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = (await connection.list(path, _pod, {"labelSelector": SELECTOR})).items
    for pod in pods:
        if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            return pod
    there = f"{len(pods)} that do not run" if pods else "none"
    raise api_client.NoAnswerError(
        f"--scheduler-namespace: {namespace!r}: of pods with {SELECTOR} there are {there} at {host}; "
        "name the namespace of migsched's scheduler, or its API by --api-url"
    )


def _pod(text: bytes | msgspec.Raw) -> dict[str, Any]:
    pod: dict[str, Any] = msgspec.json.decode(text)
    return pod
