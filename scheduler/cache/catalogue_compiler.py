"""Compiles the catalogues that reports bring and nobody had before, in small steps between the calls, within a budget
per node. Owned by `cluster_cache`; `run` is a task of `service`.

A catalogue of a real GPU takes some ten thousand steps and 50 ms, once per model. One that somebody made up may take a
hundred thousand, and a node may write a new one with every report: its reports then wait until its budget is full
again, and no other node waits for it. What the table of GPU models has, or another node, costs nothing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from allocator import errors
from allocator.claims import contract
from allocator.claims.report import NodeReport
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from scheduler.cache.port import MigNode
from scheduler.cooperative import STEP_S, paced

_log = structlog.get_logger("catalogues")
BURST = 200_000  # steps that a node has at once: four real models, or two of the largest that are compiled at all
STEPS_PER_S = 2_000.0  # that it gets back: less than a hundredth of the event loop's time
EACH = 500  # steps that a catalogue counts at least, since its tables have to be made too


class CatalogueCompiler:
    """The reports that wait for their catalogues: of each node the last one."""

    def __init__(self, *, step_s: float = STEP_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._step_s = step_s
        self._clock = clock
        self._waiting: dict[str, tuple[MigNode, Sequence[Catalogue]]] = {}
        self._left: dict[str, tuple[float, float]] = {}  # by node, its steps, at most BURST, and as of when
        self._warned: set[str] = set()
        self._put = asyncio.Event()
        self._settling = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: MigNode, catalogues: Sequence[Catalogue]) -> NodeReport | None:
        """A report waits for these catalogues. Returns a bad report where it has to wait for its node's budget."""
        name = item.metadata.name
        self._waiting[name] = (item, catalogues)
        self._put.set()
        wait_s = self._wait_s(name)
        if not wait_s:
            return None
        told = contract.bad_report(
            name,
            errors.ContractError(
                "status.catalogues",
                f"{len(catalogues)} GPU models that are new here",
                f"the node has brought too many of them; it is read again in about {round(wait_s)} s",
            ),
        )
        if name not in self._warned:
            self._warned.add(name)
            _log.warning("report waits", node=name, problem=told.problem)
        return told

    def forget(self, node: str) -> None:
        """A node's last report does not wait, or is gone."""
        self._waiting.pop(node, None)

    async def run(self, take: Callable[[MigNode], None]) -> None:
        """Give back the reports whose catalogues are compiled, until cancelled."""
        while True:
            await self._put.wait()
            self._put.clear()
            await self.settle(take)
            if self._waiting:
                await asyncio.sleep(min(map(self._wait_s, self._waiting)))
                self._put.set()

    async def settle(self, take: Callable[[MigNode], None]) -> None:
        """Compile what waits and is within its node's budget, and give these reports back."""
        async with self._settling:
            for node in tuple(self._waiting):
                if node not in self._waiting or self._wait_s(node):
                    continue
                item, catalogues = self._waiting[node]
                compiled = [await self._compile(node, catalogue) for catalogue in catalogues]
                if self._waiting.get(node, (None,))[0] is item:  # else there is a later report
                    del self._waiting[node]
                    self._warned.discard(node)
                    take(item)
                del compiled  # until here they were in use

    async def _compile(self, node: str, catalogue: Catalogue) -> object:
        self._spend(node, EACH)
        try:
            async for steps in paced(geometry.compiling(catalogue), self._step_s):
                self._spend(node, steps)
        except errors.CatalogueError:  # remembered by `geometry`, and told by the report that has it
            return None
        return geometry.compiled(catalogue)

    def _spend(self, node: str, steps: int) -> None:
        self._left[node] = (self._steps_of(node) - steps, self._clock())

    def _steps_of(self, node: str) -> float:
        left, as_of = self._left.get(node, (BURST, 0.0))
        return min(BURST, left + (self._clock() - as_of) * STEPS_PER_S)

    def _wait_s(self, node: str) -> float:
        """How long a node has to wait for its budget; those that need not wait any more are forgotten."""
        steps = self._steps_of(node)
        if steps >= BURST:
            self._left.pop(node, None)
        return 0.0 if steps > 0 else -steps / STEPS_PER_S + 0.001
