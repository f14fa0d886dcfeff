"""From a pod of this node to what the agent needs to know of it: whether it lives, what it asks, what it was promised.

A promise is believed only if it is what the pod asks for. Any user can write an annotation: what cannot be believed
becomes `problem`, and the pod then counts as one without promises. A promise is the Binding's: what a pod was promised
when it was first seen counts as long as it lives, whatever becomes of its annotation. Part of an Observation.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from allocator import errors, request
from allocator.claims import contract, placement_annotation, slices_annotation
from allocator.claims.placement_annotation import Promise
from allocator.mig.profile import WHOLE_GPU
from allocator.request import Request, SliceRequest
from kubeclient import containers
from node_agent.cluster.node_pod import NodePod

NOTHING = Request()


@dataclass(frozen=True)
class PodView:
    """A pod that asks for slices or whole GPUs; `whole` says how many of the latter, by container.

    `over`: its containers are finished for good; then it asks for nothing any more. `leaving`: it is being deleted.
    `started`: the kubelet has admitted it, so it has all devices that it will get. `init`: the names of its ordinary
    init containers, which PodResources does not list. `note`: what of its annotations is not understood.
    """

    uid: str
    namespace: str
    name: str
    created: str = ""
    over: bool = False
    leaving: bool = False
    started: bool = False
    asks: Request = NOTHING
    whole: tuple[tuple[str, int], ...] = ()
    promises: tuple[Promise, ...] = ()
    problem: str | None = None
    init: frozenset[str] = frozenset()
    note: str = ""

    @property
    def title(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.namespace}/{self.name}"

    @property
    def waits(self) -> bool:
        """It may still be started by the kubelet."""
        return not (self.over or self.leaving)

    @cached_property
    def wanted(self) -> Mapping[str, int]:
        """How many slices of each profile it asks for."""
        return dict(self.asks.counts)

    @cached_property
    def mixed(self) -> Mapping[str, Counter[str]]:
        """How many slices of each profile, and whole GPUs (`WHOLE_GPU`), for each container that asks for several of
        these and is listed.
        """
        whole = {name: number for name, number in self.whole if number and name not in self.init}
        by_container = {name: Counter({WHOLE_GPU: number}) for name, number in whole.items()}
        for slot in self.asks.slots:
            if slot.container not in self.init:
                by_container.setdefault(slot.container, Counter())[slot.profile] += 1
        return {name: wanted for name, wanted in by_container.items() if len(wanted) > 1}


def placement_text(pod: NodePod) -> str | None:
    """The pod's placement annotation as it is now."""
    return (pod.metadata.annotations or {}).get(contract.PLACEMENT_ANNOTATION)


def view(pod: NodePod) -> PodView | None:
    """What we need to know of a pod that is seen for the first time; None if it asks for no slice and no whole GPU."""
    main = containers.of(pod.spec.containers)
    init = containers.of(pod.spec.init_containers)
    if not any(container.resources for container in (*main, *init)) and not pod.whole_gpus:
        return None
    meta = pod.metadata
    asks, promises, problem = _asked(main, init, placement_text(pod), pod.spec.node_name)
    wish = slices_annotation.read((meta.annotations or {}).get(contract.SLICES_ANNOTATION))
    seen = PodView(
        meta.uid,
        meta.namespace,
        meta.name,
        meta.creation_timestamp or "",
        asks=replace(asks, packed=wish.packed),
        whole=pod.whole_gpus,
        promises=promises,
        problem=problem,
        note=wish.problem,
        init=frozenset(container.name for container in init if not container.restartable),
    )
    return followed(seen, pod)


def followed(known: PodView, pod: NodePod) -> PodView:
    """What is known of a pod, with what may have become of it. What it asks for and was promised cannot change."""
    leaving = pod.metadata.deletion_timestamp is not None
    if pod.is_over:
        return PodView(
            known.uid, known.namespace, known.name, known.created, over=True, leaving=leaving, problem=known.problem
        )
    if (known.leaving, known.started) == (leaving, pod.started):
        return known
    return replace(known, leaving=leaving, started=pod.started)


def without_promises(known: PodView, problem: str) -> PodView:
    """A pod whose promises are not believed."""
    return replace(known, promises=(), problem=problem)


def _asked(
    main: tuple[request.ContainerRequest, ...],
    init: tuple[request.ContainerRequest, ...],
    annotation: str | None,
    node: str,
) -> tuple[Request, tuple[Promise, ...], str | None]:
    """What is asked, what of the promises is believed, and why not."""
    try:
        asks = request.of_containers(main, init)
    except errors.RequestError as error:
        return Request(), (), str(error)
    if annotation is None:
        return asks, (), None
    try:
        promises = placement_annotation.decode(annotation, node)
        _check(promises, asks)
    except errors.ContractError as error:
        return asks, (), str(error)
    return asks, promises, None


def _check(promises: tuple[Promise, ...], asks: Request) -> None:
    if Counter(SliceRequest(promise.container, promise.profile) for promise in promises) != Counter(asks.slots):
        promised = ", ".join(f"{promise.profile} for {promise.container}" for promise in promises)
        raise errors.ContractError(
            f"annotation {contract.PLACEMENT_ANNOTATION}", promised, f"must promise what the pod asks for: {asks}"
        )


def in_order(pods: Iterable[PodView]) -> list[PodView]:
    """Those that came first, first: they win where two were promised one place."""
    return sorted(pods, key=lambda pod: (pod.created, pod.uid))


def waiting_for(pods: Iterable[PodView], profile: str) -> list[PodView]:
    """Pods that may be the ones for which the kubelet asks for a profile."""
    return [pod for pod in pods if pod.waits and pod.wanted.get(profile)]
