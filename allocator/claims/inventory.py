"""Inventory: the one mutable whole — agents' reports, the ledger of claims, and the fleet of GPU states they make.

Owned by the scheduler service (one per process, used from one thread) and by simulators. Every method is a step that
either happens whole or raises and changes nothing. A memory slice of a GPU counts as taken if a claim holds it, or
the report shows on it a slice that is foreign or belongs to a pod without a claim. An allocated slice without an owner
is that of the claim that lies exactly there. Idle slices count as free: the agent destroys them if room is wanted.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from allocator import errors
from allocator.claims import held
from allocator.claims.bound_pod import BoundPod
from allocator.claims.ended_claims import EndedClaims
from allocator.claims.gpu_reporters import GpuReporters
from allocator.claims.ledger import Claim, ClaimEvent, ClaimState, Hold, Ledger, left_behind
from allocator.claims.promised_holds import promised_holds
from allocator.claims.refusal import Refusal
from allocator.claims.report import GpuReport, NodeReport
from allocator.claims.unadopted_pods import UnadoptedPods
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import fitting, fleet, misfit, room
from allocator.placement.fitting import GpuState
from allocator.placement.misfit import Misfit, Reason
from allocator.placement.policy import DEFAULT, Policy
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.request import Request


class Inventory:
    """Reports, claims and GPU states. `check` proves that the three agree."""

    def __init__(self, by: Policy = DEFAULT) -> None:
        self.ledger = Ledger()
        self.fleet = fleet.Fleet(by)
        self.nodes: set[str] = set()  # nodes of the cluster, reported or not
        self.room_generation = 0  # one more each time a node gets room that it had not
        self._reports: dict[str, NodeReport] = {}
        self._shown: dict[str, Mapping[str, tuple[Hold, ...]]] = {}  # what each report shows of each pod, by UID
        self._usable: dict[str, tuple[tuple[str, GpuState], ...]] = {}
        self._geometries: dict[str, tuple[Geometry, ...]] = {}  # of the usable GPUs; made when asked for
        self._conflicts: dict[str, dict[str, str]] = {}
        self.reporters = GpuReporters()
        self._ended = EndedClaims()
        self._unadopted = UnadoptedPods()

    # --- what the cluster tells -------------------------------------------------------------------------------

    def report(self, node: str) -> NodeReport | None:
        """The last report of a node."""
        return self._reports.get(node)

    def reports(self) -> Iterable[NodeReport]:
        """All reports."""
        return self._reports.values()

    def conflicts(self, node: str) -> dict[str, str]:
        """GPUs (by UUID) of a node that take no new work because what is known of them contradicts itself, and why."""
        return self._conflicts.get(node, {})

    def waiting(self) -> Iterable[BoundPod]:
        """Bound pods whose promised placement could not be taken over, yet."""
        return iter(self._unadopted)

    def observe(self, seen: NodeReport, created: str = "") -> None:
        """Take in an agent's report, of a MigNode made then: claims follow, and pods that waited are taken over."""
        self._reports[seen.node] = seen
        elsewhere = self.reporters.report(seen.node, (gpu.uuid for gpu in seen.gpus), created)
        shown = self._shown[seen.node] = held.reported(seen)
        moved = [c for c in tuple(self.ledger.on_node(seen.node)) if self._follow(c, shown.get(c.uid, ()))]
        self._invalidate(seen.node, moved, shown)
        for node, gpus in {seen.node: None, **elsewhere}.items():
            self._refresh(node, gpus)
        for pod in self._unadopted.on_node(seen.node):
            self.adopt(pod)

    def settle_reporters(self) -> None:
        """Decide anew which node has a GPU that several report: after a restart, once all pods are known."""
        held_gpus = Counter((claim.node, hold.gpu) for claim in self.ledger for hold in claim.holds)
        for node, gpus in self.reporters.settle(held_gpus).items():
            self._refresh(node, gpus)

    def forget_report(self, node: str) -> None:
        """A node's MigNode is gone: nothing new there; its claims stay until their pods are over."""
        self._shown.pop(node, None)
        elsewhere = self.reporters.report(node, ())
        if self._reports.pop(node, None) is not None:
            for claim in tuple(self.ledger.on_node(node)):
                if claim.state is ClaimState.RELEASING:
                    self.ledger.apply(claim.uid, ClaimEvent.FREE)
            for affected, gpus in {node: None, **elsewhere}.items():
                self._refresh(affected, gpus)

    def adopt(self, pod: BoundPod) -> Refusal | None:
        """Take over a pod found bound, as its annotation promises; or say why not.

        A promise is believed only if it is what the pod asks for, lies on this node, is legal and free: an annotation
        is anybody's text. A pod whose promise cannot be taken over waits, and is tried again with the next report.
        """
        known = self.ledger.get(pod.uid)
        if known is not None and known.node == pod.node and _is_as_bound(known, pod):
            self._unadopted.forget(pod.uid, pod.node)
            if known.state is not ClaimState.RELEASING:
                self.ledger.apply(pod.uid, ClaimEvent.CONFIRM)
            return None
        if known is not None:  # we reserved another place, and another scheduler bound the pod here
            self.ledger.apply(pod.uid, ClaimEvent.FREE)
            self._refresh(known.node)
        believed = self._believed(pod)
        if isinstance(believed, Refusal):
            self._unadopted.add(pod)
            return believed
        holds, left = believed
        self._unadopted.forget(pod.uid, pod.node)
        claim = Claim(pod.uid, pod.namespace, pod.name, pod.node, holds, ClaimState.BOUND, left)
        self.ledger.open(claim)
        shown = self._shown[pod.node]
        self._follow(claim, shown.get(pod.uid, ()))
        changed = self._invalidate(pod.node, (claim,), shown)
        self._refresh(pod.node, changed | {hold.gpu for hold in (*holds, *shown.get(pod.uid, ()))})
        for other in self._unadopted.on_node(pod.node) if left else ():
            self.adopt(other)
        return None

    def end(self, uid: str, node: str = "") -> bool:
        """A pod is over or gone. Returns whether that freed room at once."""
        self._unadopted.forget(uid, node)
        claim = self.ledger.get(uid)
        if claim is None:
            return False
        still_held = uid in self._shown.get(claim.node, {})
        if not still_held:
            self._ended.add(claim)
        self.ledger.apply(uid, ClaimEvent.END if still_held else ClaimEvent.FREE)
        self._refresh(claim.node, {hold.gpu for hold in claim.holds})
        return not still_held

    # --- what the scheduler decides ---------------------------------------------------------------------------

    def reserve(
        self, uid: str, namespace: str, name: str, request: Request, node: str, left: LeftRoom = ALL_ROOM
    ) -> Claim | Misfit:
        """Choose placements for a pod on a node, of what others left, and claim them, RESERVED; or say why not.

        Asked again for the same pod and node it answers with the existing claim.
        """
        known = self.ledger.get(uid)
        if known is not None:
            return known if known.node == node else Misfit(Reason.BOUND_ELSEWHERE, str(request))
        usable = room.remaining(self._usable.get(node, ()), left)
        try:
            placed = fitting.place([s for _, s in usable], request, self.fleet.policy)
        except fitting.TooComplexError:
            return Misfit(Reason.TOO_COMPLEX, str(request))
        if placed is None or not usable:
            misfit_ = self.explain(request, node)
            return Misfit(Reason.NOMINATED, str(request)) if left and misfit_.reason is Reason.NO_ROOM else misfit_
        holds = tuple(
            Hold(slice_.container, usable[place.gpu][0], place.placement)
            for slice_, place in zip(request.slots, placed, strict=True)
        )
        claim = Claim(uid, namespace, name, node, holds, ClaimState.RESERVED)
        self.ledger.open(claim)
        self._refresh(node, {hold.gpu for hold in holds})
        self.fleet.chose(node)
        return claim

    def restore(self, pod: BoundPod) -> Refusal | None:
        """Claim again, RESERVED, what a pod was promised that is to be bound to a node; or say why that cannot be.

        Its promises are believed as those of a bound pod are. For a pod that has a claim nothing happens.
        """
        if self.ledger.get(pod.uid) is not None:
            return None
        believed = self._believed(pod)
        if isinstance(believed, Refusal):
            return believed
        holds, _ = believed
        self.ledger.open(Claim(pod.uid, pod.namespace, pod.name, pod.node, holds, ClaimState.RESERVED))
        self._refresh(pod.node, {hold.gpu for hold in holds})
        return None

    def confirm(self, uid: str) -> None:
        """The API server has the binding. Raises LedgerError if nothing was reserved."""
        self.ledger.apply(uid, ClaimEvent.CONFIRM)

    def refuse(self, uid: str) -> None:
        """The binding was refused: the reservation is void. Raises LedgerError if the claim is past that."""
        claim = self.ledger.get(uid)
        self.ledger.apply(uid, ClaimEvent.REFUSE)
        if claim is not None:
            self._refresh(claim.node, {hold.gpu for hold in claim.holds})

    def explain(self, request: Request, node: str) -> Misfit:
        """Why a request does not fit a node, given that it does not."""
        return Misfit(self.reason(request, node), str(request))

    def reason(self, request: Request, node: str) -> Reason:
        """The reason alone."""
        seen = self._reports.get(node)
        if seen is None:
            return Reason.NO_REPORT if node in self.nodes else Reason.UNKNOWN_NODE
        kinds = self._geometries_of(node)
        if not kinds:
            return Reason.BAD_REPORT if seen.problem or self._conflicts.get(node) else Reason.NO_MIG
        return misfit.on_empty(kinds, request.counts)

    def by_reason(self, request: Request, nodes: Iterable[str]) -> Mapping[Reason, Sequence[str]]:
        """The nodes by the reason why the request does not fit them, given that it does not.

        Those with the same kinds of GPUs are judged once: 5,000 nodes cost a millisecond or two.
        """
        groups: dict[Reason, list[str]] = {}
        judged: dict[tuple[Geometry, ...], list[str]] = {}
        for node in nodes:
            kinds = self._geometries_of(node)
            group = judged.get(kinds) if kinds else None
            if group is None:
                group = groups.setdefault(self.reason(request, node), [])
                if kinds:
                    judged[kinds] = group
            group.append(node)
        return groups

    def usable(self, node: str) -> Sequence[tuple[str, GpuState]]:
        """The usable GPUs of a node (UUID and state) as they are."""
        return self._usable.get(node, ())

    def gpus_without(self, node: str, gone: frozenset[str], of: Container[str] | None = None) -> Mapping[str, GpuState]:
        """The usable GPUs of a node by UUID, or those `of` them, as they would be without these pods (by UID)."""
        gpus = self._reports[node].by_uuid() if node in self._reports else {}
        kinds = ((uuid, kind) for uuid, (kind, _) in self._usable.get(node, ()) if of is None or uuid in of)
        return {uuid: (kind, kind.state_of(self._taken(node, gpus[uuid], gone))) for uuid, kind in kinds}

    def _geometries_of(self, node: str) -> tuple[Geometry, ...]:
        kinds = self._geometries.get(node)
        if kinds is None:
            kinds = tuple(kind for _, (kind, _) in self._usable.get(node, ()))
            if kinds:
                self._geometries[node] = kinds
        return kinds

    def _follow(self, claim: Claim, shown: tuple[Hold, ...]) -> bool:
        """Move a claim along with what the report shows of its pod. Returns whether it lies elsewhere now."""
        if claim.state is ClaimState.RELEASING:
            if not shown:
                self.ledger.apply(claim.uid, ClaimEvent.FREE)
            return False
        as_claimed = shown == claim.holds  # the rule, and a fraction of what the comparisons below cost
        if not as_claimed and held.profiles(shown) != held.profiles(claim.holds):
            if claim.state is ClaimState.READY:
                self.ledger.apply(claim.uid, ClaimEvent.LOSE)
            return self._correct(claim, shown)
        self.ledger.apply(claim.uid, ClaimEvent.CUT)
        if as_claimed or held.places(shown) == held.places(claim.holds):
            return False
        self.ledger.relocate(claim.uid, shown)
        return True

    def _correct(self, claim: Claim, shown: tuple[Hold, ...]) -> bool:
        """Move what the report shows of a claim; the rest is not handed out yet, or never listed."""
        corrected = held.corrected(claim.holds, shown)
        if moves := held.places(corrected) != held.places(claim.holds):
            self.ledger.relocate(claim.uid, corrected)
        return moves

    def _invalidate(self, node: str, before: Sequence[Claim], shown: Mapping[str, tuple[Hold, ...]]) -> set[str]:
        """Promises on places that the report shows to be other pods' are void. `before` are those pods' former claims.
        Returns the GPUs (by UUID) of the claims that lost or changed theirs.

        Promises of one profile may have been given to each other's pods: then a pod whose own promise is void gets a
        place that one of the others left. Otherwise it waits for its own report.
        """
        now = [hold for claim in before for hold in held.of(self.ledger.get(claim.uid))]
        left = [hold for claim in before for hold in claim.holds if not held.overlap((hold,), now)]
        changed: set[str] = set()
        losers = held.losers(self.ledger.on_node(node), before, shown)
        while losers:
            other, lost = losers.pop(next(iter(losers)))  # the others' void promises are in nobody's way
            changed.update(hold.gpu for hold in other.holds)
            swapped = held.swapped(other.holds, lost, left) if other.state is ClaimState.BOUND else ()
            if swapped and self._not_free(other.uid, other.node, swapped, losers) is None:
                self.ledger.relocate(other.uid, swapped)
                changed.update(hold.gpu for hold in swapped)
                left = [hold for hold in left if not held.overlap((hold,), swapped)]
                continue
            self.ledger.apply(other.uid, ClaimEvent.FREE)
            if other.state in (ClaimState.BOUND, ClaimState.READY):
                request, promised = held.request_of(other.holds), held.promises(other.holds)
                pod = BoundPod(other.uid, other.namespace, other.name, other.node, request, promised)
                self._unadopted.add(pod)
        return changed

    def _believed(self, pod: BoundPod) -> tuple[tuple[Hold, ...], tuple[Hold, ...]] | Refusal:
        """The holds of a pod found bound and the promised ones that it left, or why its promises cannot be believed."""
        report = self._reports.get(pod.node)
        if report is None:
            return Refusal("its node has no report")
        promised = promised_holds(pod.request, pod.promises, report)
        shown = self._shown[pod.node].get(pod.uid, ())
        if shown and held.profiles(shown) == Counter(dict(pod.request.counts)):
            return shown, () if isinstance(promised, Refusal) else left_behind(promised, shown)
        if isinstance(promised, Refusal):
            return promised
        corrected = held.corrected(promised, shown)
        taken = self._not_free(pod.uid, pod.node, corrected)
        if taken is None:
            return corrected, left_behind(promised, corrected)
        exchanged = held.exchanged(promised, (c for c in self.ledger.on_node(pod.node) if c.uid != pod.uid))
        if not shown and exchanged and self._not_free(pod.uid, pod.node, exchanged) is None:
            return exchanged, ()
        return Refusal(f"its promised place is taken: {taken}")

    def _not_free(self, uid: str, node: str, holds: Sequence[Hold], void: Iterable[str] = ()) -> Refusal | None:
        """Why a pod cannot hold these places of a reported node beside all but the void claims; None if it can."""
        gpus = self._reports[node].by_uuid()
        for uuid in sorted({hold.gpu for hold in holds}):
            gpu = gpus.get(uuid)
            if gpu is None or gpu.catalogue is None:
                return Refusal(f"GPU {uuid} is not reported")
            taken = self._taken(node, gpu, frozenset((uid, *void)), holds)
            try:
                geometry.compiled(gpu.catalogue).state_of([*taken, *(h.placement for h in holds if h.gpu == uuid)])
            except errors.MigschedError as error:
                return Refusal(str(error))
        return None

    def _taken(
        self, node: str, gpu: GpuReport, ignore: frozenset[str] = frozenset(), own: Sequence[Hold] = ()
    ) -> list[Placement]:
        return held.taken(self.ledger.on_node(node), gpu, self._ended.on_node(node), ignore, own)

    def _refresh(self, node: str, changed: Container[str] | None = None) -> None:
        """Recompute a node's row of the fleet; of the GPUs (by UUID) whose claims changed, where only they did."""
        self._geometries.pop(node, None)
        seen = self._reports.get(node)
        if seen is None:
            self.fleet.drop(node)
            self._usable.pop(node, None)
            self._conflicts.pop(node, None)
            return
        before = dict(self._usable.get(node, ()))
        usable: list[tuple[str, GpuState]] = []
        conflicts: dict[str, str] = {}
        gained = False
        for gpu in seen.gpus:
            if gpu.catalogue is None or not gpu.usable:
                continue
            known = before.get(gpu.uuid)
            if known is not None and changed is not None and gpu.uuid not in changed:
                usable.append((gpu.uuid, known))
                continue
            try:
                state = self._state(node, gpu, gpu.catalogue)
            except errors.MigschedError as error:
                conflicts[gpu.uuid] = str(error)
                continue
            usable.append((gpu.uuid, state))
            gained = gained or room.gained(known, state)
        self.room_generation += gained
        self._usable[node] = tuple(usable)
        self._conflicts[node] = conflicts
        self.fleet.put(node, [state for _, state in usable])

    def _state(self, node: str, gpu: GpuReport, catalogue: Catalogue) -> GpuState:
        """The state of a usable GPU. Raises MigschedError if what is known of it contradicts itself."""
        self.reporters.check(node, gpu.uuid)
        kind = geometry.compiled(catalogue)
        return kind, kind.state_of(self._taken(node, gpu))

    def check(self) -> None:
        """Raise LedgerError if two claims share a memory slice, or the fleet disagrees with ledger and reports."""
        self.ledger.check()
        taken: dict[tuple[str, str], tuple[int, str]] = {}
        for claim in self.ledger:
            for hold in claim.holds:
                mask, pods = taken.get((claim.node, hold.gpu), (0, ""))
                if mask & hold.placement.mask:
                    raise errors.LedgerError(f"{claim.pod} shares {hold.gpu} {hold.placement} with {pods}")
                taken[claim.node, hold.gpu] = (mask | hold.placement.mask, f"{pods} {claim.pod}".strip())
        for node in self._reports:
            before = self.fleet.gpus(node)
            self._refresh(node)
            if self.fleet.gpus(node) != before:
                raise errors.LedgerError(f"the fleet's row of {node} was stale")


def _is_as_bound(claim: Claim, pod: BoundPod) -> bool:
    """Whether a pod was not bound by another scheduler, with other promises than what we reserved."""
    return claim.state is not ClaimState.RESERVED or held.as_promised(claim.holds, pod.promises)
