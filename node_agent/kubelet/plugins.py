"""Plugins: one device plugin per resource, served and registered for as long as the agent runs. Run by service.

A starting kubelet removes every socket in its directory and forgets its plugins, so its own socket is watched: when
it is another one, all plugins are served and registered again. What the kubelet refuses is tried again.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import structlog

from node_agent.kubelet import channel, plugin
from node_agent.kubelet import deviceplugin_pb2 as pb
from node_agent.kubelet.plugin import DeviceBackend, DevicePlugin
from node_agent.slices.offer import DeviceOffer

DIRECTORY = Path("/var/lib/kubelet/device-plugins")
KUBELET = "kubelet.sock"
REGISTER = "/v1beta1.Registration/Register"
VERSION = "v1beta1"
_PREFIX = "migsched-"
_VENDOR = "nvidia.com/"
_TIMEOUT_S = 5.0
_log = structlog.get_logger("plugins")

_Identity = tuple[int, int, int] | None


class Plugins:
    """All device plugins of the node. `poll_s` is how often the kubelet's socket and the devices are looked at."""

    def __init__(self, backend: DeviceBackend, directory: Path = DIRECTORY, *, poll_s: float = 1.0) -> None:
        self._backend = backend
        self._directory = directory
        self._poll_s = poll_s
        self._plugins: dict[str, DevicePlugin] = {}
        self._registered: set[str] = set()
        self._offered: frozenset[str] | None = None
        self._kubelet: _Identity = None
        self._changed = asyncio.Event()

    @property
    def registered(self) -> frozenset[str]:
        """The resources that the kubelet knows from us."""
        return frozenset(self._registered)

    @property
    def missing(self) -> frozenset[str] | None:
        """The resources that are offered and that the kubelet does not know yet; None before the first try."""
        return None if self._offered is None else self._offered - self._registered

    def notify(self) -> None:
        """Something changed: do not wait for the next poll."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self.sync()
                except (channel.KubeletError, OSError) as error:
                    _log.warning("cannot register with the kubelet", error=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._changed.wait()
                self._changed.clear()
        finally:
            await self.stop()

    async def sync(self) -> None:
        """Serve and register what is offered now. Raises KubeletError or OSError for what could not be."""
        identity = _identity(self._directory / KUBELET)
        if identity != self._kubelet:
            await self._forget()
            self._kubelet = identity
        offers = await self._backend.offers()
        self._offered = frozenset(offers)
        for resource in self._plugins.keys() | offers.keys():
            await self._serve(resource, offers.get(resource, {}))
        if identity is not None:
            for resource in sorted(offers.keys() - self._registered):
                await self._register(self._plugins[resource])

    async def stop(self) -> None:
        """Stop serving. The kubelet then counts the devices as unhealthy; running pods do not notice."""
        await self._forget()

    async def _forget(self) -> None:
        for plugin_ in self._plugins.values():
            await plugin_.stop()
        self._plugins.clear()
        self._registered.clear()

    async def _serve(self, resource: str, devices: Mapping[str, DeviceOffer]) -> None:
        known = self._plugins.get(resource)
        if known is not None and known.socket.exists():
            await known.update(devices)
            return
        if known is not None:
            await known.stop()
            self._registered.discard(resource)
        made = DevicePlugin(resource, self._directory / _socket_name(resource), self._backend)
        await made.start(devices)
        self._plugins[resource] = made

    async def _register(self, plugin_: DevicePlugin) -> None:
        request = pb.RegisterRequest(
            version=VERSION, endpoint=plugin_.socket.name, resource_name=plugin_.resource, options=plugin.options()
        )
        async with channel.connect(self._directory / KUBELET) as connection:
            call = connection.unary_unary(
                REGISTER,
                request_serializer=pb.RegisterRequest.SerializeToString,
                response_deserializer=pb.Empty.FromString,
            )
            await call(request, timeout=_TIMEOUT_S)
        self._registered.add(plugin_.resource)
        _log.info("registered", resource=plugin_.resource)


def _socket_name(resource: str) -> str:
    return f"{_PREFIX}{resource.removeprefix(_VENDOR)}.sock"


def _identity(socket: Path) -> _Identity:
    """Which socket it is: a restarted kubelet makes a new one, though a file system may reuse the inode."""
    try:
        status = socket.stat()
    except FileNotFoundError:
        return None
    return (status.st_dev, status.st_ino, status.st_ctime_ns)
