"""Observation: everything that one step, or one attempt at an Allocate, goes by. Made by `AgentState.observe`.

It refers to what the agent knew at one moment: the GPUs, the journal's records, the node's pods, what PodResources
listed. What follows from these is worked out when first asked for, and once. An observation after a change keeps what
does not follow from what changed, so a step after which nothing happened works nothing out again. Frozen: the pure
modules (steps, promises, ownership, preferred_allocation, report, visibility, injection) take it as their argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.health.marks import Key, Mark
from node_agent.slices import device_ids, observed, promises, states
from node_agent.slices.observed import ObservedNode
from node_agent.slices.ownership import Assigned, Holder, PodIndex, PodResourcesView
from node_agent.slices.promises import OutstandingPromise
from node_agent.slices.states import Record

# What each derived value follows from; sources come before what follows from them.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "catalogues": ("view",),
    "held": ("records",),
    "holders": ("listing",),
    "assigned": ("listing",),
    "records_by_gpu": ("records",),
    "offered": ("catalogues",),
    "recorded": ("records",),
    "promised": ("pods", "held", "holders", "catalogues", "assigned"),
    "promised_to": ("pods", "catalogues"),
    "pod_index": ("pods", "holders", "assigned"),
    "taken": ("view", "records", "stuck"),
    "going": ("pods", "held", "pod_index", "stuck"),
    "ended": ("held", "going"),
}
_COMPARED = frozenset({"catalogues", "held", "holders", "assigned"})  # often equal although their source is another one


@dataclass(frozen=True)
class Observation:
    """One moment. `pods` and `listing` are None until the API server and the kubelet have answered for the first time.

    `stuck` are places whose slice could not be destroyed lately. `marks` say what is ill, by GPU and instance,
    `mode_notes` by GPU why MIG mode is not in force, and `out_of_service` why it takes no new work.
    """

    view: ObservedNode = field(default_factory=ObservedNode)
    records: Mapping[GpuPlacement, Record] = field(default_factory=dict)
    grants: frozenset[tuple[str, ...]] = frozenset()
    pods: Mapping[str, PodView] | None = None
    listing: PodResourcesView | None = None
    stuck: Mapping[GpuPlacement, float] = field(default_factory=dict)
    marks: Mapping[Key, Mark] = field(default_factory=dict)
    mode_notes: Mapping[str, str] = field(default_factory=dict)
    out_of_service: Mapping[str, str] = field(default_factory=dict)

    def followed_by(self, later: "Observation") -> "Observation":
        """The later observation, with everything known of this one that still holds; this one if nothing changed."""
        if all(vars(later)[name] is vars(self)[name] for name in self.__dataclass_fields__):
            return self
        known, kept = vars(self), vars(later)
        for name, sources in SOURCES.items():
            if name not in known:
                continue
            if all(getattr(later, source) is getattr(self, source) for source in sources) or (
                name in _COMPARED and getattr(later, name) == known[name]
            ):
                kept[name] = known[name]
        return later

    @cached_property
    def catalogues(self) -> Mapping[str, Catalogue]:
        """Catalogues of GPUs in MIG mode, by UUID, of those that cannot be used at the moment too."""
        return {
            gpu.uuid: gpu.catalogue
            for gpu in self.view.gpus.values()
            if gpu.catalogue is not None
            and gpu.info.state not in observed.WHOLE
            and (gpu.info.mode is None or gpu.info.mode.current)
        }

    @cached_property
    def held(self) -> Mapping[GpuPlacement, Record]:
        """The records of slices that containers have."""
        return {place: record for place, record in self.records.items() if record.state in states.HELD}

    @cached_property
    def assigned(self) -> Assigned | None:
        """Whom the kubelet's checkpoint names with which device; None where it could not be read."""
        return self.listing.assigned if self.listing is not None else None

    @cached_property
    def records_by_gpu(self) -> Mapping[str, list[Record]]:
        """The records of each GPU that has some."""
        records: dict[str, list[Record]] = {}
        for place, record in self.records.items():
            records.setdefault(place.gpu, []).append(record)
        return records

    @cached_property
    def holders(self) -> Mapping[tuple[str, str], Holder]:
        """Who holds which device, by resource and id; nothing before PodResources has answered."""
        return self.listing.holders if self.listing is not None else {}

    @cached_property
    def offered(self) -> Mapping[str, GpuPlacement]:
        """Every place that is offered, by device id."""
        return device_ids.offered(self.catalogues)

    @cached_property
    def recorded(self) -> Mapping[str, GpuPlacement]:
        """Every place that a slice of ours has, by device id; what was offered once may not be any more."""
        return {device_ids.device_id(place): place for place in self.records}

    def place(self, device_id: str) -> GpuPlacement | None:
        """The place that a device id means: what is offered, and what was once."""
        return self.offered.get(device_id) or self.recorded.get(device_id)

    @cached_property
    def promised(self) -> list[OutstandingPromise]:
        """Promises that still have to be kept, first come first."""
        return promises.outstanding(self.pods or {}, self.held, self.holders, self.catalogues, self.assigned)

    @cached_property
    def promised_to(self) -> Mapping[str, str]:
        """The pods (by UID) to which device ids are promised, kept or not."""
        pods: dict[str, str] = {}
        for pod in (self.pods or {}).values():
            for promise in pod.promises:
                place = promises.place(promise, self.catalogues)
                if place is not None:
                    pods[device_ids.device_id(place)] = pod.uid
        return pods

    @cached_property
    def pod_index(self) -> PodIndex:
        """The node's pods with what PodResources says of them."""
        return PodIndex(self.pods or {}, self.holders, self.assigned)

    @cached_property
    def taken(self) -> frozenset[GpuPlacement]:
        """Places that nothing new may touch: containers' slices, foreign ones, stuck ones."""
        taken = {*self.held, *self.stuck}
        for gpu in self.view.gpus.values():
            for instance in gpu.instances:
                place = GpuPlacement(gpu.uuid, instance.placement)
                record = self.records.get(place)
                if record is None or (record.gi_id is not None and not observed.is_it(record, instance)):
                    taken.add(place)
        return frozenset(taken)

    @cached_property
    def going(self) -> frozenset[GpuPlacement]:
        """Slices that containers had and that may be taken back: their pods are over."""
        if self.pods is None:
            return frozenset()
        return frozenset(
            place
            for place, record in self.held.items()
            if place not in self.stuck and self.pod_index.may_reclaim(record, unknown_are_gone=True)
        )

    @cached_property
    def ended(self) -> frozenset[GpuPlacement]:
        """Those of which it is certain: slices whose owner was known, and is over."""
        return frozenset(place for place in self.going if self.held[place].owner is not None)

    def gpu_mark(self, gpu: str) -> Mark | None:
        """What is wrong with a GPU as a whole."""
        return self.marks.get((gpu, None))

    def closed(self, gpu: str) -> Mark | None:
        """Why a GPU gets no new work; None if it does."""
        mark = self.gpu_mark(gpu)
        return mark if mark is not None and mark.closes else None

    def slice_mark(self, place: GpuPlacement) -> Mark | None:
        """What is wrong with the slice that lies exactly there."""
        instance = self.view.instance(place) if self.marks else None
        return None if instance is None else self.marks.get((place.gpu, instance.gi_id))

    def condemned(self, place: GpuPlacement) -> Mark | None:
        """Why the slice that lies exactly there is handed to no container any more; None if it may be."""
        mark = self.slice_mark(place)
        return mark if mark is not None and mark.condemns else None

    def is_going(self, place: GpuPlacement) -> bool:
        """Whether a slice is about to go: it is stuck, or its pod is over; or it is not known yet who lives."""
        if place in self.stuck:
            return True
        record = self.records.get(place)
        if record is None:
            return False
        return self.pods is None or self.listing is None or self.pod_index.may_reclaim(record, unknown_are_gone=True)
