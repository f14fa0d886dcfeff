"""WorkQueue: keys that something has to be done for, each once however often it was asked for.

Used by agents and kubelets. As in Kubernetes' controllers: a key asked for again while it is being worked on is done
once more afterwards, and never by two workers at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable

from allocator import errors


class WorkQueue:
    """Keys in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is being worked on, nothing is to be tried again."""
        return not (self._waiting or self._working or self._later)

    def add(self, key: str) -> None:
        """Ask for a key."""
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._changed.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Ask for a key in a while; the first of several times counts."""
        if key not in self._later:
            self._later[key] = asyncio.get_running_loop().call_later(seconds, self._ripe, key)

    async def get(self) -> str:
        """The next key; `done` has to follow."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """A key got with `get` is finished."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def work(self, do: Callable[[str], Awaitable[None]], *, retry_s: float) -> None:
        """Until cancelled: do what each key asks for; one that the API server would not do is tried again later."""
        while True:
            key = await self.get()
            try:
                await do(key)
            except errors.ClusterError:
                self.add_after(key, retry_s)
            finally:
                self.done(key)

    def _ripe(self, key: str) -> None:
        del self._later[key]
        self.add(key)
