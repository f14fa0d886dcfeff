"""GpuLocks: how the step and Allocates for different GPUs share one state. Used by state.

Two rules. The agent's state is read and changed only with its lock; a driver call, which may take a second, is made
without it. And what belongs to one GPU, its records and what was observed of it, changes only under that GPU's lock. So
holding a GPU's lock guarantees that its records do not change during a driver call, while other GPUs proceed. GPU locks
are taken before the state's lock and in one order, never while it is held.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager


class Lock:
    """A lock that its holder can release for a while. Not reentrant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = None
        self._lock.release()

    @property
    def held(self) -> bool:
        """Whether a thread has it now."""
        return self._lock.locked()

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
    """One lock for each GPU, by UUID; none of them is ever forgotten."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._gpu_locks: dict[str, threading.Lock] = {}

    @contextmanager
    def hold(self, gpus: Iterable[str]) -> Iterator[None]:
        """The locks of these GPUs, and the state's lock. Waits for them."""
        with ExitStack() as stack:
            for gpu in sorted(set(gpus)):
                stack.enter_context(self._gpu_locks.setdefault(gpu, threading.Lock()))
            stack.enter_context(self._lock)
            yield

    @contextmanager
    def try_hold(self, gpu: str) -> Iterator[bool]:
        """The lock of a GPU, and the state's lock; false, and neither of them, while another thread has the GPU's."""
        gpu_lock = self._gpu_locks.setdefault(gpu, threading.Lock())
        if not gpu_lock.acquire(blocking=False):
            yield False
            return
        try:
            with self._lock:
                yield True
        finally:
            gpu_lock.release()
