"""Wires the scheduler service: state, reflectors, extender, API, their servers. `run` is what `migsched scheduler`
calls.

Start: both ports listen at once; verbs answer 503 and /readyz is false until nodes, MigNodes and pods are listed,
in that order, so that pods find the GPUs their annotations name. Stop: no new calls, bindings in flight get their
end, watches close.
"""

import asyncio
import gc
import signal
import socket
import uuid
from collections.abc import Callable, Coroutine, Sequence

import structlog
import uvloop

from allocator import errors
from allocator.placement import policy
from config import logs
from kubeclient.reviews import Reviews
from scheduler import api, certificate, page
from scheduler.admission.webhook import CONNECTIONS, Webhook
from scheduler.api import DEMO, ApiExtension, Context
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.demand_follower import DemandFollower
from scheduler.cache.port import Cluster, WatchedKind
from scheduler.cache.reflector import Reflector
from scheduler.cache.requeuer import Requeuer
from scheduler.extender import mutual_tls
from scheduler.extender.binder import Binder
from scheduler.extender.extender import Extender
from scheduler.extender.nominations import Nominations
from scheduler.extender.preemptor import Preemptor
from scheduler.extender.routes import Routes
from scheduler.feed import Feed
from scheduler.leadership.elector import Elector
from scheduler.lock.terms import ApiAccess
from scheduler.metrics import Metrics
from scheduler.moves.executor import MovesExecutor
from scheduler.page.repack_actions import RepackActions
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import ServedTask
from scheduler.queueing import depth
from scheduler.queueing.cycle import QueueCycle
from scheduler.servers import Servers
from scheduler.settings import Settings
from scheduler.snapshots import Snapshots

_log = structlog.get_logger("service")
_MIB = 2**20
_LIST_ORDER = (WatchedKind.NODE, WatchedKind.MIG_NODE, WatchedKind.POD)


