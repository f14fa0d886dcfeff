"""GpuLocks: how the step and Allocates for different GPUs get along in one state. Used by state.

Two rules. Whoever reads or changes the memory holds its lock; a driver call, which may take a second, is made without
it. And what belongs to one GPU, its records and what was seen of it, changes only under that GPU's turn. So whoever has
a GPU's turn finds it after a driver call as it was before, while others see to other GPUs. GpuLocks are taken before
the lock and in one order, never while it is held.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from allocator.mig.profile import Placement
from node_agent.gpu import device


class Lock:
    """A lock that its holder can lay down for a while. Not reentrant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = None
        self._lock.release()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Without the lock meanwhile, if the calling thread has it."""
        if self._holder != threading.get_ident():
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


class GpuLocks:
    """The turns of GPUs, by UUID; none of them is ever forgotten."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._gpu_locks: dict[str, threading.Lock] = {}

    @contextmanager
    def hold(self, gpus: Iterable[str]) -> Iterator[None]:
        """The turns of these GPUs, and the lock. Waits for them."""
        with ExitStack() as stack:
            for gpu in sorted(set(gpus)):
                stack.enter_context(self._gpu_locks.setdefault(gpu, threading.Lock()))
            stack.enter_context(self._lock)
            yield

    @contextmanager
    def try_hold(self, gpu: str) -> Iterator[bool]:
        """The turn of a GPU, and the lock; false, and neither of them, while somebody else has the turn."""
        turn = self._gpu_locks.setdefault(gpu, threading.Lock())
        if not turn.acquire(blocking=False):
            yield False
            return
        try:
            with self._lock:
                yield True
        finally:
            turn.release()


class AsideDevices:
    """MigDevices over others: the lock is laid down for each call of the driver."""

    def __init__(self, inner: device.MigDevices, lock: Lock) -> None:
        self._inner = inner
        self._lock = lock

    def discover(self) -> tuple[device.GpuInfo, ...]:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.discover()

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.instances(gpu)

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.remaining(gpu)

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.create(gpu, placement)

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.destroy(gpu, gi_id, placement)

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.processes(gpu, gi_id)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices. With the lock: it reads files, and whoever asks has no turn."""
        return self._inner.device_nodes(gpu, gi_id)

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.mode(gpu)

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.set_mode(gpu, enabled)

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """See MigDevices."""
        with self._lock.released():
            return self._inner.wait(timeout_s)

    def close(self) -> None:
        """See MigDevices."""
        self._inner.close()
