"""Fluent builders for the values that tests talk about: reports, claims, requests, bound pods.

Shared by every test. A builder knows the boring defaults (UUIDs, namespaces, containers), so that a test shows only
what it is about:

    node("n1").gpu("a100-40gb").allocated("3g.20gb", 0, pod="train").idle("1g.5gb", 6).report()
    request("1g.5gb", "3g.20gb"), pod("train", "3g.20gb").promised("n1-gpu-0", "3g.20gb", 0).bound("n1")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from allocator.claims.bound_pod import BoundPod
from allocator.claims.ledger import Claim, ClaimState, Hold
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig import exploration, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Engines, Placement, Profile
from allocator.request import ContainerRequest, Request, SliceRequest, of_containers

NAMESPACE = "default"
CONTAINER = "main"


def placement(profile: str, start: int, model: str = "a100-40gb") -> Placement:
    """A legal placement on a known model."""
    return gpu_models.find(model).placement(profile, start)


def request(*profiles: str, container: str = CONTAINER) -> Request:
    """A request of one container for these slices."""
    return Request(tuple(SliceRequest(container, name) for name in profiles))


def packed(*profiles: str) -> Request:
    """A request for these slices, which may share a GPU whatever their container."""
    return Request(request(*profiles).slots, packed=True)


def container(name: str = CONTAINER, *, sidecar: bool = False, **slices: str | int) -> ContainerRequest:
    """A container asking for slices; keywords spell profiles with `_` for `.`: `container(_1g_5gb=2)`."""
    asked = {f"nvidia.com/mig-{name.lstrip('_').replace('_', '.')}": n for name, n in slices.items()}
    return ContainerRequest(name, asked, restartable=sidecar)


def containers_request(containers: Sequence[ContainerRequest], init: Sequence[ContainerRequest] = ()) -> Request:
    """What a pod of these containers asks for."""
    return of_containers(containers, init)


def hold(gpu: str, profile: str, start: int, *, container: str = CONTAINER, model: str = "a100-40gb") -> Hold:
    """A claim's hold on one placement."""
    return Hold(container, gpu, placement(profile, start, model))


def claim(name: str, node: str, *holds: Hold, state: ClaimState = ClaimState.RESERVED) -> Claim:
    """A claim of the pod of that name, whose UID is `uid-<name>`."""
    return Claim(uid_of(name), NAMESPACE, name, node, holds, state)


def uid_of(pod_name: str) -> str:
    """The UID that builders give to a pod."""
    return f"uid-{pod_name}"


def owner(pod_name: str, container: str = CONTAINER) -> Owner:
    """The owner of a slice that a report shows as a pod's."""
    return Owner(NAMESPACE, pod_name, uid_of(pod_name), container)


@dataclass(frozen=True)
class PodBuilder:
    """A pod that asks for slices, to be `bound` to a node with the placement promised to it."""

    name: str
    asks: Request
    promises: tuple[Promise, ...] = ()

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return uid_of(self.name)

    def promised(self, gpu: str, profile: str, start: int, container: str = CONTAINER) -> "PodBuilder":
        """The same pod with one more slice in its placement annotation."""
        return replace(self, promises=(*self.promises, Promise(container, gpu, profile, start)))

    def bound(self, node: str) -> BoundPod:
        """The pod as the scheduler's watch shows it once it has a node."""
        return BoundPod(self.uid, NAMESPACE, self.name, node, self.asks, self.promises)


def pod(name: str, *profiles: str) -> PodBuilder:
    """A pod whose one container asks for these slices."""
    return PodBuilder(name, request(*profiles))


def bound_as(claimed: Claim) -> BoundPod:
    """The pod that the Binding of a claim makes: bound to its node, annotated with its holds."""
    asks = Request(tuple(SliceRequest(h.container, h.placement.profile) for h in claimed.holds))
    promises = tuple(Promise(h.container, h.gpu, h.placement.profile, h.placement.start) for h in claimed.holds)
    return BoundPod(claimed.uid, claimed.namespace, claimed.name, claimed.node, asks, promises)


