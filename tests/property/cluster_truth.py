"""A small world for the inventory's state machine: the API server's pods, the GPUs' true slices, and late reports.

What is true here is decided by the simulated driver's rule alone (`_legal`), never by the inventory. An agent's
report is a photograph of its node; between two of them the truth moves on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from hypothesis import strategies as st

from allocator import errors
from allocator.claims import contract
from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim, ClaimState
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from allocator.placement import fitting
from allocator.placement.fitting import GpuState
from allocator.placement.misfit import Reason
from allocator.request import Request
from tests import builders

NODES = {"n1": ("a100-40gb",), "n2": ("a100-40gb", "a30-24gb")}
GPUS = {node: tuple(f"{node}-gpu-{i}" for i in range(len(models))) for node, models in NODES.items()}
CATALOGUES = {
    uuid: gpu_models.find(model)
    for node, models in NODES.items()
    for uuid, model in zip(GPUS[node], models, strict=True)
}


Ended = Mapping[str, Claim]  # the claims of pods that were told to be over before any report showed them, by UID


@dataclass
class TruePod:
    """A pod as the API server has it."""

    name: str
    request: Request
    node: str = ""  # set by the Binding, with the promises, in one write
    promises: tuple[Promise, ...] = ()
    over: bool = False
    seen_over: bool = False  # the scheduler's watch has shown it

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return builders.uid_of(self.name)

    def bound(self) -> BoundPod:
        """The pod as the watch shows it."""
        return BoundPod(self.uid, builders.NAMESPACE, self.name, self.node, self.request, self.promises)


@dataclass
class ClusterTruth:
    """All pods there ever were, and the true slices of every GPU."""

    pods: dict[str, TruePod] = field(default_factory=dict)
    slices: dict[str, list[Slice]] = field(default_factory=lambda: {uuid: [] for uuid in CATALOGUES})

    # --- pods ---------------------------------------------------------------------------------------------------

    def create(self, profiles: Sequence[str]) -> TruePod:
        """A new pod asking for slices."""
        pod = TruePod(f"p{len(self.pods)}", builders.request(*profiles))
        self.pods[pod.uid] = pod
        return pod

    def bind(self, pod: TruePod, node: str, promises: Iterable[Promise]) -> None:
        """The one write of a Binding; a pod is bound once."""
        assert not pod.node
        pod.node, pod.promises = node, tuple(promises)

    def living(self) -> list[TruePod]:
        """Bound pods that are not over."""
        return [pod for pod in self.pods.values() if pod.node and not pod.over]

    def uncut(self, pod: TruePod) -> list[str]:
        """Profiles a pod asks for and has not got."""
        there = Counter(one.placement.profile for _, one in self.owned(pod.uid))
        return sorted((Counter(dict(pod.request.counts)) - there).elements())

    # --- slices -------------------------------------------------------------------------------------------------

    def owned(self, uid: str) -> list[tuple[str, Slice]]:
        """A pod's slices, with the GPU each lies on."""
        return [(u, s) for u, slices in self.slices.items() for s in slices if s.owner and s.owner.uid == uid]

    def cut(self, uuid: str, wanted: Placement, owner: Owner | None) -> bool:
        """Cut a slice, destroying idle ones in its way; foreign if it has no owner. False if it cannot be cut."""
        kept = [one for one in self.slices[uuid] if one.state is not SliceState.IDLE]
        state = SliceState.FOREIGN if owner is None else SliceState.ALLOCATED
        for others in (self.slices[uuid], kept):
            if legal(uuid, [*(one.placement for one in others), wanted]):
                self.slices[uuid] = [*others, Slice(wanted, state, owner)]
                return True
        return False

    def cut_as_promised(self, pod: TruePod) -> None:
        """Cut the next slice of a pod that can be cut at its promised place."""
        for promise in pod.promises:
            mine = {(uuid, one.placement.profile, one.placement.start) for uuid, one in self.owned(pod.uid)}
            there = (promise.gpu, promise.profile, promise.start)
            if there in mine or promise.gpu not in GPUS[pod.node] or promise.profile not in self.uncut(pod):
                continue
            starts = {place.start: place for place in self.places(promise.gpu, promise.profile)}
            if promise.start in starts:
                self.cut(promise.gpu, starts[promise.start], builders.owner(pod.name, promise.container))
                return

    def places(self, uuid: str, profile: str = "") -> list[Placement]:
        """Where a slice could be cut on a GPU now."""
        kept = [one.placement for one in self.slices[uuid] if one.state is not SliceState.IDLE]
        return [one for one in kind(uuid).placements if profile in ("", one.profile) and legal(uuid, [*kept, one])]

    def drop(self, uuid: str, gone: Slice, *, keep_warm: bool) -> None:
        """A slice is given back: destroyed, or kept idle."""
        left = [one for one in self.slices[uuid] if one != gone]
        self.slices[uuid] = [*left, Slice(gone.placement, SliceState.IDLE)] if keep_warm else left

    def free(self, pod: TruePod) -> None:
        """All slices of a pod are given back and stay warm."""
        for uuid, one in self.owned(pod.uid):
            self.drop(uuid, one, keep_warm=True)

    def strangers_leave(self) -> None:
        """All foreign slices are gone."""
        for uuid, slices in self.slices.items():
            self.slices[uuid] = [one for one in slices if one.state is not SliceState.FOREIGN]

    def reboot(self, node: str) -> None:
        """All slices of a node are gone; its pods are not."""
        for uuid in GPUS[node]:
            self.slices[uuid] = []

    # --- reports ------------------------------------------------------------------------------------------------

    def photograph(self, node: str) -> NodeReport:
        """What an honest agent reports now."""
        return NodeReport(node, tuple(self._gpu(i, uuid) for i, uuid in enumerate(GPUS[node])))

    def garbled(self, uuid: str, bogus: Slice) -> NodeReport:
        """A report with a slice that is not there, come through the wire as the scheduler reads it."""
        node = next(name for name, gpus in GPUS.items() if uuid in gpus)
        honest = self.photograph(node)
        gpus = tuple(replace(g, slices=(*g.slices, bogus)) if g.uuid == uuid else g for g in honest.gpus)
        wire = contract.encode_status(replace(honest, gpus=gpus), agent_version="test", mode="test")
        return contract.decode_status(msgspec.json.encode(wire), node)

    def _gpu(self, index: int, uuid: str) -> GpuReport:
        catalogue = CATALOGUES[uuid]
        return GpuReport(uuid, index, catalogue.model, MigMode.ENABLED, catalogue, tuple(self.slices[uuid]))


