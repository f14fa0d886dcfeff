"""Simulated GPUs in a process of their own: they outlive the node agent, as hardware does, and the test sees into them.

`Hardware` holds the GPUs in the test's process and answers over a Unix socket; `RemoteDevices` is the agent's port to
them. Whoever connects may call every method of the port, so the socket lies in a directory of the test alone.
"""

import contextlib
import threading
from collections.abc import Mapping
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

from allocator.mig.profile import Placement
from node_agent.gpu import device
from simulator.gpu import devices
from simulator.gpu.driver import SimulatedDriver
from simulator.gpu.gpu import SimulatedGpu

_CALLS = frozenset(name for name in vars(device.MigDevices) if not name.startswith("_"))


class Hardware:
    """Serves a simulated driver. A context manager.

    `in_use` is a directory in which containers keep a link for each UUID they use, to their pod's name; a GPU that
    loses an instance while its link is there is noted in `violations`, at the moment of the change. `held` is what GPU
    and placement each MIG UUID ever meant: a place that is cut anew may get the one it had.
    """

    def __init__(self, driver: SimulatedDriver, socket: Path, in_use: Path) -> None:
        self.driver = driver
        self.socket = socket
        self.in_use = in_use
        self.violations: list[str] = []
        self.held: dict[str, set[tuple[str, Placement]]] = {}
        self.changes = 0
        self._closing = False
        for gpu in driver.gpus.values():
            gpu.on_change = partial(self._changed, gpu, gpu.on_change)
        self._listener = connection.Listener(str(socket), "AF_UNIX")
        self._open: list[connection.Connection[Any, Any]] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name="hardware", daemon=True)

    def __enter__(self) -> "Hardware":
        self._accepting.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            connection.Client(str(self.socket), "AF_UNIX").close()  # wakes the accepting thread
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def slices(self) -> dict[str, tuple[str, Placement]]:
        """GPU and placement of every whole slice, by MIG UUID."""
        return {
            one.mig_uuid: (gpu.uuid, one.placement)
            for gpu in self.driver.by_index()
            for one in gpu.instances()
            if one.mig_uuid is not None
        }

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """The device nodes of an instance."""
        port = devices.SimulatedDevices(self.driver)
        try:
            return port.device_nodes(gpu, gi_id)
        finally:
            port.close()

    def used(self) -> set[str]:
        """MIG UUIDs that containers say they use."""
        return {one.name for one in self.in_use.iterdir()}

    def forget_dead_users(self) -> None:
        """Remove the links of containers that were killed before they could do it themselves."""
        users: dict[Path, str] = {}
        for link in self.in_use.iterdir():
            with contextlib.suppress(OSError):  # a container may remove it at any moment
                users[link] = str(link.readlink())
        living = _living_pods() if users else set()
        for link, pod in users.items():
            if pod not in living:
                link.unlink(missing_ok=True)

    def _changed(self, gpu: SimulatedGpu, then: Any) -> None:
        then()
        self.changes += 1
        slices = self.slices()
        for name, what in slices.items():
            self.held.setdefault(name, set()).add(what)
        gone = {one for one in self.used() if not self._stands(one, slices)}
        if gone:
            self.forget_dead_users()
            gone &= self.used()
        if gone:
            self.violations.append(f"{gpu.uuid} changed to {gpu.placements()} while containers use {sorted(gone)}")

    def _stands(self, name: str, slices: Mapping[str, object]) -> bool:
        """Whether a slice, or a GPU that is used whole, still is what a container was given."""
        whole = self.driver.gpus.get(name)
        return name in slices if whole is None else not whole.mode.current

    def _accept(self) -> None:
        while True:
            accepted = self._listener.accept()
            if self._closing:
                accepted.close()
                return
            thread = threading.Thread(target=self._serve, args=(accepted,), name="hardware call", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, one: "connection.Connection[Any, Any]") -> None:
        port = devices.SimulatedDevices(self.driver)
        with one, contextlib.suppress(EOFError, OSError):  # the agent may be killed at any moment
            while True:
                name, arguments = one.recv()
                if name not in _CALLS:
                    raise EOFError
                try:
                    answer = getattr(port, name)(*arguments)
                except device.DeviceError as error:
                    one.send(error)
                else:
                    one.send((answer,))
        port.close()


class RemoteDevices:
    """MigDevices over the socket of a `Hardware`, one connection per thread."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._local = threading.local()

    def _ask(self, name: str, *arguments: object) -> Any:
        if not hasattr(self._local, "connection"):
            self._local.connection = connection.Client(str(self._socket), "AF_UNIX")
        self._local.connection.send((name, arguments))
        answer = self._local.connection.recv()
        if isinstance(answer, device.DeviceError):
            raise answer
        return answer[0]

    def discover(self) -> tuple[device.GpuInfo, ...]:
        """See MigDevices."""
        found: tuple[device.GpuInfo, ...] = self._ask("discover")
        return found

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """See MigDevices."""
        found: tuple[device.GpuInstance, ...] = self._ask("instances", gpu)
        return found

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        found: Mapping[str, int] = self._ask("remaining", gpu)
        return found

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        made: device.GpuInstance = self._ask("create", gpu, placement)
        return made

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        return bool(self._ask("destroy", gpu, gi_id, placement))

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        found: tuple[device.GpuProcess, ...] = self._ask("processes", gpu, gi_id)
        return found

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices."""
        found: tuple[device.DeviceNode, ...] = self._ask("device_nodes", gpu, gi_id)
        return found

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        found: device.ModeState = self._ask("mode", gpu)
        return found

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        change: device.ModeChange = self._ask("set_mode", gpu, enabled)
        return change

    def energy_mj(self, gpu: str) -> int | None:
        """See MigDevices."""
        energy_mj: int | None = self._ask("energy_mj", gpu)
        return energy_mj

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """See MigDevices."""
        found: tuple[device.DeviceEvent, ...] = self._ask("wait", timeout_s)
        return found

    def close(self) -> None:
        """Connections end with the process."""


def _living_pods() -> set[str]:
    """The names of pods of which a process runs on this machine: containerd tells each of them its pod's name."""
    living: set[str] = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it may end at any moment
            variables = (process / "environ").read_bytes().split(b"\0") if process.name.isdigit() else ()
            living |= {one.removeprefix(b"HOSTNAME=").decode() for one in variables if one.startswith(b"HOSTNAME=")}
    return living
