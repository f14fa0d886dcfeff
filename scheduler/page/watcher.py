"""OverviewWatcher: keeps the overview current, and tells its feed what changed. Run by the service.

It looks at the state in small steps, four times a second while somebody follows, every few seconds otherwise: then only
the log, the history and the accounts go on. A look may take a twentieth of the loop's time at most.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from config.version import version
from kubeclient import timestamps
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cooperative import STEP_S, paced
from scheduler.feed import MAY, Feed
from scheduler.moves.repack_objects import KnownRepack
from scheduler.page import moves_section, sections
from scheduler.page.document import OverviewMay, OverviewMode, OverviewMove, OverviewWaiting
from scheduler.page.event_log import OverviewLog
from scheduler.page.history import OverviewHistory
from scheduler.page.node_reader import NodeReader, ShownNode
from scheduler.page.outlook import Outlook
from scheduler.page.usage import NamespaceUsage

LOOK_S = 0.25  # while somebody follows
IDLE_LOOK_S = 2.0
SELDOM_S = 10.0
SLOW_S = 1.0  # of what is dear to make: why pods wait
USAGE_S = 10.0
SHARE = 20.0  # times as long as a look took nothing is done after it

Repacks = Callable[[], Iterable[KnownRepack] | None]


def _now() -> datetime:
    return datetime.now(UTC)


class OverviewWatcher:
    """The overview of one state. `repacks` are None where they are not followed."""

    def __init__(
        self,
        state: ClusterCache,
        feed: Feed,
        outlook: Outlook,
        *,
        mode: OverviewMode,
        may: OverviewMay,
        repacks: Repacks = lambda: None,
        now: Callable[[], datetime] = _now,
        step_s: float = STEP_S,
    ) -> None:
        self._state = state
        self._feed = feed
        self._outlook = outlook
        self._mode = mode
        self._may = may
        self._repacks = repacks
        self._now = now
        self._step_s = step_s
        self._reader = NodeReader(state)
        self._log = OverviewLog()
        self._history = OverviewHistory()
        self._usage = NamespaceUsage()
        self._nodes: dict[str, ShownNode] = {}
        self._moves: dict[str, OverviewMove] = {}
        self._told: dict[str, bytes] = {}  # sections as they were told last
        self._waiting: list[OverviewWaiting] = []
        self._waiting_total = 0
        self._waiting_due = self._usage_due = self._demanded_due = 0.0
        self._demanded: frozenset[str] = frozenset()
        self._changes = 0  # looks that found another cluster
        self._is_first = True
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                began = time.thread_time()
                await self.look()
                await self._pause(time.thread_time() - began)
        finally:
            self._feed.close()
            await self._outlook.close()

    async def _pause(self, took_s: float) -> None:
        """Until the next look; who comes to follow does not wait for it."""
        await asyncio.sleep(max(LOOK_S, min(took_s * SHARE, SELDOM_S)))
        if self._feed.followers:
            return
        try:
            async with asyncio.timeout(IDLE_LOOK_S):
                await self.woken.wait()
        except TimeoutError:
            pass
        self.woken.clear()

    async def look(self) -> None:
        """Look at everything once, and tell what changed."""
        now = self._now()
        stamp = _stamp(now)
        demanded = self._in_demand()
        closed = frozenset(self._state.closed_nodes())
        nodes, gone = await self._look_at_nodes(now, demanded, closed)
        if nodes or gone:
            self._changes += 1
        made = await self._sections(now, demanded, closed, is_changed=bool(nodes or gone))
        changed = {name: text for name, text in made.items() if self._told.get(name) != text}
        self._told |= changed
        encoded = {name: msgspec.json.encode(self._nodes[name].node) for name in nodes}
        if self._is_first:
            self._is_first = False
            head = {"revision": b"1", "time": msgspec.json.encode(stamp), **made}
            self._feed.replace(1, head, encoded)
        elif changed or nodes or gone:
            self._feed.change(self._feed.revision + 1, stamp, changed, encoded, gone)
        if self._feed.followers:
            self._outlook.look([pod.uid for pod in self._waiting], self._changes)

    def _in_demand(self) -> frozenset[str]:
        """The profiles in demand: to ask all pods takes tens of milliseconds in a large cluster, so seldom there."""
        began = time.monotonic()
        if began >= self._demanded_due:
            self._demanded = frozenset(self._state.demanded())
            self._demanded_due = began + min((time.monotonic() - began) * 10 * SHARE, SELDOM_S)
        return self._demanded

    async def _look_at_nodes(
        self, now: datetime, demanded: frozenset[str], closed: frozenset[str]
    ) -> tuple[list[str], list[str]]:
        """The nodes that are others than they were, and those that are gone."""
        changed: list[str] = []
        inventory, stamp = self._state.inventory, timestamps.stamp(now)
        async for name in paced(sorted(report.node for report in inventory.reports()), self._step_s):
            report = inventory.report(name)
            if report is None:  # gone meanwhile
                continue
            before = self._nodes.get(name)
            known = before.sources if before is not None else None
            sources = self._reader.sources(report, demanded, known, is_closed=name in closed)
            if before is not None and sources.is_same(before.sources):
                before.sources = sources  # its masks are not worked out again
                continue
            after = self._reader.read(sources, self._since(before), stamp)
            self._nodes[name] = after
            self._usage.change(before.held if before is not None else {}, after.held, now)
            if before is not None:
                self._log.see_node(before, after, stamp)
            if before is None or before.node != after.node:
                changed.append(name)
        gone = [name for name in self._nodes if inventory.report(name) is None]
        for name in gone:
            self._usage.change(self._nodes.pop(name).held, {}, now)
        return changed, gone

    def _since(self, before: ShownNode | None) -> Mapping[Any, str | None] | None:
        """Since when slices are there; of a node that was there at the first look it is not known."""
        if before is not None:
            return before.since
        return None if self._is_first else {}

    async def _sections(
        self, now: datetime, demanded: frozenset[str], closed: frozenset[str], *, is_changed: bool
    ) -> dict[str, bytes]:
        """All sections but the nodes, as JSON; those that are dear only when they are due."""
        state = self._state
        made: dict[str, Any] = {}
        totals = sections.totals(state, demanded)
        await self._look_at_waiting()
        made["version"] = version()
        made["mode"] = self._mode
        made[MAY] = self._may
        made["profiles"] = sections.profiles(state, self._outlook, closed)
        made["waiting"] = self._waiting
        made["waiting_total"] = self._waiting_total
        made["totals"] = totals
        if self._history.add(now, totals, self._waiting_total) or self._is_first:
            made["history"] = self._history.points()
        self._look_at_moves(now, made)
        if self._is_due_usage(now):
            made["usage"] = self._usage.most(now)
        if is_changed or self._is_first:
            silent = sorted({claim.node for claim in state.inventory.ledger} - self._nodes.keys())
            made["health"] = sections.health(self._nodes.values(), silent)
        made["log"] = self._log.lines()
        encoded = {}
        async for name, value in paced(made.items(), self._step_s):
            encoded[name] = msgspec.json.encode(value)
        return encoded

    async def _look_at_waiting(self) -> None:
        began = time.monotonic()
        if began < self._waiting_due:
            return
        self._waiting, self._waiting_total = await sections.waiting(self._state, self._outlook)
        took_s = time.monotonic() - began
        self._waiting_due = began + max(SLOW_S, took_s * SHARE)

    def _look_at_moves(self, now: datetime, made: dict[str, Any]) -> None:
        repacks = self._repacks()
        if repacks is None:
            made["moves"] = None
            return
        moves = moves_section.of(repacks)
        by_name = {move.name: move for move in moves}
        if not self._is_first:
            self._log.see_moves(self._moves, by_name, timestamps.stamp(now))
        self._moves = by_name
        made["moves"] = moves

    def _is_due_usage(self, now: datetime) -> bool:
        """Whether accounts are told again: they grow all the time."""
        if not self._is_first and now.timestamp() < self._usage_due:
            return False
        self._usage_due = now.timestamp() + USAGE_S
        return True


def _stamp(now: datetime) -> str:
    """A time with its milliseconds: changes are told four times a second."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"