def one_of(data: st.DataObject, pods: Sequence[TruePod]) -> TruePod:
    """One of these pods; the latest most easily, for what has just begun is what goes wrong."""
    return data.draw(st.sampled_from(pods[::-1]), label="pod")


def kind(uuid: str) -> geometry.Geometry:
    """The geometry of a GPU."""
    return geometry.compiled(CATALOGUES[uuid])


def legal(uuid: str, placements: Iterable[Placement]) -> bool:
    """Whether the driver would let these stand together."""
    try:
        kind(uuid).state_of(placements)
    except errors.GeometryError:
        return False
    return True


def taken_in(gpu: GpuReport) -> list[tuple[str, Placement]]:
    """Slices that a report shows as a pod's or as foreign, with the owner's UID."""
    return [
        (one.owner.uid if one.owner else "", one.placement) for one in gpu.slices if one.state is not SliceState.IDLE
    ]


def going(gpu: GpuReport, ended: Ended) -> set[tuple[str, Placement]]:
    """Slices that a report shows of pods whose claims have ended, with the owner's UID."""
    left = {hold.placement for claim in ended.values() for hold in claim.holds if hold.gpu == gpu.uuid}
    return {(uid, place) for uid, place in taken_in(gpu) if uid in ended or (not uid and place in left)}


def shown_of(seen: NodeReport, uid: str) -> Counter[tuple[str, str, int]]:
    """Where a report shows a pod's slices: GPU, profile and start; a GPU that contradicts itself shows nothing."""
    return Counter(
        (gpu.uuid, one.placement.profile, one.placement.start)
        for gpu in seen.gpus
        if legal(gpu.uuid, [one.placement for one in gpu.slices])
        for one in gpu.slices
        if one.state is SliceState.ALLOCATED and one.owner and one.owner.uid == uid
    )