@dataclass(frozen=True)
class NodeBuilder:
    """A node's report, GPU by GPU; slices go to the GPU added last."""

    name: str
    gpus: tuple[GpuReport, ...] = ()
    problem: str = ""

    def gpu(self, model: str | Catalogue | None = "a100-40gb", *, uuid: str = "", **changes: object) -> "NodeBuilder":
        """One more GPU of a known model (or a catalogue, or None); healthy and in MIG mode unless `changes` differ."""
        catalogue = gpu_models.find(model) if isinstance(model, str) else model
        index = len(self.gpus)
        product = catalogue.model if catalogue else "unknown"
        added = GpuReport(uuid or f"{self.name}-gpu-{index}", index, product, MigMode.ENABLED, catalogue)
        return replace(self, gpus=(*self.gpus, replace(added, **changes)))  # type: ignore[arg-type]

    def gpus_of(self, model: str, number: int) -> "NodeBuilder":
        """That many more GPUs of a known model."""
        built = self
        for _ in range(number):
            built = built.gpu(model)
        return built

    def allocated(self, profile: str, start: int, *, pod: str, container: str = CONTAINER) -> "NodeBuilder":
        """A pod's slice on the last GPU."""
        return self._slice(profile, start, SliceState.ALLOCATED, owner(pod, container))

    def idle(self, profile: str, start: int) -> "NodeBuilder":
        """A warm slice that nobody owns."""
        return self._slice(profile, start, SliceState.IDLE, None)

    def foreign(self, profile: str, start: int) -> "NodeBuilder":
        """A slice that somebody else cut."""
        return self._slice(profile, start, SliceState.FOREIGN, None)

    def slices(self, *slices: Slice) -> "NodeBuilder":
        """These slices on the last GPU, sensible or not."""
        *others, last = self.gpus
        return replace(self, gpus=(*others, replace(last, slices=(*last.slices, *slices))))

    def report(self) -> NodeReport:
        """The report."""
        return NodeReport(self.name, self.gpus, self.problem)

    def _slice(self, profile: str, start: int, state: SliceState, owned_by: Owner | None) -> "NodeBuilder":
        catalogue = self.gpus[-1].catalogue
        size = catalogue.profile(profile).memory_slices if catalogue else 1
        return self.slices(Slice(Placement(profile, start, size), state, owned_by))


def node(name: str = "n1") -> NodeBuilder:
    """A node without GPUs, to be built up."""
    return NodeBuilder(name)


@dataclass(frozen=True)
class CatalogueBuilder:
    """A made-up GPU model: what `gpu_models` cannot show."""

    memory_slices: int
    compute_slices: int
    engine_totals: Engines | None = None
    model: str = "made-up"
    profiles: tuple[Profile, ...] = field(default=())

    def profile(
        self,
        name: str,
        starts: Sequence[int],
        *,
        memory: int = 1,
        compute: int = 1,
        instances: int = 99,
        engines: Mapping[str, int] | None = None,
    ) -> "CatalogueBuilder":
        """One more profile; ids are made up."""
        number = len(self.profiles)
        used = None if engines is None else Engines(**engines)
        added = Profile(name, number, number, compute, memory, instances, tuple(starts), engines=used)
        return replace(self, profiles=(*self.profiles, added))

    def build_as(self, model: str) -> Catalogue:
        """The catalogue of this model."""
        return replace(self, model=model).build()

    def build(self) -> Catalogue:
        """The catalogue; raises CatalogueError if it contradicts itself."""
        return Catalogue(self.model, self.memory_slices, self.compute_slices, self.profiles, self.engine_totals)


def catalogue(
    memory_slices: int, compute_slices: int, engine_totals: Mapping[str, int] | None = None
) -> CatalogueBuilder:
    """A made-up GPU model without profiles, to be built up."""
    return CatalogueBuilder(memory_slices, compute_slices, None if engine_totals is None else Engines(**engine_totals))


def geometry_of_its_own(catalogue_: Catalogue) -> Geometry:
    """The geometry of a catalogue, not the one that others use."""
    explored = exploration.finished(exploration.explore(catalogue_, tuple(catalogue_.placements())))
    return Geometry(catalogue_, *exploration.finished(exploration.merge(*explored)))
