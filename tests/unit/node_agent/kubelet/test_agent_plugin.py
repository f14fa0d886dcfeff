"""What a device plugin tells the kubelet of its devices, read off the wire."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio

from node_agent.kubelet import deviceplugin_pb2 as pb
from node_agent.kubelet.plugin import AllocateResponse, DevicePlugin
from node_agent.slices.offer import DeviceOffer

RESOURCE = "nvidia.com/mig-1g.5gb"


class NoBackend:
    """A DeviceBackend that is asked nothing."""

    async def offers(self) -> Mapping[str, Mapping[str, DeviceOffer]]:
        """See DeviceBackend."""
        return {}

    async def prefer(self, *_: Any, **__: Any) -> Sequence[str]:
        """See DeviceBackend."""
        return ()

    async def allocate(self, *_: Any, **__: Any) -> AllocateResponse:
        """See DeviceBackend."""
        return AllocateResponse()


@asynccontextmanager
async def watched(directory: Path, devices: Mapping[str, DeviceOffer]) -> AsyncIterator[pb.ListAndWatchResponse]:
    """The first message of ListAndWatch."""
    plugin = DevicePlugin(RESOURCE, directory / "p.sock", NoBackend())
    await plugin.start(devices)
    async with grpc.aio.insecure_channel(f"unix://{plugin.socket}") as channel:
        watch = channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=pb.Empty.SerializeToString,
            response_deserializer=pb.ListAndWatchResponse.FromString,
        )
        async for told in watch(pb.Empty()):
            yield told
            break
    await plugin.stop()


async def test_the_kubelet_is_told_the_numa_node_of_each_device(short_path: Path) -> None:
    """A device next to a NUMA node, 0 included, has that one node; one without has no topology at all."""
    devices = {"a": DeviceOffer(numa_node=0), "b": DeviceOffer(numa_node=1), "c": DeviceOffer()}
    async with watched(short_path, devices) as told:
        assert {one.ID: [node.ID for node in one.topology.nodes] for one in told.devices} == {
            "a": [0],
            "b": [1],
            "c": [],
        }
        assert [one.HasField("topology") for one in told.devices] == [True, True, False]


async def test_the_kubelet_is_told_which_devices_are_well(short_path: Path) -> None:
    """Health is told in the kubelet's words."""
    async with watched(short_path, {"a": DeviceOffer(), "b": DeviceOffer(healthy=False)}) as told:
        assert [one.health for one in told.devices] == ["Healthy", "Unhealthy"]
