"""DevicePlugin: the gRPC server of one resource, to which the kubelet dials back. Kept by plugins.

What it answers comes from `DeviceBackend`, which service implements over `node_agent.allocation`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from allocator import errors
from node_agent.kubelet import deviceplugin_pb2 as pb
from node_agent.slices.offer import DeviceOffer

SERVICE = "v1beta1.DevicePlugin"
_log = structlog.get_logger("plugin")


@dataclass(frozen=True, slots=True)
class AllocateResponse:
    """What a container gets for its devices: CDI device names, environment, device nodes of the host, and where its
    `/dev/null` is mounted.
    """

    cdi: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None
    nodes: tuple[str, ...] = ()
    null_mounts: tuple[str, ...] = ()


class DeviceBackend(Protocol):
    """Who knows the devices."""

    async def offers(self) -> Mapping[str, Mapping[str, DeviceOffer]]:
        """Device ids and what the kubelet is told of them, by resource."""

    async def prefer(self, resource: str, available: Sequence[str], must: Sequence[str], size: int) -> Sequence[str]:
        """The ids the kubelet should pick."""

    async def allocate(self, resource: str, ids: Sequence[str]) -> AllocateResponse:
        """Make the devices ready. Raises MigschedError, in words for the pod's events, within its own deadline."""


class DevicePlugin:
    """Serves one resource on a Unix socket."""

    def __init__(self, resource: str, socket: Path, backend: DeviceBackend) -> None:
        self.resource = resource
        self.socket = socket
        self._backend = backend
        self._devices: Mapping[str, DeviceOffer] = {}
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(self, devices: Mapping[str, DeviceOffer]) -> None:
        """Listen, in place of whatever was at the socket."""
        self._devices = devices
        self.socket.unlink(missing_ok=True)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        server.add_insecure_port(f"unix://{self.socket}")
        await server.start()
        self._server = server

    async def update(self, devices: Mapping[str, DeviceOffer]) -> None:
        """Tell the kubelet if the devices are others now."""
        if devices is self._devices:  # asked every second, and hardly anything ever changes
            return
        changed = devices != self._devices
        self._devices = devices
        if changed:
            async with self._changed:
                self._changed.notify_all()

    async def stop(self) -> None:
        """End all streams and stop listening; running pods do not notice."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    def _handlers(self) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            "GetDevicePluginOptions": unary(
                self._options, pb.Empty.FromString, pb.DevicePluginOptions.SerializeToString
            ),
            "ListAndWatch": stream(self._watch, pb.Empty.FromString, pb.ListAndWatchResponse.SerializeToString),
            "GetPreferredAllocation": unary(
                self._prefer,
                pb.PreferredAllocationRequest.FromString,
                pb.PreferredAllocationResponse.SerializeToString,
            ),
            "Allocate": unary(self._allocate, pb.AllocateRequest.FromString, pb.AllocateResponse.SerializeToString),
            "PreStartContainer": unary(
                self._pre_start,
                pb.PreStartContainerRequest.FromString,
                pb.PreStartContainerResponse.SerializeToString,
            ),
        }

    async def _options(self, _: pb.Empty, __: object) -> pb.DevicePluginOptions:
        return options()

    async def _watch(self, _: pb.Empty, __: object) -> AsyncIterator[pb.ListAndWatchResponse]:
        sent: Mapping[str, DeviceOffer] | None = None
        while True:
            async with self._changed:
                while self._devices == sent:
                    await self._changed.wait()
                sent = self._devices
            yield pb.ListAndWatchResponse(devices=[_device(name, sent[name]) for name in sorted(sent)])

    async def _prefer(self, request: pb.PreferredAllocationRequest, _: object) -> pb.PreferredAllocationResponse:
        answer = pb.PreferredAllocationResponse()
        for container in request.container_requests:
            chosen = await self._backend.prefer(
                self.resource,
                list(container.available_deviceIDs),
                list(container.must_include_deviceIDs),
                container.allocation_size,
            )
            answer.container_responses.add(deviceIDs=chosen)
        return answer

    async def _allocate(
        self, request: pb.AllocateRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> pb.AllocateResponse:
        answer = pb.AllocateResponse()
        for container in request.container_requests:
            ids = list(container.devices_ids)
            try:
                given = await self._backend.allocate(self.resource, ids)
            except errors.MigschedError as error:
                _log.warning("allocate refused", resource=self.resource, ids=ids, error=str(error))
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            answer.container_responses.append(_response(given))
        return answer

    async def _pre_start(self, _: pb.PreStartContainerRequest, __: object) -> pb.PreStartContainerResponse:
        return pb.PreStartContainerResponse()


def options() -> pb.DevicePluginOptions:
    """What we want of the kubelet: to be asked which devices to take; not to be called at each container start."""
    return pb.DevicePluginOptions(pre_start_required=False, get_preferred_allocation_available=True)


def _device(name: str, offer: DeviceOffer) -> pb.Device:
    """Without a NUMA node no topology at all: an empty one would say that the device is next to no CPU."""
    device = pb.Device(ID=name, health="Healthy" if offer.healthy else "Unhealthy")
    if offer.numa_node is not None:
        device.topology.nodes.add(ID=offer.numa_node)
    return device


def _response(given: AllocateResponse) -> pb.ContainerAllocateResponse:
    return pb.ContainerAllocateResponse(
        envs=dict(given.env or {}),
        devices=[pb.DeviceSpec(container_path=path, host_path=path, permissions="rw") for path in given.nodes],
        mounts=[pb.Mount(container_path=path, host_path="/dev/null", read_only=True) for path in given.null_mounts],
        cdi_devices=[pb.CDIDevice(name=name) for name in given.cdi],
    )
