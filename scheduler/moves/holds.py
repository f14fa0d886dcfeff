"""MoveHolds: the places that a Repack holds, as claims of nobody's pod in the ledger.

A claim's UID is the Repack's with what it is for, so it can be told from a pod's. Three kinds: the place of a step, the
room that is wanted, and windows that are needed later, held slice by slice as far as they are free.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from allocator.claims.bound_pod import BoundPod
from allocator.claims.ledger import Claim, ClaimState
from allocator.claims.placement_annotation import Promise
from allocator.mig import geometry
from allocator.request import Request, SliceRequest
from scheduler.cache.cluster_cache import ClusterCache

NAMESPACE = "migsched"  # of holds, as slot maps show them
_KEEP = "keep"
_PREFIX = "repack/"  # of the UIDs of such claims


def is_hold(uid: str) -> bool:
    """Whether a claim (UID) is no pod's, but held for a pod that is to come."""
    return uid.startswith(_PREFIX)


@dataclass(frozen=True, slots=True)
class HeldSlice:
    """A slice of a place: whose container gets it, on which GPU, which profile and where."""

    container: str
    gpu: str
    profile: str
    start: int


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """Slices on one node."""

    node: str
    slices: tuple[HeldSlice, ...]

    @property
    def promises(self) -> tuple[Promise, ...]:
        """The same, as an annotation promises them."""
        return tuple(Promise(s.container, s.gpu, s.profile, s.start) for s in self.slices)

    def lies_at(self, claim: Claim | None) -> bool:
        """Whether a claim is this place, whichever container has which slice."""
        if claim is None or claim.node != self.node:
            return False
        held = sorted((hold.gpu, hold.placement.profile, hold.placement.start) for hold in claim.holds)
        return held == sorted((slice_.gpu, slice_.profile, slice_.start) for slice_ in self.slices)


class MoveHolds:
    """Those of one Repack (UID). Nothing is remembered beside the ledger."""

    def __init__(self, state: ClusterCache, repack: str) -> None:
        self._state = state
        self._prefix = f"{_PREFIX}{repack}/"

    def uid(self, what: str) -> str:
        """The UID of the claim for something."""
        return self._prefix + what

    def claims(self) -> Sequence[Claim]:
        """All claims of this Repack."""
        return [claim for claim in self._state.inventory.ledger if claim.uid.startswith(self._prefix)]

    def is_held(self, what: str, place: HeldPlace) -> bool:
        """Whether a place is claimed for something."""
        return place.lies_at(self._state.inventory.ledger.get(self.uid(what)))

    def hold(self, what: str, place: HeldPlace) -> bool:
        """Claim a place; whether it is held then. What is only kept for later in it gives way."""
        if self.is_held(what, place):
            return True
        self.free(what)
        given = self._yield(place)
        if self._claim(self.uid(what), place.node, place.slices):
            return True
        for claim in given:
            self._again(claim)
        return False

    def hand_over(self, what: str, place: HeldPlace, uid: str, namespace: str, name: str, request: Request) -> bool:
        """A place becomes a pod's own claim; whether it does. Nobody comes in between."""
        self.hold(what, place)
        was_held = self.is_held(what, place)
        self.free(what, quietly=True)
        promised = BoundPod(uid, namespace, name, place.node, request, place.promises)
        done = self._state.inventory.restore(promised) is None
        if not done and was_held:
            self._claim(self.uid(what), place.node, place.slices)
        return done

    def keep(self, windows: Iterable[HeldPlace]) -> None:
        """Hold what is free of these windows, and nothing else that was kept before."""
        wanted: set[str] = set()
        for window in windows:
            for slice_ in window.slices:
                for start in range(self._size(window.node, slice_)):
                    what = f"{_KEEP}/{slice_.gpu}/{slice_.start + start}"
                    wanted.add(self.uid(what))
                    if self._state.inventory.ledger.get(self.uid(what)) is None:
                        self._keep_one(what, window.node, slice_.gpu, slice_.start + start, slice_)
        for claim in self.claims():
            if claim.uid.startswith(self.uid(_KEEP)) and claim.uid not in wanted:
                self._drop(claim.uid)

    def free(self, what: str, *, quietly: bool = False) -> None:
        """Hold nothing for something. `quietly`: nobody else is told of the room."""
        uid = self.uid(what)
        claim = self._state.inventory.ledger.get(uid)
        if claim is not None and claim.state is ClaimState.RESERVED and quietly:
            self._state.inventory.refuse(uid)
        elif claim is not None:
            self._drop(uid)

    def free_all(self) -> None:
        """Hold nothing any more."""
        for claim in self.claims():
            self._drop(claim.uid)

    def _drop(self, uid: str) -> None:
        self._state.refuse(uid)

    def _claim(self, uid: str, node: str, slices: Sequence[HeldSlice]) -> bool:
        request = Request(tuple(SliceRequest(slice_.container, slice_.profile) for slice_ in slices))
        promises = HeldPlace(node, tuple(slices)).promises
        pod = BoundPod(uid, NAMESPACE, uid.removeprefix("repack/")[:253], node, request, promises)
        return self._state.inventory.restore(pod) is None

    def _yield(self, place: HeldPlace) -> Sequence[Claim]:
        """Give up what is kept on the GPUs of a place, so that it can be claimed."""
        gpus = {slice_.gpu for slice_ in place.slices}
        given = [
            claim
            for claim in self.claims()
            if claim.uid.startswith(self.uid(_KEEP)) and any(hold.gpu in gpus for hold in claim.holds)
        ]
        for claim in given:
            self._state.inventory.refuse(claim.uid)
        return given

    def _again(self, claim: Claim) -> None:
        slices = [HeldSlice(h.container, h.gpu, h.placement.profile, h.placement.start) for h in claim.holds]
        self._claim(claim.uid, claim.node, slices)

    def _size(self, node: str, slice_: HeldSlice) -> int:
        kind = self._geometry(node, slice_.gpu)
        if kind is None or slice_.profile not in kind.profile_index:
            return 0
        return kind.catalogue.placement(slice_.profile, slice_.start).size

    def _keep_one(self, what: str, node: str, gpu: str, start: int, window: HeldSlice) -> None:
        """Claim the smallest slice that begins at a memory slice, inside a window, if it is free."""
        kind = self._geometry(node, gpu)
        if kind is None:
            return
        mask = kind.catalogue.placement(window.profile, window.start).mask
        here = [place for place in kind.placements if place.start == start and not place.mask & ~mask]
        for place in sorted(here, key=lambda place: (place.size, place.profile)):
            if self._claim(self.uid(what), node, [HeldSlice("", gpu, place.profile, place.start)]):
                return

    def _geometry(self, node: str, gpu: str) -> geometry.Geometry | None:
        report = self._state.inventory.report(node)
        known = report.by_uuid().get(gpu) if report is not None else None
        return geometry.compiled(known.catalogue) if known is not None and known.catalogue is not None else None
