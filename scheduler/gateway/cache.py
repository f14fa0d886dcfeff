"""Cache: answers about the cluster, made once for all who ask within a second. Used by `proxy`.

To make one takes the service's event loop, so it is made at most once at a time and once in `lifetime_s`, however many
ask. Clients that read slowly keep old answers alive: where those take more than `most_bytes`, the youngest answer is
given out beyond its lifetime instead of making another, which ends when the slow ones do.
"""

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

LIFETIME_S = 1.0
PROBE_LIFETIME_S = 0.5
MOST_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer as the service gave it, its body in blocks."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    blocks: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.blocks))


Make = Callable[[], Awaitable[Answer]]


@dataclass(eq=False)
class _Known:
    """The youngest answer to one question, from when it is, and the task that makes the next one."""

    answer: Answer | None = None
    made_at: float = 0.0
    making: asyncio.Task[Answer] | None = None


class Cache:
    """Answers by path. Paths are few and fixed: what is asked with parameters does not come here."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._small = most_bytes // 1024  # probes: so little room is always there
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._alive: weakref.WeakSet[Answer] = weakref.WeakSet()

    async def get(self, path: str, make: Make, lifetime_s: float = LIFETIME_S) -> Answer:
        """The answer, at most `lifetime_s` old if there is room for another. Raises what `make` raises."""
        known = self._known.setdefault(path, _Known())
        if known.answer is not None:
            is_young = self._clock() - known.made_at < lifetime_s
            if is_young or (known.answer.size > self._small and self._is_full()):
                return known.answer
        if known.making is None:
            known.making = asyncio.create_task(self._make(known, make), name=f"make {path}")
        return await asyncio.shield(known.making)  # a client that leaves does not end it for the others

    async def _make(self, known: _Known, make: Make) -> Answer:
        try:
            began = self._clock()
            answer = await make()
            known.answer, known.made_at = answer, began
            self._alive.add(answer)
            return answer
        finally:
            known.making = None

    def _is_full(self) -> bool:
        return sum(answer.size for answer in self._alive) > self._most_bytes
