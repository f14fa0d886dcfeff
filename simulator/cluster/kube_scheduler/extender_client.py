"""ExtenderClient: the extender's HTTP wire, as kube-scheduler 1.36 speaks it. Used by scheduler.

Go's structs carry no tags, so keys are the exact field names; unset pointers are sent as null. An answer is judged as
kube-scheduler does: anything but status 200, a timeout, text that does not decode, or a filled `Error` is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from allocator import errors
from simulator.cluster.api import Document
from simulator.cluster.kube_scheduler.in_tree import NodeRefusal


class ExtenderError(errors.MigschedError):
    """The extender did not answer, or its answer cannot be used."""


class _FilterResult(msgspec.Struct, frozen=True, rename="pascal"):
    nodes: dict[str, Any] | None = None
    node_names: list[str] | None = None
    failed_nodes: dict[str, str] | None = None
    failed_and_unresolvable_nodes: dict[str, str] | None = None
    error: str = ""


class _HostPriority(msgspec.Struct, frozen=True, rename="pascal"):
    host: str
    score: int


class _BindingResult(msgspec.Struct, frozen=True, rename="pascal"):
    error: str = ""


@dataclass(frozen=True, slots=True)
class Filtered:
    """Nodes that do, and why others do not; a node in neither was dropped without a word."""

    nodes: tuple[str, ...]
    refusals: Mapping[str, NodeRefusal]


class ExtenderClient:
    """One extender at `url` (`http://127.0.0.1:8765/v1`). With `node_cache_capable` nodes are sent by name alone."""

    def __init__(self, url: str, *, node_cache_capable: bool, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._by_name = node_cache_capable
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))

    async def close(self) -> None:
        """Give back connections."""
        await self._session.close()

    async def filter(self, pod: Document, nodes: Mapping[str, Document]) -> Filtered:
        """Which of these nodes do. Raises ExtenderError."""
        result = await self._post("filter", self._args(pod, nodes), _FilterResult)
        if result.error:
            raise ExtenderError(result.error)
        if self._by_name:
            names = tuple(result.node_names or ())
        else:
            names = tuple(node["metadata"]["name"] for node in (result.nodes or {}).get("items") or ())
        for name in names:
            if name not in nodes:
                raise ExtenderError(
                    f'extender "{self._url}" claims a filtered node "{name}" which is not found in the input node list'
                )
        refusals = {name: NodeRefusal((why,), resolvable=True) for name, why in (result.failed_nodes or {}).items()}
        refusals |= {
            name: NodeRefusal((why,), resolvable=False)
            for name, why in (result.failed_and_unresolvable_nodes or {}).items()
        }
        return Filtered(names, refusals)

    async def prioritize(self, pod: Document, nodes: Mapping[str, Document]) -> Mapping[str, int]:
        """Scores by node. Raises ExtenderError."""
        scores = await self._post("prioritize", self._args(pod, nodes), list[_HostPriority])
        return {entry.host: entry.score for entry in scores}

    async def bind(self, namespace: str, name: str, uid: str, node: str) -> None:
        """Let the extender bind a pod. Raises ExtenderError if it did not."""
        body = {"PodName": name, "PodNamespace": namespace, "PodUID": uid, "Node": node}
        result = await self._post("bind", body, _BindingResult)
        if result.error:
            raise ExtenderError(result.error)

    def _args(self, pod: Document, nodes: Mapping[str, Document]) -> Document:
        if self._by_name:
            return {"Pod": pod, "Nodes": None, "NodeNames": list(nodes)}
        items: Sequence[Document] = list(nodes.values())
        return {"Pod": pod, "Nodes": {"metadata": {}, "items": items}, "NodeNames": None}

    async def _post(self, verb: str, body: Document, answer: type[Any]) -> Any:
        url = f"{self._url}/{verb}"
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=msgspec.json.encode(body), headers=headers) as response:
                if response.status != 200:
                    raise ExtenderError(f"failed {verb} with extender at URL {url}, code {response.status}")
                return msgspec.json.decode(await response.read(), type=answer)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise ExtenderError(f'Post "{url}": {type(error).__name__} {error}') from error
