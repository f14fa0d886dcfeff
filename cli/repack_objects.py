"""Repack objects as commands write them: with the caller's own rights, through the kubeconfig's cluster.

Used by `migsched repack` and `migsched drain`. kubectl can do the same: docs/repacking.md.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.moves import document as repacks
from allocator.planning import document_reader
from allocator.planning.repack.types import RepackDocument
from cli import api_client

_PATH = f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.REPACKS}"
_NODES = "/api/v1/nodes"
_MERGE = "application/merge-patch+json"

T = TypeVar("T")


def spec_of(value: Any, mode: str) -> dict[str, Any]:
    """The spec of a Repack that wants what a planning document asks. Raises InputError for what a Repack has not."""
    asked = document_reader.read(value, RepackDocument)
    if asked.budgets.gpc is not None:
        fix = "a Repack counts moves, memory and pods of a service; leave it out"
        raise errors.InputError("budgets.gpc", asked.budgets.gpc, fix)
    if asked.prices:
        raise errors.InputError("prices", dict(asked.prices), "they do not change a Repack's moves; leave them out")
    budgets: dict[str, Any] = {"moves": asked.budgets.moves}
    if asked.budgets.pods_per_service is not None:
        budgets["perService"] = asked.budgets.pods_per_service
    if asked.budgets.pods_per_namespace is not None:
        budgets["perNamespace"] = asked.budgets.pods_per_namespace
    if asked.budgets.memory_mib is not None:
        budgets["memoryMib"] = asked.budgets.memory_mib
    requests = [
        {key: part for key, part in msgspec.to_builtins(request).items() if part is not msgspec.UNSET}
        for request in asked.requests
    ]
    empty = {"gpus": asked.empty.gpus, "nodes": list(asked.empty.nodes)}
    share = {} if asked.stranded_share is None else {"strandedShare": asked.stranded_share}
    spec = {
        "wanted": {"requests": requests, "empty": empty, **share},
        "budgets": budgets,
        "mode": mode,
        "priority": asked.priority,
    }
    repacks.read_spec(msgspec.json.encode(spec))
    return spec


def create(address: api_client.Address, name: str, spec: dict[str, Any]) -> None:
    """Make a Repack. Raises ClusterErrors, SettingsError without a kubeconfig."""
    kind = {"apiVersion": f"{contract.GROUP}/{contract.VERSION}", "kind": "Repack"}
    body = msgspec.json.encode({**kind, "metadata": {"name": name}, "spec": spec})
    _on_cluster(address, lambda connection: connection.request("POST", _PATH, body=body))


def approve(address: api_client.Address, name: str) -> None:
    """Let a Repack of mode Approve be carried out."""
    _patch(address, f"{_PATH}/{quote(name, safe='')}", {"spec": {"approved": True}})


def cordon(address: api_client.Address, node: str) -> None:
    """Let a node take no more pods."""
    _patch(address, f"{_NODES}/{quote(node, safe='')}", {"spec": {"unschedulable": True}})


def _patch(address: api_client.Address, path: str, patch: dict[str, Any]) -> None:
    body = msgspec.json.encode(patch)
    _on_cluster(address, lambda connection: connection.request("PATCH", path, body=body, content_type=_MERGE))


def _on_cluster(address: api_client.Address, call: Callable[[Any], Awaitable[T]]) -> T:
    """One call to the API server of the kubeconfig's cluster."""
    if address.url is not None:
        fix = "Repacks are objects of a cluster: name it by --kubeconfig or --context, not by --api-url"
        raise errors.SettingsError("api_url", address.url, fix)
    return asyncio.run(_called(address, call))


async def _called(address: api_client.Address, call: Callable[[Any], Awaitable[T]]) -> T:
    from kubeclient.kube import Connection  # slow to load
    from kubeclient.kubeconfig import Kubeconfig

    files = api_client.kubeconfigs(address.kubeconfig)
    if not files:
        raise errors.SettingsError("kubeconfig", "~/.kube/config", "there is none: name one, or set KUBECONFIG")
    connection = await Connection.to(await Kubeconfig.load(*files, context=address.context))
    try:
        return await call(connection)
    finally:
        await connection.close()
