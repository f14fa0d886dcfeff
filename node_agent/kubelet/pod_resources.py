"""PodResources: which container of which pod holds which devices, as the kubelet knows it. Asked by service."""

import time
from collections.abc import Callable
from pathlib import Path

import grpc.aio

from node_agent.kubelet import channel
from node_agent.kubelet import podresources_pb2 as pb
from node_agent.slices.ownership import Holder, PodResourcesView

SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
METHOD = "/v1.PodResourcesLister/List"
_VENDOR = "nvidia.com/"
_TIMEOUT_S = 5.0


class PodResources:
    """The kubelet's PodResources socket. The connection is kept while it works; `close` it in the end."""

    def __init__(self, socket: Path = SOCKET, clock: Callable[[], float] = time.monotonic) -> None:
        self._socket = socket
        self._clock = clock
        self._connection: grpc.aio.Channel | None = None

    async def list(self) -> PodResourcesView:
        """Every NVIDIA device that a container holds. Raises KubeletError."""
        asked_at = self._clock()
        try:
            with channel.translated(self._socket):
                answer = await self._ask()
        except channel.KubeletError:
            await self.close()
            raise
        return PodResourcesView(asked_at, _holders(answer))

    async def close(self) -> None:
        """Leave the kubelet; the next question connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _ask(self) -> pb.ListPodResourcesResponse:
        if self._connection is None:
            self._connection = channel.dial(self._socket)
        call = self._connection.unary_unary(
            METHOD,
            request_serializer=pb.ListPodResourcesRequest.SerializeToString,
            response_deserializer=pb.ListPodResourcesResponse.FromString,
        )
        answer: pb.ListPodResourcesResponse = await call(pb.ListPodResourcesRequest(), timeout=_TIMEOUT_S)
        return answer


def _holders(answer: pb.ListPodResourcesResponse) -> dict[tuple[str, str], Holder]:
    return {
        (devices.resource_name, device_id): Holder(pod.namespace, pod.name, container.name)
        for pod in answer.pod_resources
        for container in pod.containers
        for devices in container.devices
        if devices.resource_name.startswith(_VENDOR)
        for device_id in devices.device_ids
    }
