"""Planner: from a document and a snapshot to the answer of `remedy.answer`.

In the order of price: to wait for pods that terminate costs nothing; moves restart pods; another profile changes the
pod; pods with a deadline end late; a node costs money.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from allocator.claims.snapshot import NodeView, Snapshot
from allocator.claims.snapshot_file import Saved
from allocator.mig import geometry, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.placement import fitting
from allocator.planning import document_reader as reader
from allocator.planning import repack
from allocator.planning.fields import MAX_MODELS
from allocator.planning.remedy import other_profiles, waiting
from allocator.planning.remedy.cluster import RemedyCluster
from allocator.planning.remedy.types import (
    MovesRemedy,
    NodesRemedy,
    Remedy,
    RemedyAnswer,
    RemedyDocument,
    RemedyState,
    RemedyTrial,
    WaitRemedy,
)

MAX_MOVE_GPUS = 1_600  # that moves are searched on: of more, to state the question alone takes longer than its limit
_SEARCH_SHARE = 0.7  # of the time limit, for moves; why there are none takes up to three eighths of that beside it


def answer(value: Any, saved: Saved, time_limit_s: float, catalogues: Mapping[str, Catalogue]) -> RemedyAnswer:
    """See `remedy.answer`."""
    document = reader.read(value, RemedyDocument)
    limit_s = float(reader.number(time_limit_s, "time limit", positive=True))
    left_out = frozenset(document.left_out)
    nodes = tuple(node for node in saved.snapshot.nodes if node.name not in left_out)
    cluster = RemedyCluster(nodes)
    node, _ = cluster.fits(document.profiles)
    if node:
        return _answered(document, limit_s, RemedyState.FITS, f"it fits on node {node}", [], [], saved.notes)
    models = dict(cluster.catalogues())
    trials: list[RemedyTrial] = []
    notes = [*saved.notes]
    remedies = [
        _waiting(cluster, document, trials, terminating=True),
        _moves(cluster, saved, document, limit_s, models, trials, notes),
        _profile(cluster, document, models, trials),
        _waiting(cluster, document, trials, terminating=False),
        _nodes(document, models, catalogues, trials),
    ]
    found = [remedy for remedy in remedies if remedy is not None]
    state = RemedyState.FOUND if found else RemedyState.NONE_EXISTS
    if not found and any(trial.state is RemedyState.NONE_FOUND for trial in trials):
        state = RemedyState.NONE_FOUND
    return _answered(document, limit_s, state, "", found, trials, notes)


def _answered(
    document: RemedyDocument,
    limit_s: float,
    state: RemedyState,
    reason: str,
    remedies: list[Remedy],
    trials: list[RemedyTrial],
    notes: Sequence[str],
) -> RemedyAnswer:
    if state is RemedyState.NONE_FOUND:
        reason = f"none was found within {limit_s:g} s, and none is proven impossible"
    elif state is RemedyState.NONE_EXISTS:
        reason = "none exists"
    return RemedyAnswer(
        pod=document.pod,
        state=state,
        reason=reason,
        cheapest=remedies[0] if remedies else None,
        remedies=remedies,
        trials=trials,
        time_limit_s=limit_s,
        notes=list(notes),
    )


def _tried(trials: list[RemedyTrial], kind: str, remedy: object, reason: str, *, proven: bool = True) -> None:
    none = RemedyState.NONE_EXISTS if proven else RemedyState.NONE_FOUND
    state = none if remedy is None else RemedyState.FOUND
    trials.append(RemedyTrial(kind=kind, state=state, reason="" if remedy is not None else reason))


def _waiting(
    cluster: RemedyCluster, document: RemedyDocument, trials: list[RemedyTrial], *, terminating: bool
) -> WaitRemedy | None:
    """Pods that terminate; or, where those do not suffice, also pods whose deadline ends them."""
    if not terminating and any(t.kind == "terminating" and t.state is RemedyState.FOUND for t in trials):
        return None
    ending = [pod for pod in document.ending if pod.terminating or not terminating]
    remedy = waiting.soonest(cluster, ending, document.profiles)
    kind = "terminating" if terminating else "deadline"
    which = "that terminate" if terminating else "that have an end"
    _tried(
        trials, kind, remedy, f"all {len(ending)} pods {which} leave no room for it" if ending else f"no pods {which}"
    )
    return remedy


def _moves(
    cluster: RemedyCluster,
    saved: Saved,
    document: RemedyDocument,
    limit_s: float,
    models: Mapping[Catalogue, int],
    trials: list[RemedyTrial],
    notes: list[str],
) -> MovesRemedy | None:
    offered = {profile.name for catalogue in models for profile in catalogue.profiles}
    missing = [name for name in document.profiles if name not in offered]
    if missing:
        _tried(trials, "moves", None, f"no GPU of these nodes offers {', '.join(missing)}")
        return None
    asked = {"requests": [{"name": document.pod, "profiles": document.profiles}]}
    limits = {"budgets": {"moves": document.moves}, "priority": document.priority}
    nodes = tuple(cluster.emptiest(MAX_MOVE_GPUS, document.profiles))
    whole = len(nodes) == len(saved.snapshot.nodes)
    part = Saved(Snapshot(nodes), saved.pods, saved.budgets)
    planned = repack.answer(asked | limits, part, _SEARCH_SHARE * limit_s)
    remedy = None
    if planned.possible:
        optimal = planned.optimal and whole
        node = planned.placements[0].node
        remedy = MovesRemedy(node=node, moves=planned.moves, gpc=planned.cost.gpc, optimal=optimal)
        notes += planned.notes or ()
    left_out = len(saved.snapshot.nodes) - len(nodes)
    reason = planned.reason if whole else f"{planned.reason}; {_narrowed(cluster, nodes, left_out)}"
    _tried(trials, "moves", remedy, reason, proven=planned.possible is False and whole)
    return remedy


def _narrowed(cluster: RemedyCluster, nodes: Sequence[NodeView], left_out: int) -> str:
    """Why moves were searched on these nodes alone."""
    if len(nodes) == len(cluster.nodes):
        return f"nodes left out, also as places for what moves, since it may not run there: {left_out}"
    return f"{len(nodes)} nodes with most free memory were searched"


def _profile(
    cluster: RemedyCluster, document: RemedyDocument, models: Mapping[Catalogue, int], trials: list[RemedyTrial]
) -> Remedy | None:
    remedy, certain = other_profiles.closest(cluster, models, document.profiles)
    _tried(trials, "profile", remedy, "no other profile with no less memory fits now", proven=certain)
    return remedy


def _nodes(
    document: RemedyDocument,
    models: Mapping[Catalogue, int],
    known: Mapping[str, Catalogue],
    trials: list[RemedyTrial],
) -> NodesRemedy | None:
    """One more node: of a model of the cluster, with as few GPUs as do; if none does, of any model that is known."""
    others = {catalogue.model: catalogue for catalogue in map(gpu_models.find, gpu_models.known())} | dict(known)
    for catalogues in (models, others.values()):
        options = [
            NodesRemedy(nodes=1, model=catalogue.model, gpus_per_node=gpus)
            for catalogue in catalogues
            if (gpus := _gpus_for(geometry.compiled(catalogue), document.profiles))
        ]
        if options:
            remedy = min(options, key=lambda option: (option.gpus_per_node, option.model))
            _tried(trials, "nodes", remedy, "")
            return remedy
    _tried(trials, "nodes", None, f"no model that is known holds it on {MAX_MODELS} GPUs")
    return None


def _gpus_for(kind: Geometry, counts: Mapping[str, int]) -> int:
    """The fewest empty GPUs that hold these slices together; 0 if none do, or it is too hard to tell."""
    if any(name not in kind.profile_index for name in counts):
        return 0
    for gpus in range(1, MAX_MODELS + 1):
        try:
            if fitting.fits([(kind, Geometry.EMPTY)] * gpus, counts):
                return gpus
        except fitting.TooComplexError:
            continue
    return 0