def places_of(claim: Claim) -> Counter[tuple[str, str, int]]:
    """Where a claim lies: GPU, profile and start."""
    return Counter((hold.gpu, hold.placement.profile, hold.placement.start) for hold in claim.holds)


def profiles_of(places: Counter[tuple[str, str, int]]) -> Counter[str]:
    """The profiles at some places."""
    return Counter(profile for _, profile, _ in places.elements())


def expected_rows(inventory: Inventory, node: str, ended: Ended) -> dict[str, GpuState]:
    """The GPU states that reports and claims together make, GPUs that contradict themselves left out."""
    return {uuid: state for uuid, state in _expected_gpus(inventory, node, ended) if state is not None}


def expected_conflicts(inventory: Inventory, node: str, ended: Ended) -> set[str]:
    """The GPUs on which report and claims cannot stand together."""
    return {uuid for uuid, state in _expected_gpus(inventory, node, ended) if state is None}


def expected_reason(inventory: Inventory, wanted: Request, node: str, ended: Ended) -> Reason:
    """Why a request that does not fit does not, from what the inventory was told."""
    seen, rows = inventory.report(node), expected_rows(inventory, node, ended)
    if seen is None:
        return Reason.NO_REPORT
    if not rows:
        return Reason.BAD_REPORT if seen.problem or inventory.conflicts(node) else Reason.NO_MIG
    if not set(dict(wanted.counts)) <= {name for known, _ in rows.values() for name in known.profiles}:
        return Reason.NOT_OFFERED
    empty = [(known, geometry.Geometry.EMPTY) for known, _ in rows.values()]
    return Reason.NO_ROOM if fitting.fits(empty, dict(wanted.counts)) else Reason.TOO_LARGE


def is_promised(inventory: Inventory, uuid: str, place: Placement) -> bool:
    """Whether a claim holds a place that the report does not show yet."""
    return any(
        hold.gpu == uuid and hold.placement.overlaps(place)
        for claim in inventory.ledger
        if claim.state is not ClaimState.READY
        for hold in claim.holds
    )


def held_slots(inventory: Inventory) -> list[tuple[str, str, int]]:
    """Each memory slice that a claim holds: node, GPU and number."""
    return [
        (claim.node, hold.gpu, slot)
        for claim in inventory.ledger
        for hold in claim.holds
        for slot in range(hold.placement.start, hold.placement.start + hold.placement.size)
    ]


def _expected_gpus(inventory: Inventory, node: str, ended: Ended) -> Iterator[tuple[str, GpuState | None]]:
    seen = inventory.report(node)
    for gpu in seen.gpus if seen else ():
        held = {
            (claim.uid, hold.placement)
            for claim in inventory.ledger
            for hold in claim.holds
            if claim.node == node and hold.gpu == gpu.uuid
        }
        claimed = {placement for _, placement in held}
        shown = {(uid, placement) for uid, placement in taken_in(gpu) if uid or placement not in claimed}
        foreign = {("", one.placement) for one in gpu.slices if one.state is SliceState.FOREIGN}
        gone = going(gpu, ended) - foreign
        together = [placement for _, placement in sorted((held | shown | foreign) - gone)]
        for _, placement in sorted(shown & gone):
            together += [placement] if legal(gpu.uuid, [*together, placement]) else []
        if gpu.healthy and gpu.catalogue:
            known = kind(gpu.uuid)
            yield gpu.uuid, (known, known.state_of(together)) if legal(gpu.uuid, together) else None


def caught_up(world: ClusterTruth, inventory: Inventory) -> bool:
    """Whether the inventory knows all that the API server and the reports say: then a restart must change nothing."""
    if any(inventory.waiting()) or any(inventory.conflicts(node) for node in NODES):
        return False
    for claim in inventory.ledger:
        pod, seen = world.pods[claim.uid], inventory.report(claim.node)
        if seen is None or pod.node != claim.node:
            return False
        promised = Counter((one.gpu, one.profile, one.start) for one in pod.promises)
        if places_of(claim) != (promised if claim.state is ClaimState.BOUND else shown_of(seen, claim.uid)):
            return False
        if pod.over != (claim.state is ClaimState.RELEASING) or claim.state is ClaimState.RESERVED:
            return False
    return all(inventory.ledger.get(pod.uid) for pod in world.living())
