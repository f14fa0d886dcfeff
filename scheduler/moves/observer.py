"""Observer: what the cache shows of a plan's steps. Asked by `run`, which remembers nothing of it."""

from allocator.claims.ledger import Claim, ClaimState
from allocator.moves.progress import SourceState, StepFacts
from allocator.moves.step import MoveStep
from allocator.queueing.queued_pod import QueuedPod
from allocator.request import Request
from scheduler.cache import movability
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.moves.holds import HeldPlace, HeldSlice, MoveHolds
from scheduler.queueing.node_rules import ClusterNodeRules


def target(step: MoveStep) -> HeldPlace:
    """Where a step's pod goes."""
    return HeldPlace(step.node, tuple(HeldSlice(s.container, s.gpu, s.profile, s.start) for s in step.slices))


def source(step: MoveStep) -> HeldPlace:
    """Where it was when the plan was made."""
    slices = tuple(HeldSlice(s.container, s.from_gpu, s.profile, s.from_start) for s in step.slices)
    return HeldPlace(step.from_node, slices)


class MoveObserver:
    """Looks at one Repack's steps in the cache."""

    def __init__(self, state: ClusterCache, rules: ClusterNodeRules, holds: MoveHolds) -> None:
        self._state = state
        self._rules = rules
        self._holds = holds

    def facts(self, step: MoveStep) -> StepFacts:
        """What the cluster shows of a step."""
        known = self._state.pods.get(step.uid)
        own = self._state.inventory.ledger.get(step.uid)
        found = self._replacement(step)
        where = self._where(known, own, step)
        return StepFacts(
            source=where,
            unmovable=movability.why_not(self._state, known) if known is not None else "",
            is_held=self._holds.is_held(step_key(step), target(step)) or (own is not None and overlaps_itself(step)),
            is_leaving=self.is_leaving(step),
            replacement=found.uid if found is not None else "",
            is_ready=found is not None and found.state is ClaimState.READY and where is SourceState.GONE,
        )

    def _where(self, known: KnownPod | None, claim: Claim | None, step: MoveStep) -> SourceState:
        if known is None:
            return SourceState.GONE
        if known.terminating:
            return SourceState.LEAVING
        return SourceState.THERE if source(step).lies_at(claim) else SourceState.ELSEWHERE

    def _replacement(self, step: MoveStep) -> Claim | None:
        """The claim of another pod of the same owner that lies in the step's place."""
        place = target(step)
        for claim in self._state.inventory.ledger.on_node(step.node):
            pod = self._state.pods.get(claim.uid)
            is_over = claim.state is ClaimState.RELEASING
            if pod is None or is_over or claim.uid == step.uid:
                continue
            if is_of_owner(pod, step) and place.lies_at(claim):
                return claim
        return None

    def is_leaving(self, step: MoveStep) -> bool:
        """Whether a step's place is taken by slices of pods that are over, and by nothing else that has a claim."""
        place, claims = target(step), self._state.inventory.ledger.on_node(step.node)
        states = {claim.state for claim in claims if _overlap(self._state, place, claim)}
        return states == {ClaimState.RELEASING}

    def blocker(self, step: MoveStep, steps: tuple[MoveStep, ...]) -> str:
        """The pod that lies in a step's place and that the plan knows nothing of; empty if there is none."""
        ours = {other.uid for other in steps} | {other.replacement for other in steps}
        place = target(step)
        for claim in self._state.inventory.ledger.on_node(step.node):
            stays = claim.state is not ClaimState.RELEASING and claim.uid not in ours and claim.uid in self._state.pods
            if stays and _overlap(self._state, place, claim):
                return claim.pod
        return ""

    def refuses(self, step: MoveStep) -> bool:
        """Whether the node of a step's place does not take its pod, slices aside."""
        known = self._state.pods.get(step.uid)
        if known is None:
            return False
        pod = _as_queued(known, pinned=self._state.queue_feed.pins)
        return not self.takes(pod, step.node, gone=frozenset({step.uid}))

    def takes(self, pod: QueuedPod, node: str, gone: frozenset[str] = frozenset()) -> bool:
        """Whether a node may run a pod and has room for it, slices aside, once these are gone."""
        return node in self._rules.eligible(pod) and self._rules.takes_without(pod, node, gone)


def step_key(step: MoveStep) -> str:
    """What the claim of a step's place is called."""
    return f"step/{step.number}"


def is_of_owner(pod: KnownPod, step: MoveStep) -> bool:
    """Whether a pod is of the owner whose pod a step moves."""
    return bool(step.service) and pod.namespace == step.namespace and pod.service == step.service


def overlaps_itself(step: MoveStep) -> bool:
    """Whether a pod moves within a GPU: then its place may be free only when it has gone."""
    left = {slice_.from_gpu for slice_ in step.slices}
    return any(slice_.gpu in left for slice_ in step.slices)


def asks_the_same(request: Request | None, step: MoveStep) -> bool:
    """Whether a pod asks for the slices that a step moves."""
    profiles: dict[str, int] = {}
    for slice_ in step.slices:
        profiles[slice_.profile] = profiles.get(slice_.profile, 0) + 1
    return request is not None and dict(request.counts) == profiles


def _overlap(state: ClusterCache, place: HeldPlace, claim: Claim) -> bool:
    report = state.inventory.report(place.node)
    gpus = report.by_uuid() if report is not None else {}
    for slice_ in place.slices:
        gpu = gpus.get(slice_.gpu)
        if gpu is None or gpu.catalogue is None:
            continue
        placement = gpu.catalogue.placement(slice_.profile, slice_.start)
        if any(hold.gpu == slice_.gpu and hold.placement.overlaps(placement) for hold in claim.holds):
            return True
    return False


def _as_queued(pod: KnownPod, *, pinned: bool) -> QueuedPod:
    """The pod that will come in a pod's stead, as the queue will see it."""
    constraints = movability.successor_constraints(pod, pinned=pinned)
    assert constraints is not None  # else it is not movable
    return QueuedPod(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        version="",
        priority=pod.priority,
        created=pod.scheduling.created,
        request=pod.request or Request(),
        constraints=constraints,
    )
