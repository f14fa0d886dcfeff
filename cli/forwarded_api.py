"""The capacity API of a cluster's scheduler, asked by a port-forward through the API server. Opened by `api_client`.

The rights it takes are to list pods, and to get and create pods/portforward, in the scheduler's namespace. API server,
credentials and context are the kubeconfig's.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cli import api_client
from cli.api_client import Reply
from kubeclient.kube import Connection
from kubeclient.kubeconfig import Kubeconfig
from kubeclient.port_forward import PortForward

PORT = 8080  # of the capacity API in deploy/kustomize
SELECTOR = "app.kubernetes.io/name=migsched,app.kubernetes.io/component=scheduler"
MAX_ANSWER = 2**28  # bytes: the snapshot of the largest cluster has tens of millions


@contextlib.contextmanager
def opened(files: Sequence[Path], context: str | None, namespace: str) -> Iterator["ForwardedApi"]:
    """The API of the scheduler in a namespace. Raises SettingsError, NoAnswerError and other ClusterErrors."""
    with asyncio.Runner() as runner:
        api = ForwardedApi(runner, runner.run(_connect(files, context, namespace)))
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

    def get(self, target: str) -> Reply:
        """See CapacityApi."""
        answer = self._runner.run(self._forward.port.get(target, timeout_s=api_client.SECONDS))
        return Reply(answer.status, answer.body, api_client.SERVER)  # its labels say who it is

    async def close(self) -> None:
        """Close connections."""
        await self._forward.close()


class _Forward:
    """What is open for it."""

    def __init__(self, access: Kubeconfig, port: PortForward, where: str) -> None:
        self._access = access
        self.port = port
        self.where = where

    async def close(self) -> None:
        await self.port.close()
        await self._access.close()


async def _connect(files: Sequence[Path], context: str | None, namespace: str) -> _Forward:
    access = await Kubeconfig.load(*files, context=context)
    connection = await Connection.to(access)
    try:
        pod = await _scheduler(connection, namespace, access.host)
    finally:
        await connection.close()
    port = PortForward(access, namespace, pod, PORT, max_answer=MAX_ANSWER)
    return _Forward(access, port, f"{namespace}/{pod} of {access.host}")


async def _scheduler(connection: Connection, namespace: str, host: str) -> str:
    """The name of a running pod of the scheduler. Raises NoAnswerError where there is none."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = (await connection.list(path, _pod, {"labelSelector": SELECTOR})).items
    for pod in pods:
        if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    there = f"{len(pods)} that do not run" if pods else "none"
    raise api_client.NoAnswerError(
        f"--scheduler-namespace: {namespace!r}: of pods with {SELECTOR} there are {there} at {host}; "
        "name the namespace of migsched's scheduler, or its API by --api-url"
    )


def _pod(text: bytes | msgspec.Raw) -> dict[str, Any]:
    pod: dict[str, Any] = msgspec.json.decode(text)
    return pod
