"""Elector: takes and renews the lease, and runs the work of the leader while it has it. Run by `service`.

The protocol is client-go's, so that a lease says what people know. A leader counts from before it sends a renewal;
everybody else counts from after they have read one. So a leader that cannot renew has ended its work `lease_duration_s`
- `renew_deadline_s` before anybody can take the lease, whatever their clocks say.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from allocator import errors
from kubeclient.objects import Meta
from scheduler.cache.lease import Lease
from scheduler.cache.port import Cluster
from scheduler.leadership.observed_lease import ObservedLease
from scheduler.leadership.terms import LeaseTerms
from scheduler.metrics import Metrics

_log = structlog.get_logger("leadership")
RESIGN_S = 2.0  # how long giving up the lease may take at the end

Work = Callable[[], Coroutine[Any, Any, None]]


class Elector:
    """One replica in the election."""

    def __init__(
        self,
        cluster: Cluster,
        terms: LeaseTerms,
        identity: str,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._terms = terms
        self._metrics = metrics
        self._clock = clock
        self._observed = ObservedLease(identity)
        self._lease: Lease | None = None
        self._renewed_at = 0.0  # when the last renewal that was taken was sent
        self._work: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether this replica holds the lease, and does the work."""
        return self._work is not None

    @property
    def leader(self) -> str:
        """Who holds the lease, by what was read last; empty if nobody does."""
        return self._observed.spec.holder

    async def run(self, work: Work) -> None:
        """Until cancelled. `work` runs while this replica leads; it cleans up when it is cancelled.

        Raises what the work dies of; it never ends by itself.
        """
        try:
            while True:
                await self._turn(work)
                await self._pause()
        finally:
            await self._end_work()

    async def resign(self) -> None:
        """Give the lease up, once the work has ended; without an answer it runs out by itself."""
        if self._lease is None or not self._observed.is_own:
            return
        spec = self._observed.released(_stamp())
        try:
            async with asyncio.timeout(RESIGN_S):
                await self._cluster.write_lease(Lease(self._lease.metadata, spec))
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("lease not given up; it runs out", error=str(error) or "no answer")
        else:
            _log.info("lease given up")

    async def _turn(self, work: Work) -> None:
        """Try to take or renew the lease once, and begin or end the work as it comes out."""
        sent_at = self._clock()
        try:
            async with asyncio.timeout(max(0.0, self._left_s())):
                holds = await self._take()
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("lease not renewed" if self.leads else "lease not read", error=str(error) or "no answer")
            if self.leads and self._left_s() <= 0:
                await self._stand_by("it could not be renewed in time")
            return
        if holds:
            self._renewed_at = sent_at
            self._begin_work(work)
        elif self.leads:
            await self._stand_by(f"{self.leader} has it")

    def _left_s(self) -> float:
        """How long a call may take: a leader has to stop at its deadline, whatever the API server does."""
        if self._work is None:
            return self._terms.renew_deadline_s
        return self._renewed_at + self._terms.renew_deadline_s - self._clock()

    async def _take(self) -> bool:
        """Whether the lease is ours after a look and, if it can be taken, a write. A leader renews what it wrote last,
        in one call.
        """
        if self._lease is None or not self.leads:
            await self._look()
        if not self._observed.may_take(self._clock()):
            return False
        try:
            await self._write()
        except (errors.ConflictError, errors.NotFoundError):
            await self._look()
            if not self._observed.is_own:
                return False
            await self._write()  # the reply to an earlier one was lost; the time counts from this one
        return self._observed.is_own

    async def _look(self) -> None:
        """Read the lease. One that was deleted runs out as if it were there: its holder may not know yet."""
        try:
            self._see(await self._cluster.get_lease(self._terms.namespace, self._terms.name))
        except errors.NotFoundError:
            self._lease = None

    async def _write(self) -> None:
        spec = self._observed.held(_stamp(), self._terms.duration_s)
        if self._lease is None:
            meta = Meta(self._terms.name, self._terms.namespace)
            self._see(await self._cluster.create_lease(Lease(meta, spec)))
        else:
            self._see(await self._cluster.write_lease(Lease(self._lease.metadata, spec)))

    def _see(self, lease: Lease) -> None:
        self._lease = lease
        self._observed.see(lease.spec, self._clock())

    async def _pause(self) -> None:
        """Until the next look, or until the work dies."""
        pause_s = self._terms.retry_s
        if self._work is None:
            await asyncio.sleep(pause_s)
            return
        done, _ = await asyncio.wait((self._work,), timeout=max(0.0, min(pause_s, self._left_s())))
        for work in done:
            work.result()
            raise errors.MigschedError("the leader's work ended by itself")

    def _begin_work(self, work: Work) -> None:
        if self._work is None:
            _log.info("leads", identity=self._observed.identity, transitions=self._observed.spec.lease_transitions)
            self._work = asyncio.create_task(work(), name="lead")
            self._metrics.leadership_changes.labels("leading").inc()

    async def _stand_by(self, why: str) -> None:
        _log.warning("stands by", why=why)
        self._metrics.leadership_changes.labels("standby").inc()
        await self._end_work()

    async def _end_work(self) -> None:
        if self._work is not None:
            work, self._work = self._work, None
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _stamp() -> str:
    """This moment, as a MicroTime of Kubernetes."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
