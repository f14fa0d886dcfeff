"""The cache: the inventory, and what is known of pods beside their claims. Fed by reflectors, asked by the extender
and the API.

Touched from the event loop alone. `on_room` is called when a node gets room, so that refused pods are requeued.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from allocator import errors
from allocator.claims import contract
from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from allocator.claims.report import NodeReport
from allocator.eligibility import verdict
from allocator.eligibility.node import NodeFacts
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.placement.policy import Policy
from allocator.queueing.pod_queue import PodQueue
from allocator.request import Request
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Node, Pod
from scheduler.cache import known_pod, node_facts, pods, scheduling_facts
from scheduler.cache.catalogue_compiler import CatalogueCompiler
from scheduler.cache.departures import Departures
from scheduler.cache.known_pod import MAX_PROBLEM, KnownPod, read
from scheduler.cache.namespace_marks import NamespaceMarks
from scheduler.cache.nominated_pods import NominatedPods
from scheduler.cache.port import MigNode, Object, WatchedKind, WatchedNode
from scheduler.cache.queue_feed import QueueFeed
from scheduler.cache.unmanaged_profiles import UnmanagedProfiles
from scheduler.cache.used_amounts import UsedAmounts
from scheduler.cache.waiting_pods import WaitingPods
from scheduler.cooperative import STEP_S, paced

T = TypeVar("T")
_log = structlog.get_logger("state")
UNSEEN_S = 300.0  # how long a pod is known that only calls have shown; a watch is never so late
MAX_UNSEEN = 10_000  # pods that only calls have shown
_NO_STATUS = (b"", b"{}", b"null")  # a MigNode that its agent has made and not written yet


class ClusterCache:
    """The inventory and the pods of the cluster."""

    def __init__(
        self,
        by: Policy,
        on_room: Callable[[], None],
        *,
        step_s: float = STEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inventory = Inventory(by)
        self.pods: dict[str, KnownPod] = {}
        self.nodes: dict[str, NodeFacts] = {}  # of the nodes that the watch has shown
        self.used = UsedAmounts()
        self.waiting = WaitingPods()
        self.nominated = NominatedPods()
        self.queue = PodQueue(self.used.placed)
        self.queue_feed = QueueFeed(self.queue, self.inventory)
        self.namespaces = NamespaceMarks()  # that let their pods be moved
        self.queueing = False  # whether this service places queued pods
        self.facts_generation = 0  # one more each time a node is new, gone, or another as far as pods may run on it
        self.departures = Departures(clock)
        self._closed: set[str] = set()  # nodes that take no pods
        self._newcomers: set[str] | None = None  # while pods are listed, those first heard of since it was asked for
        self._unseen: dict[str, float] = {}  # pods that only calls have shown, with when to forget them, oldest first
        self._reported: dict[str, int] = {}  # by node, the hash of its report's text
        self._on_room = on_room
        self._settled = False  # which node has a GPU that several report
        self._step_s = step_s  # of taking a list in
        self._clock = clock
        self._compiler = CatalogueCompiler(step_s=step_s, clock=clock)
        self.on_request: Callable[[Request], None] | None = None  # told what each new pod asks for
        self._unmanaged = UnmanagedProfiles()

    async def compile_catalogues(self) -> None:
        """Take in reports with new GPU models as these are compiled, until cancelled."""
        await self._compiler.run(self._take_report)

    # --- from the reflectors ------------------------------------------------------------------------------------

    def expect(self, kind: WatchedKind) -> None:
        """A list of this kind is asked for: what comes to be known from now on may be too young for it."""
        if kind is WatchedKind.POD:
            self._newcomers = set()

    async def replace(self, kind: WatchedKind, listing: Listing[Object]) -> None:
        """All objects of a kind, instead of what was known: those not listed are gone, unreadable ones are unchanged.

        In small steps, each of them whole: tens of thousands of pods take most of a second, and filter calls go in
        between. What they and bind bring about meanwhile is newer than the list.
        """
        if kind is WatchedKind.POD:
            async for uid, node in paced(self._unlisted(listing), self._step_s):
                self._pod_gone(uid, node)
            async for uid in paced(self.used.unlisted(_uids(listing)), self._step_s):
                self.used.forget(uid)
        else:
            listed = {item.metadata.name for item in listing.items} | {left_out.name for left_out in listing.unreadable}
            for name in self._known(kind) - listed:
                self._forget(kind, name)
        waiting = {pod.node for pod in self.inventory.waiting()}  # they are tried again with any report
        async for item in paced(listing.items, self._step_s):
            if not isinstance(item, MigNode) or item.metadata.name in waiting or self._is_new(item):
                self._take(item)
        if kind is WatchedKind.POD:
            await self._remember_waiting(listing)
            self.used.complete = True
        if kind is WatchedKind.POD and not self._settled:
            self._settled = True
            self._watching_room(self.inventory.settle_reporters)
        await self._compiler.settle(self._take_report)

    async def _remember_waiting(self, listing: Listing[Object]) -> None:
        """Who may have been refused by a process before this one is tried again: room may have arisen meanwhile."""
        async for item in paced(listing.items, self._step_s):
            if isinstance(item, Pod) and item.metadata.uid in self.pods and self.waiting.listed(item):
                self._on_room()

    def _unlisted(self, listing: Listing[Object]) -> Sequence[tuple[str, str]]:
        """Pods, with their nodes, that a list would show if they still existed.

        Not those with a Binding on its way, and not those that came after it was asked for: the extender goes on
        binding pods while a list is being made, and to forget one would give its place away a second time.
        """
        listed = _uids(listing)
        held = {claim.uid: claim.node for claim in self.inventory.ledger if claim.state is not ClaimState.RESERVED}
        known = held.items() | {(pod.uid, pod.node) for pod in self.pods.values()}
        newcomers, self._newcomers = self._newcomers or (), None
        return [(uid, node) for uid, node in known if uid not in listed and uid not in newcomers]

    def apply(self, kind: WatchedKind, change: Change[Object]) -> None:
        """One change of the cluster."""
        self._forget_unseen()
        if change.item is None:
            return
        if change.type is not ChangeType.DELETED:
            self._take(change.item)
        elif isinstance(change.item, Pod):
            self._pod_gone(change.item.metadata.uid, change.item.spec.node_name)
        else:
            self._forget(kind, change.item.metadata.name)

    def _known(self, kind: WatchedKind) -> set[str]:
        if kind is WatchedKind.NODE:
            return set(self.inventory.nodes)
        return {report.node for report in self.inventory.reports()}

    def _forget(self, kind: WatchedKind, name: str) -> None:
        if kind is WatchedKind.NODE:
            self.inventory.nodes.discard(name)
            self.facts_generation += self.nodes.pop(name, None) is not None
            self._closed.discard(name)
        else:
            self._reported.pop(name, None)
            self._compiler.forget(name)
            self._watching_room(lambda: self.inventory.forget_report(name))

    def _is_new(self, item: MigNode) -> bool:
        """Whether a report says anything else than the last one: most do not, and reading all takes seconds."""
        return self._reported.get(item.metadata.name) != hash(bytes(item.status))

    def _take(self, item: Object) -> None:
        if isinstance(item, Pod):
            self._take_pod(item)
        elif isinstance(item, MigNode):
            self._take_report(item)
        elif isinstance(item, Node):
            self.inventory.nodes.add(item.metadata.name)
            if isinstance(item, WatchedNode):
                facts = node_facts.of(item)
                self.facts_generation += self.nodes.get(facts.name) != facts
                self.nodes[facts.name] = facts
                (self._closed.discard if verdict.closed(facts) is None else self._closed.add)(facts.name)

    def _take_report(self, item: MigNode) -> None:
        if bytes(item.status) in _NO_STATUS:
            self._forget(WatchedKind.MIG_NODE, item.metadata.name)
            return
        report = self._read_report(item)
        if report is not None:
            self._observe(report, item.metadata.creation_timestamp or "")
            self._reported[item.metadata.name] = hash(bytes(item.status))

    def _read_report(self, item: MigNode) -> NodeReport | None:
        """A MigNode's report; None while it waits for its catalogues, and the one before is in force."""
        node = item.metadata.name
        self._compiler.forget(node)
        try:
            status = contract.read_status(item.status)
            unknown = [c for c in contract.catalogues(status).values() if not _is_cheap(c)]
            if not unknown:
                return contract.node_report(status, node)
        except errors.MigschedError as error:
            return contract.bad_report(node, error)
        waits = self._compiler.put(item, unknown)
        if waits is not None and self.inventory.report(node) is None:
            self._observe(waits, item.metadata.creation_timestamp or "")  # so that people are told
        return None

    def _observe(self, report: NodeReport, created: str) -> None:
        before = self.inventory.report(report.node)
        if report.problem and (before is None or before.problem != report.problem):
            _log.warning("bad report", node=report.node, problem=report.problem)
        self._unmanaged.look_at(report)
        left_out = self.inventory.conflicts(report.node)
        self._watching_room(lambda: self.inventory.observe(report, created))
        for gpu, problem in self.inventory.conflicts(report.node).items():
            if gpu not in left_out:
                _log.warning("GPUs left out", node=report.node, first=gpu, problem=problem)
                break

    def _take_pod(self, pod: Pod) -> None:
        meta = pod.metadata
        if not (pods.is_ours(pod) or pods.is_at_our_gate(pod) or meta.uid in self.pods):
            self.used.see(pod)
            return
        if pod.is_over:
            self.queue_feed.over(pod)
            self._pod_gone(meta.uid, pod.spec.node_name)
            return
        self._unseen.pop(meta.uid, None)
        known = self.pods.get(meta.uid)
        known = self._read(pod) if known is None else self._with_facts_of(pod, known)
        self.used.see(pod, known.constraints)
        if self.nominated.see(pod):
            self._on_room()
        self._watching_room(lambda: self.queue_feed.see(pod, known))
        if not pod.spec.node_name:
            return
        self.waiting.discard(meta.uid)
        try:
            promises = pods.promises_of(pod)
        except errors.ContractError as error:
            _log.warning("bad placement annotation", pod=pod.title, error=str(error))
            promises = ()
        asked = known.request or Request()
        promises = promises[: len(asked.slots) + 1]  # one too many is as little believed as a thousand
        bound = BoundPod(meta.uid, meta.namespace, meta.name, pod.spec.node_name, asked, promises)
        refusal = self._watching_room(lambda: self.inventory.adopt(bound))
        problem = ""
        if refusal is not None:
            problem = scheduling_facts.shown(refusal.message, MAX_PROBLEM)
            _log.warning("not adopted", pod=pod.title, uid=meta.uid, node=pod.spec.node_name, problem=problem)
        if problem != known.not_adopted:
            self.pods[meta.uid] = replace(known, not_adopted=problem)

    def _with_facts_of(self, pod: Pod, known: KnownPod) -> KnownPod:
        """What is known of a pod, with what may have changed since it was first read."""
        now = known_pod.as_it_is_now(known, pod)
        if now != known:
            self.pods[known.uid] = now
            if not self._counts(known):
                self._tell_demand(now)
        return now

    def _pod_gone(self, uid: str, node: str) -> None:
        self.used.forget(uid)
        self._forget_pod(uid)
        self._watching_room(lambda: self.inventory.end(uid, node))
        if self.inventory.ledger.get(uid) is not None:
            self.departures.ended(uid)

    def _watching_room(self, step: Callable[[], T]) -> T:
        before = self.inventory.room_generation
        done = step()
        if self.inventory.room_generation != before:
            self._on_room()
        return done

    def _forget_pod(self, uid: str) -> None:
        self.pods.pop(uid, None)
        self.waiting.discard(uid)
        self._unseen.pop(uid, None)
        self._watching_room(lambda: self.queue_feed.gone(uid))
        if self.nominated.forget(uid):
            self._on_room()

    def _forget_unseen(self) -> None:
        """Forget pods of calls that the watch never showed: they were gone before the call came, which may be late."""
        now = self._clock()
        while self._unseen:
            oldest = next(iter(self._unseen))
            if self._unseen[oldest] > now and len(self._unseen) <= MAX_UNSEEN:
                return
            self._forget_pod(oldest)

    # --- for the extender ---------------------------------------------------------------------------------------

    def lookup(self, pod: Pod) -> KnownPod | None:
        """What is known of a pod that a call brought; None for a pod that asks for nothing of ours."""
        self.waiting.learn(pod.spec.scheduler_name)
        known = self.pods.get(pod.metadata.uid)
        if known is None and pods.is_ours(pod):
            known = self.remember(pod)
        if known is not None:
            self.waiting.asked(pod)
        return known

    def remember(self, pod: Pod) -> KnownPod:
        """What is known of a MIG pod that a call brought, read once per UID: its containers cannot change.

        What the watch has shown of it counts more than the call, which may be late.
        """
        known = self.pods.get(pod.metadata.uid)
        if known is None:
            self._forget_unseen()
            known = self._read(pod)
            self._unseen[known.uid] = self._clock() + UNSEEN_S
        return known

    def _read(self, pod: Pod) -> KnownPod:
        known = read(pod)
        if self._newcomers is not None:
            self._newcomers.add(known.uid)
        self.pods[known.uid] = known
        self._tell_demand(known)
        return known

    def _tell_demand(self, pod: KnownPod) -> None:
        """A pod has come to count as demand, or not yet."""
        if pod.request and self.on_request is not None and self._counts(pod):
            self.on_request(pod.request)

    def ask_again(self) -> None:
        """Refused pods may fit by now, although no room arose: they are requeued."""
        self._on_room()

    def refuse(self, uid: str) -> None:
        """A pod's Binding was refused: its reservation, if it still has one, is void, and others may have the room."""
        claim = self.inventory.ledger.get(uid)
        if claim is not None and claim.state is ClaimState.RESERVED:
            self._watching_room(lambda: self.inventory.refuse(uid))

    def give_back(self, uid: str) -> None:
        """A held pod was certainly not released: its place is free again."""
        self._watching_room(lambda: self.queue_feed.give_up(uid))

    def unbindable(self, uid: str) -> None:
        """A released pod cannot be bound: its place is free again."""
        self._watching_room(lambda: self.queue_feed.unbindable(uid))

    def requests(self) -> Iterable[Request]:
        """What the pods ask for that run, or wait for a node."""
        return [pod.request for pod in self.pods.values() if pod.request and self._counts(pod)]

    def demanded(self) -> Iterable[str]:
        """Profiles that such a pod asks for: what "in demand" means for stranded slices."""
        return {name for request in self.requests() for name, _ in request.counts}

    def _counts(self, pod: KnownPod) -> bool:
        """Whether a pod counts as demand: not one on its way out, and of those without a node only who waits for one
        from the schedulers that ask us.
        """
        return not pod.terminating and (
            bool(pod.node)
            or pod.uid in self.queue
            or (not pod.gated and self.waiting.is_ours(pod.scheduling.scheduler))
        )

    def closed_nodes(self) -> set[str]:
        """Nodes with usable GPUs that take no pods, or do not exist."""
        return {name for name in self.inventory.fleet.rows if name in self._closed or self._takes_no_pod(name)}

    def why_closed(self, name: str) -> str:
        """Why a node takes no new pods, in words; empty where it takes some."""
        return str(verdict.closed(self.nodes.get(name), self.used.of(name)) or "")

    def _takes_no_pod(self, name: str) -> bool:
        """Whether a node does not exist, or has as many pods as it may."""
        facts, used = self.nodes.get(name), self.used.of(name)
        return facts is None or (used is not None and used.pods >= facts.allocatable.pods)


def _uids(listing: Listing[Object]) -> set[str]:
    """The objects of a list, those that cannot be read too."""
    return {item.metadata.uid for item in listing.items} | {left_out.uid for left_out in listing.unreadable}


def _is_cheap(catalogue: Catalogue) -> bool:
    """Whether a report with it can be taken in at once: the models of our own table are few and compiled once."""
    return geometry.is_known(catalogue) or geometry.is_shipped(catalogue)
