"""Watching: the driver's events of all GPUs. Used by devices.

Events are a hint: they can be lost, arrive late, and GPUs exist that have none. So no failure here is an error; it
only makes the caller poll.
"""

import threading
import time
from contextlib import suppress

from node_agent.gpu import device
from node_agent.gpu.nvml.driver import Driver, Handle, address
from node_agent.gpu.nvml.lane import Lane
from node_agent.gpu.nvml.raw_events import RawEvent

_SLICE_S = 1.0  # a wait inside the driver cannot be interrupted, so waits are cut into such pieces
_GRACE_S = 10.0


class Watch:
    """One event set with all GPUs registered."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lane = Lane("NVML events")
        self._closed = threading.Event()
        self._event_set: Handle | None = None
        self._uuids: dict[int, str] = {}

    def add(self, uuid: str, handle: Handle) -> None:
        """Also listen to a GPU."""
        with suppress(device.DeviceError):
            self._lane.run("register for events", lambda _: self._register(uuid, handle), _GRACE_S)

    def forget(self) -> None:
        """The library was shut down: the event set is gone with it."""
        self._event_set = None
        self._uuids.clear()

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """The events that have come, waiting up to `timeout_s` for the first."""
        until = time.monotonic() + timeout_s
        while not self._closed.is_set():
            left = max(0.0, until - time.monotonic())
            try:
                events = self._take(min(left, _SLICE_S))
            except device.DeviceError:
                self._closed.wait(left)
                break
            if events or not left:
                return events
        return ()

    def close(self) -> None:
        """Wake who waits, and drop the event set."""
        self._closed.set()
        with suppress(device.DeviceError):
            self._lane.run("drop the event set", lambda _: self._free(), _GRACE_S)
        self._lane.close()

    def _register(self, uuid: str, handle: Handle) -> None:
        if self._event_set is None:
            self._event_set = self._driver.event_set()
        self._driver.register(handle, self._event_set)
        self._uuids[address(handle)] = uuid

    def _free(self) -> None:
        if self._event_set is not None:
            self._driver.free_event_set(self._event_set)
            self._event_set = None

    def _take(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        event_set = self._event_set
        if event_set is None:
            raise device.NotSupportedError("no GPU sends events")
        timeout_ms = round(timeout_s * 1000)
        raw = self._lane.run("wait for events", lambda _: self._drain(event_set, timeout_ms), timeout_s + _GRACE_S)
        return tuple(self._event(self._uuids[one.handle], one) for one in raw if one.handle in self._uuids)

    def _drain(self, event_set: Handle, timeout_ms: int) -> list[RawEvent]:
        events = []
        event = self._driver.wait(event_set, timeout_ms)
        while event is not None:
            events.append(event)
            event = self._driver.wait(event_set, 0)
        return events

    @staticmethod
    def _event(uuid: str, raw: RawEvent) -> device.DeviceEvent:
        if raw.memory_fault is not None:
            return device.DeviceEvent(uuid, device.EventKind.MEMORY_FAULT, memory_fault=raw.memory_fault)
        if not raw.is_xid:
            return device.DeviceEvent(uuid, device.EventKind.GEOMETRY_CHANGED)
        return device.DeviceEvent(uuid, device.EventKind.FAULT, raw.data, raw.gi_id, raw.ci_id)
