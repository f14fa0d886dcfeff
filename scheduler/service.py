"""Wires the scheduler service: state, reflectors, extender, API, their servers. `run` is what `migsched scheduler`
calls.

Start: both ports listen at once; verbs answer 503 and /readyz is false until nodes, MigNodes and pods are listed,
in that order, so that pods find the GPUs their annotations name. Stop: no new calls, bindings in flight get their
end, watches close.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine

import structlog
import uvloop

from allocator import errors
from allocator.placement import policy
from config import logs
from scheduler import api
from scheduler.api import Context
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.demand_follower import DemandFollower
from scheduler.cache.port import Cluster, WatchedKind
from scheduler.cache.reflector import Reflector
from scheduler.cache.requeuer import Requeuer
from scheduler.extender.binder import Binder
from scheduler.extender.extender import Extender
from scheduler.extender.nominations import Nominations
from scheduler.extender.preemptor import Preemptor
from scheduler.extender.routes import Routes
from scheduler.metrics import Metrics
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import ServedTask
from scheduler.queueing.cycle import QueueCycle
from scheduler.servers import Servers
from scheduler.settings import Settings
from scheduler.snapshots import Snapshots

_log = structlog.get_logger("service")
_MIB = 2**20
_LIST_ORDER = (WatchedKind.NODE, WatchedKind.MIG_NODE, WatchedKind.POD)


class Service:
    """One scheduler service over one cluster. `simulate` is the planner's task behind POST /api/v1/simulate.

    `api_apart` gives the API's clients a process of their own (docs/adr/0015).
    """

    def __init__(
        self, settings: Settings, cluster: Cluster, simulate: ServedTask | None = None, *, api_apart: bool = False
    ) -> None:
        self._settings = settings
        self._api_apart = api_apart
        self._cluster = cluster
        self.metrics = Metrics()
        self._requeuer = Requeuer(cluster, self.metrics, interval_s=settings.requeue_interval_s)
        self.state = ClusterCache(policy.find(settings.policy), self._on_room)
        self._queue = (
            QueueCycle(
                self.state,
                cluster,
                self.metrics,
                window_s=settings.queue_window_s,
                return_after_s=settings.queue_return_s,
            )
            if settings.queue
            else None
        )
        if self._queue is not None:
            self.state.queueing = True
            self.state.queue_feed.on_queued = self._queue.notify
        self.demand = self._demand_follower(settings)
        nominations = Nominations(nomination_ttl_s=settings.nomination_ttl_s, tie_wait_s=settings.tie_wait_s)
        self._binder = Binder(self.state, cluster, nominations, self.metrics, timeout_s=settings.bind_timeout_s)
        extender = Extender(
            self.state,
            self._binder,
            Preemptor(self.state, cluster),
            nominations,
            self.metrics,
            shortlist=settings.shortlist,
            slack=settings.shortlist_slack,
        )
        self._extender_app = Routes(extender, self.metrics, self.ready, max_body=settings.max_body_mib * _MIB)
        self.planner = PlannerPool(settings.planner_limits(), self.metrics)
        self._api_app = api.build(
            Context(
                state=self.state,
                metrics=self.metrics,
                ready=self.ready,
                refresh=self._refresh_gauges,
                snapshots=Snapshots(self.state, cluster),
                planner=self.planner,
                simulate=simulate,
                max_body=settings.api_max_body_mib * _MIB,
                unreadable=lambda: [left_out for reflector in self._reflectors for left_out in reflector.unreadable],
                get_pod=cluster.get_pod,
            )
        )
        self._reflectors = [Reflector(cluster, kind, self.state, self.metrics) for kind in _LIST_ORDER]
        self.servers = Servers(
            shutdown_s=settings.shutdown_s, log_format=settings.log_format, log_level=settings.log_level
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.extender_url = ""
        self.api_url = ""

    def ready(self) -> bool:
        """Whether decisions are safe: every cache is synced, and the service is not stopping."""
        return not self._stopping and all(r.synced.is_set() for r in self._reflectors)

    async def start(self) -> None:
        """Listen on both ports and begin to sync. Raises SettingsError naming the setting whose port is taken."""
        settings = self._settings
        self.extender_url = await self.servers.serve(
            self._extender_app, settings.extender_host, settings.extender_port, "extender_port"
        )
        serve_api = self.servers.serve_apart if self._api_apart else self.servers.serve_bounded
        self.api_url = await serve_api(self._api_app, settings.api_host, settings.api_port, settings.gateway_limits())
        self._tasks.append(asyncio.create_task(self._reflect(), name="reflect"))
        self._tasks.append(asyncio.create_task(self._requeuer.run(self.state), name="requeue"))
        self._tasks.append(asyncio.create_task(self.state.compile_catalogues(), name="catalogues"))
        if self._queue is not None:
            self._tasks.append(asyncio.create_task(self._run_queue(self._queue), name="queue"))
        if self.demand is not None:
            self._tasks.append(asyncio.create_task(self.demand.run(), name="demand"))
        _log.info("listening", extender=self.extender_url, api=self.api_url, policy=settings.policy)

    def _on_room(self) -> None:
        self._requeuer.notify()
        if self._queue is not None:
            self._queue.notify()

    async def synced(self) -> None:
        """Until every cache is synced. Raises what a reflector died of, should one."""
        await _first(self._all_synced(), self.broken())
        self.metrics.synced.set(1)

    async def broken(self) -> None:
        """Until one of the service's tasks ends, which none does before `stop`; raises what it died of.

        What starts a service waits for this too: without its reflectors it would go on deciding by an old picture.
        """
        done, _ = await asyncio.wait((*self._tasks, *self.servers.tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
            raise errors.MigschedError(f"{task.get_name()} ended by itself")

    async def _all_synced(self) -> None:
        for reflector in self._reflectors:
            await reflector.synced.wait()

    async def _run_queue(self, queue: QueueCycle) -> None:
        """Nothing is decided before everything is known."""
        await self._all_synced()
        await queue.run()

    async def stop(self) -> None:
        """Finish calls and bindings in flight, then close everything."""
        self._stopping = True
        self.servers.finish()
        await self.planner.close()
        left = await self._binder.drain(self._settings.shutdown_s)
        if self._queue is not None:
            left += await self._queue.drain(self._settings.shutdown_s)
        tasks = (*self._tasks, *self.servers.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.servers.close()
        await self._cluster.close()
        _log.info("stopped", bindings_without_an_end=left)

    def _demand_follower(self, settings: Settings) -> DemandFollower | None:
        """What follows the demand, for a policy that wants it; fed by the state."""
        weigh = self.state.inventory.fleet.policy.weigh
        if weigh is None:
            return None
        follower = DemandFollower(self.state.inventory.fleet, weigh, self.state.requests, settings.demand_interval_s)
        self.state.on_request = follower.saw
        return follower

    async def _reflect(self) -> None:
        """One kind after the other until it is synced, then all until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run(), name="follow")
                await reflector.synced.wait()

    def _refresh_gauges(self) -> None:
        """Bring the gauges that describe the inventory up to date; asked for by a scrape."""
        refused, closed = len(self.state.waiting.refused), self.state.closed_nodes()
        if self._queue is not None:
            self._queue.show()
        self.metrics.show(self.state.inventory, self.state.demanded(), refused=refused, closed=closed)