class Service:
    """One scheduler service over one cluster. `simulate` is the planner's task behind POST /api/v1/simulate.

    `api_apart` gives the API's clients a process of their own (docs/adr/0015), which asks the settings' API server
    about tokens; otherwise `reviews` is asked. `extensions` bring further routes to the API.
    Raises SettingsError for an API that would be open by oversight.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        simulate: ServedTask | None = None,
        *,
        api_apart: bool = False,
        reviews: Reviews | None = None,
        extensions: Sequence[ApiExtension] = (),
    ) -> None:
        self._settings = settings
        self._lock_terms = settings.lock_terms()
        self._api_apart = api_apart
        self._reviews = reviews
        self._cluster = cluster
        self.metrics = Metrics()
        self._requeuer = Requeuer(cluster, self.metrics, interval_s=settings.requeue_interval_s)
        self.state = ClusterCache(policy.find(settings.policy), self._on_room)
        self.planner = PlannerPool(settings.planner_limits(), self.metrics)
        snapshots = Snapshots(self.state, cluster)
        self._moves = self._executor(settings, snapshots)
        self._queue = (
            QueueCycle(self.state, cluster, self.metrics, settings.queue_options(), promised=self._moves)
            if settings.queue
            else None
        )
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
        self._elector = self._election(settings)
        self._decides = False
        self.feed = Feed()
        self._page = page.watcher(
            self.state,
            self.feed,
            snapshots,
            self.planner,
            queue=settings.queue,
            acts=self._acts,
            demo=any(extension.name == DEMO for extension in extensions),
            moves=self._moves,
            stands_by=lambda: bool(self._why_not()),
        )
        self._extender_app = Routes(
            extender,
            self.metrics,
            self.ready,
            max_body=settings.max_body_mib * _MIB,
            stands_by=self._why_not,
        )
        self._api_app = api.build(
            Context(
                state=self.state,
                metrics=self.metrics,
                ready=self.ready,
                refresh=self._refresh_gauges,
                snapshots=snapshots,
                planner=self.planner,
                simulate=simulate,
                max_body=settings.api_max_body_mib * _MIB,
                feed=self.feed,
                repacks=RepackActions(self.state, cluster, self._moves.repacks if self._moves is not None else None),
                page_asked=self._page.woken.set,
                acts_for_all=self._acts,
                unreadable=lambda: [left_out for reflector in self._reflectors for left_out in reflector.unreadable],
                stands_by=lambda: bool(self._why_not()),
                get_pod=cluster.get_pod,
                extensions=extensions,
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
        self.webhook_url = ""

    def ready(self) -> bool:
        """Whether decisions are safe: every cache is synced, and the service is not stopping."""
        return not self._stopping and all(r.synced.is_set() for r in self._reflectors)

    def has_no_place_for(self, uid: str) -> bool:
        """Whether a pod is in the queue, and has been looked at as things are now."""
        return self._queue is not None and uid in self.state.queue and self._queue.idle

    async def start(self) -> None:
        """Listen on both ports and begin to sync. Raises SettingsError naming the setting whose port is taken."""
        settings = self._settings
        tls = mutual_tls.of_settings(settings.extender_cert, settings.extender_key, settings.extender_client_ca)
        self.extender_url = await self.servers.serve(
            self._extender_app, settings.extender_host, settings.extender_port, "extender_port", tls
        )
        self.api_url = await self._serve_api(settings)
        self._tasks.append(asyncio.create_task(self._reflect(), name="reflect"))
        self._tasks.append(asyncio.create_task(self.state.compile_catalogues(), name="catalogues"))
        self._tasks.append(asyncio.create_task(self._take_part(), name="lead"))
        self._tasks.append(asyncio.create_task(self._show_page(), name="page"))
        await self._serve_webhook(settings)
        if self.demand is not None:
            self._tasks.append(asyncio.create_task(self.demand.run(), name="demand"))
        _log.info(
            "listening",
            extender=self.extender_url,
            api=self.api_url,
            api_access=settings.api_access.value,
            policy=settings.policy,
        )

    async def _serve_api(self, settings: Settings) -> str:
        where = (settings.api_host, settings.api_port, settings.gateway_limits(), self._lock_terms)
        if self._api_apart:
            return await self.servers.serve_apart(self._api_app, *where)
        return await self.servers.serve_bounded(self._api_app, *where, self._reviews)

    async def _serve_webhook(self, settings: Settings) -> None:
        files = certificate.pair("webhook", settings.webhook_cert, settings.webhook_key)
        if files is None:
            return
        webhook = Webhook(frozenset(name.strip() for name in settings.webhook_schedulers.split(",") if name.strip()))
        context = certificate.server_context(*files, setting="webhook")
        self.webhook_url = await self.servers.serve_tls(
            webhook, settings.webhook_host, settings.webhook_port, CONNECTIONS, context
        )

    def _executor(self, settings: Settings, snapshots: Snapshots) -> MovesExecutor | None:
        """What carries out Repacks, if that is wanted."""
        options = settings.moves_options()
        self.state.namespaces.of_settings = options.namespaces
        if not settings.moves:
            return None
        return MovesExecutor(self.state, self._cluster, self.metrics, snapshots, self.planner, options)

    def _on_room(self) -> None:
        self._requeuer.notify()
        if self._moves is not None:
            self._moves.notify()
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

    @property
    def _acts(self) -> bool:
        """Whether the API changes the cluster for its callers: not where strangers reach it without a lock."""
        return not self._api_apart or self._settings.api_access is not ApiAccess.OPEN

    async def _show_page(self) -> None:
        await self._all_synced()
        await self._page.run()

    async def _take_part(self) -> None:
        """Decide once everything is known; with leader election only while this replica leads."""
        await self._all_synced()
        if self._elector is None:
            await self._decide()
        else:
            await self._elector.run(self._lead)

    async def _lead(self) -> None:
        """Decide, once all is known that the leader before has written."""
        (pods,) = (reflector for reflector in self._reflectors if reflector.kind is WatchedKind.POD)
        await pods.relist()
        await self._decide()

    async def _decide(self) -> None:
        """All that writes by itself, and the extender's answers meanwhile. Until cancelled."""
        if self._moves is not None:
            await self._moves.begin()
        self._decides = True
        self.metrics.leader.set(1)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requeuer.run(self.state), name="requeue")
                if self._queue is not None:
                    group.create_task(self._queue.run(), name="queue")
                    group.create_task(self._queue.announcements.run(), name="announcements")
                if self._moves is not None:
                    repacks = Reflector(self._cluster, WatchedKind.REPACK, self._moves.repacks, self.metrics)
                    group.create_task(repacks.run(), name="repacks")
                    group.create_task(self._moves.run(), name="moves")
        finally:
            self._decides = False
            self.metrics.leader.set(0)
            await self._binder.step_down()
            if self._moves is not None:
                await self._moves.step_down()
            if self._queue is not None:
                await self._queue.step_down()

    def _why_not(self) -> str:
        """Why this replica does not decide; empty if it does, or has no others beside it."""
        if self._elector is None or self._decides:
            return ""
        return f"this replica of migsched stands by; {self._elector.leader or 'no other'} leads"

    def _election(self, settings: Settings) -> Elector | None:
        if not settings.leader_election:
            return None
        identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        return Elector(self._cluster, settings.lease_terms(), identity, self.metrics)

    async def stop(self) -> None:
        """Finish calls and bindings in flight, then close everything."""
        self._stopping = True
        self.feed.close()
        self.servers.finish()
        await self.planner.close()
        if self._moves is not None:
            await self._moves.close()
        left = await self._binder.drain(self._settings.shutdown_s)
        if self._queue is not None:
            left += await self._queue.drain(self._settings.shutdown_s)
        tasks = (*self._tasks, *self.servers.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._elector is not None and not left:  # what has no end may still be done: then the lease runs out
            await self._elector.resign()
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
            if self._moves is not None:  # whose marks are of no account without them, and are not waited for
                namespaces = Reflector(self._cluster, WatchedKind.NAMESPACE, self.state.namespaces, self.metrics)
                group.create_task(namespaces.run(), name="namespaces")

    def _refresh_gauges(self) -> None:
        """Bring the gauges that describe the inventory up to date; asked for by a scrape."""
        refused, closed = len(self.state.waiting.refused), self.state.closed_nodes()
        depth.show(self.state.queue, self.metrics)
        if self._queue is not None:
            self._queue.show()
        self.metrics.show(self.state.inventory, self.state.demanded(), refused=refused, closed=closed)


def run(settings: Settings, simulate: ServedTask | None = None) -> None:
    """The service on a real cluster, until SIGTERM or SIGINT."""
    logs.configure(settings.log_format, settings.log_level)
    uvloop.run(_run(settings, simulate))


async def _run(settings: Settings, simulate: ServedTask | None) -> None:
    from scheduler.cache.kube import KubeClient  # half a second to load: not for those who bring another cluster

    settings.lock_terms()  # before anything is opened
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
