"""DeviceManager: the kubelet's side of device plugins and of PodResources, on Unix sockets, without a kubelet.

It does what the kubelet does as far as plugins can see: removes sockets when it starts, dials back to registered
plugins, counts devices, asks for a preference and allocates exactly what it was told to prefer. Used by `node_kubelet`,
by tests of the node agent and by `migsched bench agent`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from allocator import errors
from node_agent.kubelet import channel
from node_agent.kubelet import deviceplugin_pb2 as pb
from node_agent.kubelet import podresources_pb2 as resources_pb
from simulator.cluster.pod_devices import PodDevices

DEADLINE_S = 20.0


class AllocateRefusedError(errors.MigschedError):
    """A container cannot have what it asks for; in the kubelet's words."""


@dataclass
class Endpoint:
    """A registered plugin: its channel and the devices it announced."""

    channel: grpc.aio.Channel
    devices: dict[str, str] = field(default_factory=dict)
    watcher: "asyncio.Task[None] | None" = None


class DeviceManager:
    """Sockets under a directory: `device-plugins/kubelet.sock` and `pod-resources/kubelet.sock`.

    `held` is what tests gave to containers: device ids by namespace, pod, container and resource. PodResources lists
    it, but for what is in `unlisted`, and beside it what `pods` have. Raises AioRpcError where a plugin refuses,
    TimeoutError where it does not answer.
    """

    def __init__(self, root: Path) -> None:
        self.pods = PodDevices()
        self.plugins = root / "device-plugins"
        self.pod_resources = root / "pod-resources" / "kubelet.sock"
        self.endpoints: dict[str, Endpoint] = {}
        self.registrations: list[str] = []
        self.held: dict[tuple[str, str, str, str], list[str]] = {}
        self.unlisted: set[tuple[str, str, str, str]] = set()
        self._servers: list[grpc.aio.Server] = []
        self._news = asyncio.Condition()

    async def start(self) -> None:
        """Begin, as the kubelet does: without the sockets of plugins that were there."""
        for path in (self.plugins, self.pod_resources.parent):
            path.mkdir(parents=True, exist_ok=True)
            for socket in path.glob("*.sock"):
                socket.unlink()
        await self._serve(
            self.plugins / "kubelet.sock",
            "v1beta1.Registration",
            {
                "Register": grpc.unary_unary_rpc_method_handler(
                    self._register, pb.RegisterRequest.FromString, pb.Empty.SerializeToString
                )
            },
        )
        await self._serve(
            self.pod_resources,
            "v1.PodResourcesLister",
            {
                "List": grpc.unary_unary_rpc_method_handler(
                    self._list,
                    resources_pb.ListPodResourcesRequest.FromString,
                    resources_pb.ListPodResourcesResponse.SerializeToString,
                )
            },
        )

    async def stop(self) -> None:
        """The kubelet ends; what containers have is in its checkpoint."""
        for server in self._servers:
            await server.stop(None)
        self._servers.clear()
        endpoints = list(self.endpoints.values())
        self.endpoints.clear()
        for endpoint in endpoints:
            await _close(endpoint)

    async def until(self, *resources: str, deadline_s: float | None = DEADLINE_S) -> None:
        """Until these resources have devices."""
        async with asyncio.timeout(deadline_s), self._news:
            await self._news.wait_for(lambda: all(r in self.endpoints and self.endpoints[r].devices for r in resources))

    async def allocate(
        self, pod: str, resource: str, number: int = 1, *, container: str = "main", reuse: Sequence[str] = ()
    ) -> pb.ContainerAllocateResponse:
        """Give a container devices."""
        ids = await self.choose(resource, number, reuse=reuse)
        answer = await self.allocate_exactly(resource, ids)
        self.held["default", pod, container, resource] = ids
        return answer

    async def give(self, resource: str, number: int, *, reuse: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """Devices for a container, those of `reuse` first: their ids, and the CDI names that the plugin gave them.

        Raises AllocateRefusedError.
        """
        try:
            ids = await self.choose(resource, number, reuse=reuse)
            if len(ids) < number:
                short = f"requested number of devices unavailable for {resource}"
                raise AllocateRefusedError(f"{short}. Requested: {number}, Available: {len(ids)}")
            answer = await self.allocate_exactly(resource, ids)
        except grpc.aio.AioRpcError as error:
            code = "".join(word.title() for word in error.code().name.split("_"))
            raise AllocateRefusedError(f"rpc error: code = {code} desc = {error.details()}") from error
        return ids, [device.name for device in answer.cdi_devices]

    async def choose(self, resource: str, number: int = 1, *, reuse: Sequence[str] = ()) -> list[str]:
        """The ids to allocate: those that the plugin prefers, then any free ones."""
        endpoint = self.endpoints[resource]
        held = {device_id for ids in self.held.values() for device_id in ids}
        taken = (held | self.pods.taken()) - set(reuse)
        free = [
            device_id
            for device_id, health in sorted(endpoint.devices.items())
            if health == "Healthy" and device_id not in taken
        ]
        prefer = endpoint.channel.unary_unary(
            "/v1beta1.DevicePlugin/GetPreferredAllocation",
            request_serializer=pb.PreferredAllocationRequest.SerializeToString,
            response_deserializer=pb.PreferredAllocationResponse.FromString,
        )
        request = pb.PreferredAllocationRequest()
        request.container_requests.add(
            available_deviceIDs=free, must_include_deviceIDs=list(reuse), allocation_size=number
        )
        preferred = (await prefer(request, timeout=DEADLINE_S)).container_responses[0].deviceIDs
        ids = [device_id for device_id in dict.fromkeys(preferred) if device_id in free][:number]
        return ids + [device_id for device_id in free if device_id not in ids][: number - len(ids)]

    async def allocate_exactly(self, resource: str, ids: Sequence[str]) -> pb.ContainerAllocateResponse:
        """Allocate these ids."""
        call = self.endpoints[resource].channel.unary_unary(
            "/v1beta1.DevicePlugin/Allocate",
            request_serializer=pb.AllocateRequest.SerializeToString,
            response_deserializer=pb.AllocateResponse.FromString,
        )
        request = pb.AllocateRequest()
        request.container_requests.add(devices_ids=list(ids))
        answer: pb.AllocateResponse = await call(request, timeout=DEADLINE_S)
        return answer.container_responses[0]

    async def _serve(self, socket: Path, service: str, handlers: dict[str, "grpc.RpcMethodHandler[Any, Any]"]) -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        self._servers.append(server)

    async def _register(
        self, request: pb.RegisterRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.Empty:
        if request.version != "v1beta1" or not request.options.get_preferred_allocation_available:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unsupported")
        old = self.endpoints.pop(request.resource_name, None)
        if old is not None:
            await _close(old)
        endpoint = Endpoint(channel.connection(self.plugins / request.endpoint))
        self.endpoints[request.resource_name] = endpoint
        self.registrations.append(request.resource_name)
        endpoint.watcher = asyncio.create_task(self._watch(endpoint))
        return pb.Empty()

    async def _watch(self, endpoint: Endpoint) -> None:
        call = endpoint.channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=pb.Empty.SerializeToString,
            response_deserializer=pb.ListAndWatchResponse.FromString,
        )
        try:
            async for answer in call(pb.Empty()):
                async with self._news:
                    endpoint.devices = {device.ID: device.health for device in answer.devices}
                    self._news.notify_all()
        except grpc.aio.AioRpcError:
            endpoint.devices = {}

    async def _list(self, _: resources_pb.ListPodResourcesRequest, __: object) -> resources_pb.ListPodResourcesResponse:
        answer = resources_pb.ListPodResourcesResponse()
        for key, ids in self.held.items():
            if key not in self.unlisted:
                namespace, pod, container, resource = key
                entry = answer.pod_resources.add(name=pod, namespace=namespace)
                entry.containers.add(name=container).devices.add(resource_name=resource, device_ids=ids)
        for held, container, by_resource in self.pods.listed():
            listed = answer.pod_resources.add(name=held.name, namespace=held.namespace).containers.add(name=container)
            for resource, device_ids in by_resource.items():
                listed.devices.add(resource_name=resource, device_ids=device_ids)
        return answer


async def _close(endpoint: Endpoint) -> None:
    if endpoint.watcher is not None:
        endpoint.watcher.cancel()
        await asyncio.gather(endpoint.watcher, return_exceptions=True)
    await endpoint.channel.close()