def run(settings: Settings, simulate: ServedTask | None = None) -> None:
    """The service on a real cluster, until SIGTERM or SIGINT."""
    logs.configure(settings.log_format, settings.log_level)
    uvloop.run(_run(settings, simulate))


async def _run(settings: Settings, simulate: ServedTask | None) -> None:
    from scheduler.cache.kube import KubeClient  # half a second to load: not for those who bring another cluster

    service = Service(settings, await KubeClient.connect(settings.kubeconfig), simulate, api_apart=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(service, stop, on_synced=freeze_gc)


async def serve(service: Service, stop: asyncio.Event, *, on_synced: Callable[[], None] = lambda: None) -> None:
    """A service from start to stop: until it is told to stop, or breaks."""
    try:
        await service.start()
        await _first(service.synced(), stop.wait())
        if not stop.is_set():
            on_synced()
            _log.info("ready", nodes=len(service.state.inventory.fleet), claims=len(service.state.inventory.ledger))
            await _first(service.broken(), stop.wait())
    finally:
        await service.stop()


def freeze_gc() -> None:
    """What is known of the cluster by now stays: the garbage collector need not look at it in the middle of a call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _first(*ends: Coroutine[None, None, object]) -> None:
    """Until one of them is done; its error is raised, the others are cancelled."""
    tasks = [asyncio.create_task(end) for end in ends]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
