"""Planner: from a document and a snapshot to the answer of `capacity.answer`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from allocator import errors
from allocator.claims import snapshot_file
from allocator.claims.snapshot_file import Saved
from allocator.mig.catalogue import Catalogue
from allocator.planning import document_reader as reader
from allocator.planning import eligible_nodes, known_models
from allocator.planning.capacity import apart, changes, joint_fit, moved_pod, profile_room, replica_room
from allocator.planning.capacity.changes import AddedNodes
from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.capacity.types import (
    CapacityAnswer,
    CapacityDocument,
    FleetNodes,
    NoChange,
    ReplicaRoom,
    RequestsFit,
)
from allocator.planning.repack import goal, planner, problem, render
from allocator.planning.repack.problem import RepackLimits, RepackProblem
from allocator.planning.repack.requested_pod import RequestedPod


def answer(
    value: Any, saved: Saved | None, time_limit_s: float, catalogues: Mapping[str, Catalogue], exact_columns: int
) -> CapacityAnswer:
    """See `capacity.answer`."""
    document = reader.read({} if value is None else value, CapacityDocument)
    known = {catalogue.model: catalogue for catalogue in catalogues.values()}
    limit_s = float(reader.number(time_limit_s, "time limit", positive=True))
    if document.fleet is not UNSET:
        saved = _described(document.fleet, known)
    if saved is None:
        fix = "is missing; describe a fleet, or ask about a cluster or a snapshot file"
        raise errors.InputError("fleet", None, fix)
    known |= {gpu.catalogue.model: gpu.catalogue for gpu in saved.snapshot.gpus() if gpu.catalogue}
    limits = goal.limits(document.budgets, document.priority)
    added = None if document.add is None else _nodes(document.add, "add", known)
    fleet = problem.build(saved, limits)
    pods = goal.requested_pods(document.requests)
    planner.check_offered(pods, fleet.gpus)
    states = joint_fit.states(fleet)
    time = SearchTime(0.75 * limit_s)
    movable = [(pod.name, pod.facts.constraints) for pod in fleet.pods]
    asked = [(pod.name, pod.constraints) for pod in pods]
    return CapacityAnswer(
        gpus=dict(Counter(gpu.model for gpu in fleet.gpus)),
        free_memory_slices=sum(geometry.free_slices(state) for geometry, state in states),
        profiles=profile_room.of_profiles(fleet, _names(document.profiles, fleet, added), added, limit_s / 4),
        requests=_requests(saved, fleet, pods, limits, added, time, exact_columns) if pods else UNSET,
        replicas=_replicas(document, fleet, limit_s / 4) if document.replicas else UNSET,
        move=moved_pod.of(document.move, saved, fleet, limit_s / 2, exact_columns) if document.move else UNSET,
        closed=apart.closed_nodes(saved) or UNSET,
        coming=apart.coming(saved) or UNSET,
        notes=[*saved.notes, *apart.notes(saved), *eligible_nodes.notes(saved.snapshot, movable, asked)] or UNSET,
    )


def _described(entries: Sequence[FleetNodes], known: Mapping[str, Catalogue]) -> Saved:
    """A described fleet, all empty."""
    nodes = [_nodes(entry, f"fleet[{number}]", known) for number, entry in enumerate(entries)]
    models = [entry.catalogue.model for entry in nodes]
    if len(set(models)) < len(models):
        raise errors.InputError("fleet", models, "a model is there twice; merge its entries")
    return snapshot_file.describe([(entry.catalogue, entry.nodes, entry.gpus_per_node) for entry in nodes])


def _nodes(entry: FleetNodes, where: str, known: Mapping[str, Catalogue]) -> AddedNodes:
    return AddedNodes(known_models.find(entry.model, f"{where}.model", known), entry.nodes, entry.gpus_per_node)


def _names(profiles: Sequence[str] | str | None, fleet: RepackProblem, added: AddedNodes | None) -> list[str]:
    """The profiles to count: those asked for, or all that the fleet offers."""
    catalogues = [gpu.catalogue for gpu in fleet.gpus if gpu.catalogue] + ([added.catalogue] if added else [])
    offered = list(dict.fromkeys(p.name for catalogue in dict.fromkeys(catalogues) for p in catalogue.profiles))
    if profiles is None:
        return offered
    names = [profiles] if isinstance(profiles, str) else profiles
    return [
        reader.one_of(reader.profile(name, f"profiles[{number}]"), f"profiles[{number}]", offered)
        for number, name in enumerate(names)
    ]


def _replicas(document: CapacityDocument, fleet: RepackProblem, limit_s: float) -> list[ReplicaRoom]:
    """How many pods like those of each request fit now."""
    kinds = []
    for number, request in enumerate(document.requests):
        named = replace(request, count=1, name=request.name or f"request-{number + 1}")
        kinds.append((goal.requested_pods([named])[0], request.count))
    return replica_room.of_requests(fleet, kinds, limit_s)


def _requests(
    saved: Saved,
    fleet: RepackProblem,
    pods: Sequence[RequestedPod],
    limits: RepackLimits,
    added: AddedNodes | None,
    time: SearchTime,
    exact_columns: int,
) -> RequestsFit:
    """Whether the pods fit as things stand, and if not what would make them."""
    relocation = joint_fit.as_it_stands(fleet, pods)
    first = SearchTime(time.share(0.4))
    before = first.left_s
    found = joint_fit.fit(relocation, first, exact_columns)
    time.spend(before - first.left_s)
    if found.placed is not None:
        placements = render.placements(fleet, pods, found.placed)
        return RequestsFit(fit=True, reason="", placements=placements, change=None, changes=[], no_changes=[])
    every = (
        changes.by_moves(saved, pods, limits, time),
        changes.by_profiles(fleet, relocation, time, exact_columns),
        changes.by_gpus(relocation, added, time, exact_columns),
    )
    smallest = [change for change in every if not isinstance(change, NoChange)]
    return RequestsFit(
        fit=False if found.proven else None,
        reason="" if found.proven else found.reason,
        placements=[],
        change=next(iter(smallest), None) if found.proven else None,  # no advice while it is open whether any is needed
        changes=smallest,
        no_changes=[change for change in every if isinstance(change, NoChange)],
    )
