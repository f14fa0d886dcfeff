"""The least device plugin that a kubelet accepts: devices that are always healthy, and one CDI device for each."""

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from node_agent.kubelet import deviceplugin_pb2 as api

_SECONDS = 10.0


class DevicePlugin:
    """Serves one resource in a node's device-plugin directory; a context manager.

    Attributes:
        allocated: the device ids of each Allocate call, in order.
    """

    def __init__(self, directory: Path, resource: str, devices: list[str], cdi_kind: str) -> None:
        self.allocated: list[list[str]] = []
        self._directory = directory
        self._resource = resource
        self._devices = devices
        self._cdi_kind = cdi_kind
        self._stopping = futures.Future[None]()
        self._pool = futures.ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        self._server.add_insecure_port(f"unix:{directory / 'plugin.sock'}")

    def __enter__(self) -> Self:
        self._server.start()
        self.register()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set_result(None)
        self._server.stop(_SECONDS).wait()
        self._pool.shutdown()

    def register(self) -> None:
        """Tell the kubelet that this plugin is there."""
        request = api.RegisterRequest(version="v1beta1", endpoint="plugin.sock", resource_name=self._resource)
        with grpc.insecure_channel(f"unix:{self._directory / 'kubelet.sock'}") as channel:
            register = channel.unary_unary(
                "/v1beta1.Registration/Register",
                request_serializer=api.RegisterRequest.SerializeToString,
                response_deserializer=api.Empty.FromString,
            )
            register(request, timeout=_SECONDS, wait_for_ready=True)

    def options(self, _request: api.Empty, _context: grpc.ServicerContext) -> api.DevicePluginOptions:
        """GetDevicePluginOptions."""
        return api.DevicePluginOptions()

    def watch(self, _request: api.Empty, _context: grpc.ServicerContext) -> Iterator[api.ListAndWatchResponse]:
        """ListAndWatch: the kubelet takes the end of the stream for the end of the plugin."""
        yield api.ListAndWatchResponse(devices=[api.Device(ID=one, health="Healthy") for one in self._devices])
        self._stopping.result()

    def allocate(self, request: api.AllocateRequest, _context: grpc.ServicerContext) -> api.AllocateResponse:
        """Allocate: each device is handed over by its CDI name alone."""
        answer = api.AllocateResponse()
        for container in request.container_requests:
            ids = list(container.devices_ids)
            self.allocated.append(ids)
            answer.container_responses.append(
                api.ContainerAllocateResponse(
                    cdi_devices=[api.CDIDevice(name=f"{self._cdi_kind}={one}") for one in ids]
                )
            )
        return answer


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, plugin: DevicePlugin) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(
                plugin.options, api.Empty.FromString, api.DevicePluginOptions.SerializeToString
            ),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                plugin.watch, api.Empty.FromString, api.ListAndWatchResponse.SerializeToString
            ),
            "Allocate": grpc.unary_unary_rpc_method_handler(
                plugin.allocate, api.AllocateRequest.FromString, api.AllocateResponse.SerializeToString
            ),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._methods.get(handler_call_details.method.rpartition("/")[2])
