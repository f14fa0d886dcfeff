"""Capacity: what fits now, what would fit after a repack or with more nodes, and whether given pods fit together.

`answer` is the whole command: a parsed document and a snapshot (or the fleet described in the document) in, an answer
out that JSON can hold. Called by `migsched capacity` and the API, in a process of their own: solving may take
seconds. Explained in docs/planning.md.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from allocator import errors
from allocator.claims import snapshot_file
from allocator.claims.snapshot_file import Saved
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Profile
from allocator.planning import known_models as plan_document
from allocator.planning import reading
from allocator.planning.packing import covering, patterns, relocation
from allocator.planning.packing.covering import Cover, CoverDemand, Menu, Option, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Places, RelocationProblem
from allocator.planning.repack import document, joint, planner, problem, render, search
from allocator.planning.repack.document import Wanted
from allocator.planning.repack.problem import RepackLimits, RepackProblem

KEYS = ("fleet", "profiles", "add", "requests", "budgets", "priority")
DEFAULT_TIME_LIMIT_S = 10.0

_EXACT_COLUMNS = 20_000  # joint questions up to this size are decided exactly
_EXTRA_GPUS = 3  # tried beyond the proven least, for pods with several slices
_CHANGED = 10_000  # cost of asking for another profile, beside how different it is in hundredths


@dataclass(frozen=True, slots=True)
class _Added:
    """Nodes that are not there yet."""

    catalogue: Catalogue
    nodes: int
    gpus_per_node: int


def answer(
    value: Any,
    saved: Saved | None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    catalogues: Mapping[str, Catalogue] | None = None,
) -> dict[str, Any]:
    """What fits (docs/planning.md). A `fleet` in the document is looked at instead of the snapshot.

    `catalogues` are GPU models known beside the table of `gpu_models`. Raises InputError for a document that cannot
    be meant, or if there is neither fleet nor snapshot.
    """
    top = reading.mapping({} if value is None else value, "", KEYS)
    known = {c.model: c for c in catalogues.values()} if catalogues else {}
    limit = float(reading.number(time_limit_s, "time limit", positive=True))
    if "fleet" in top:
        saved = _described(top["fleet"], known)
    if saved is None:
        raise errors.InputError(
            "fleet", None, "is missing; describe a fleet, or ask about a cluster or a snapshot file"
        )
    known |= {g.catalogue.model: g.catalogue for g in saved.snapshot.gpus() if g.catalogue}
    limits = document.limits(top)
    added = _added(top["add"], known) if top.get("add") is not None else None
    posed = problem.build(saved, limits)
    requests = document.requests(top.get("requests", ()), "requests")
    planner.check_offered(requests, posed.gpus, "requests")
    found: dict[str, Any] = {
        "gpus": dict(Counter(gpu.model for gpu in posed.gpus)),
        "free_memory_slices": sum(g.free_slices(s) for g, s in _states(posed)),
        "profiles": _profiles(posed, _names(top.get("profiles"), posed, added), added, limit / 4),
    }
    if requests:
        found["requests"] = _together(saved, posed, requests, limits, added, limit / 6)
    if saved.notes:
        found["notes"] = list(saved.notes)
    return found


def _described(value: Any, known: Mapping[str, Catalogue]) -> Saved:
    """A described fleet, all empty."""
    nodes = []
    for number, entry in enumerate(reading.sequence(value, "fleet", 64)):
        where = f"fleet[{number}]"
        entry = reading.mapping(entry, where, ("model", "nodes", "gpus_per_node"), required=("model", "nodes"))
        nodes.append(_nodes(entry, where, known))
    if not nodes:
        raise errors.InputError("fleet", value, "is empty; name at least one GPU model")
    if len({one.catalogue.model for one in nodes}) < len(nodes):
        raise errors.InputError(
            "fleet", [n.catalogue.model for n in nodes], "a model is there twice; merge its entries"
        )
    return snapshot_file.describe([(one.catalogue, one.nodes, one.gpus_per_node) for one in nodes])


def _added(value: Any, known: Mapping[str, Catalogue]) -> _Added:
    entry = reading.mapping(value, "add", ("model", "nodes", "gpus_per_node"), required=("model", "nodes"))
    return _nodes(entry, "add", known)


def _nodes(entry: Mapping[str, Any], where: str, known: Mapping[str, Catalogue]) -> _Added:
    return _Added(
        plan_document.find(entry["model"], f"{where}.model", known),
        reading.count(entry["nodes"], f"{where}.nodes", 0, 100_000),
        reading.count(entry.get("gpus_per_node", 8), f"{where}.gpus_per_node", 1, 64),
    )


def _names(value: Any, posed: RepackProblem, added: _Added | None) -> list[str]:
    """The profiles to count: those asked for, or all that the fleet offers."""
    catalogues = [gpu.catalogue for gpu in posed.gpus if gpu.catalogue] + ([added.catalogue] if added else [])
    there = list(dict.fromkeys(p.name for catalogue in dict.fromkeys(catalogues) for p in catalogue.profiles))
    if value is None:
        return there
    asked = [value] if isinstance(value, str) else reading.sequence(value, "profiles", 64)
    return [reading.choice(name, f"profiles[{number}]", there) for number, name in enumerate(asked)]


def _profiles(posed: RepackProblem, names: Sequence[str], added: _Added | None, time_limit_s: float) -> dict[str, Any]:
    """How many more of each profile fit, each asked for alone."""
    states = _states(posed)
    settled, demand = _replaceable(posed)
    extra = added.nodes * added.gpus_per_node if added else 0
    each = time_limit_s / max(1, 2 * len(names))
    found: dict[str, Any] = {}
    for name in names:
        now = sum(_room(kind, state, name) for kind, state in states)
        after = _after_repack(settled, demand, name, now, each)
        found[name] = {"now": now, "after_repack": after.slices, "proven": after.slices == after.at_most}
        if added:
            kind = geometry.compiled(added.catalogue)
            more = extra * _room(kind, Geometry.EMPTY, name)
            wider = [*settled, Supply(kind, stock=extra)]
            later = _after_repack(wider, demand, name, max(now, after.slices) + more, each)
            found[name] |= {"with_added": now + more, "with_added_after_repack": later.slices}
    return found


def _after_repack(
    supplies: Sequence[Supply], demand: CoverDemand, name: str, at_least: int, time_limit_s: float
) -> covering.Room:
    """The most of a profile that fit if whatever may move were placed anew; never less than what is known to fit."""
    room = covering.room(supplies, demand, name, time_limit_s) or covering.Room(at_least, at_least)
    return covering.Room(max(room.slices, at_least), max(room.at_most, at_least))


def _replaceable(posed: RepackProblem) -> tuple[list[Supply], CoverDemand]:
    """The GPUs without the pods that may move, and those pods as a demand. Pods with several slices stay."""
    stay: dict[int, list[Any]] = {}
    moving: Counter[str] = Counter()
    for pod in posed.pods:
        if len(pod.places) == 1:
            moving[pod.places[0][1].profile] += 1
        else:
            for where, placement in pod.places:
                stay.setdefault(where, []).append(placement)
    states = Counter(
        (gpu.geometry, gpu.geometry.state_of([*gpu.fixed, *stay.get(where, ())]))
        for where, gpu in enumerate(posed.bins)
    )
    return [Supply(kind, state, n, 0) for (kind, state), n in states.items()], CoverDemand(moving)


def _together(
    saved: Saved,
    posed: RepackProblem,
    requests: Sequence[Wanted],
    limits: RepackLimits,
    added: _Added | None,
    time_limit_s: float,
) -> dict[str, Any]:
    """Whether the requests fit as things stand, and if not what would make them; each may take the time limit."""
    question = _question(posed, requests)
    placed, proven = _fit(question, time_limit_s)
    found: dict[str, Any] = {
        "fit": True if placed is not None else (False if proven else None),
        "placements": [] if placed is None else render.placements(posed, requests, placed),
        "change": None,
        "changes": [],
    }
    if placed is None:
        changes = [
            _by_moves(saved, requests, limits, time_limit_s),
            _by_profiles(posed, requests, question, time_limit_s / 4),
            _by_gpus(question, added, time_limit_s / 2),
        ]
        found["changes"] = [change for change in changes if change is not None]
        found["change"] = next(iter(found["changes"]), None)
    return found


def _question(posed: RepackProblem, requests: Sequence[Wanted]) -> RelocationProblem:
    """The fleet as it stands, nobody moving."""
    there = [list(gpu.fixed) for gpu in posed.bins]
    for pod in posed.pods:
        for where, placement in pod.places:
            there[where].append(placement)
    bins = tuple(replace(gpu, fixed=tuple(slices)) for gpu, slices in zip(posed.bins, there, strict=True))
    return RelocationProblem(bins, (), tuple(relocation.MovableJob(one.profiles) for one in requests))


def _fit(question: RelocationProblem, time_limit_s: float) -> tuple[tuple[Places, ...] | None, bool]:
    """Where the requests go, or None and whether it is proven that they do not fit."""
    placed = joint.at_once(question)
    if placed is not None:
        return placed, True
    members, supplies = _classes(question)
    wanted = Counter(name for request in question.requests for name in request.profiles)
    cover = covering.cover(supplies, CoverDemand(wanted), time_limit_s)
    if cover.status is SolveStatus.INFEASIBLE:
        return None, True
    if all(len(request.profiles) == 1 for request in question.requests) and cover.status in search.SOLVED:
        return _dealt(question, cover, supplies, members), True
    if len(question.requests) * sum(len(gpu.geometry.placements) for gpu in question.bins) > _EXACT_COLUMNS:
        return None, False
    found = relocation.destination(question, time_limit_s)
    return (found.placed if found.status in search.SOLVED else None), found.status is not SolveStatus.UNKNOWN


def _classes(question: RelocationProblem) -> tuple[list[list[int]], list[Supply]]:
    """GPUs (indices) that are in the same state, and each such class as a supply that costs nothing."""
    classes: dict[tuple[Geometry, int], list[int]] = {}
    for where, state in enumerate(joint.standing(question)):
        classes.setdefault((question.bins[where].geometry, state), []).append(where)
    return list(classes.values()), [Supply(kind, state, len(m), 0) for (kind, state), m in classes.items()]


def _dealt(
    question: RelocationProblem, cover: Cover, supplies: Sequence[Supply], members: Sequence[Sequence[int]]
) -> tuple[Places, ...]:
    """A cover's slices dealt out to requests of one slice each."""
    free = [list(gpus) for gpus in members]
    slots: dict[str, list[tuple[int, Any]]] = {}
    for use in cover.uses:
        supply = supplies[use.supply]
        counts = dict(zip(cover.names, use.counts, strict=True))
        for _ in range(use.number):
            where = free[use.supply].pop()
            for placement in patterns.arrange(supply.geometry, supply.state, counts):
                slots.setdefault(placement.profile, []).append((where, placement))
    return tuple((slots[request.profiles[0]].pop(),) for request in question.requests)


def _by_moves(
    saved: Saved, requests: Sequence[Wanted], limits: RepackLimits, time_limit_s: float
) -> dict[str, Any] | None:
    """The cheapest repack that makes the requests fit."""
    solved = planner.solve(saved, limits, requests, time_limit_s)
    if not solved.possible:
        return None
    pods = [solved.problem.pods[move.job] for move in solved.found.moves]
    return {
        "kind": "moves",
        "moves": len(pods),
        "gpc": sum(pod.gpc for pod in pods),
        "pods": list(dict.fromkeys(pod.name for pod in pods)),
        "optimal": solved.found.status is SolveStatus.OPTIMAL,
    }


def _by_profiles(
    posed: RepackProblem, requests: Sequence[Wanted], question: RelocationProblem, time_limit_s: float
) -> dict[str, Any] | None:
    """The fewest slices asked for in another profile, each in the nearest one that does."""
    sizes = {p.name: p for gpu in posed.gpus if gpu.catalogue for p in gpu.catalogue.profiles}
    wanted = Counter(name for request in requests for name in request.profiles)
    others = [p for p in sizes.values() if p.plain]
    menus = tuple(
        Menu(
            number,
            (
                Option(name, None, 1),
                *(Option(p.name, None, 1, _difference(sizes[name], p)) for p in others if _serves(sizes[name], p)),
            ),
        )
        for name, number in wanted.items()
    )
    _, supplies = _classes(question)
    cover = covering.cover(supplies, CoverDemand({}, menus), time_limit_s)
    if cover.status not in search.SOLVED:
        return None
    swaps = [
        (name, option.profile, number)
        for name, menu, numbers in zip(wanted, menus, cover.chosen, strict=True)
        for option, number in zip(menu.options, numbers, strict=True)
        if number and option.profile != name
    ]
    if not swaps or _fit(replace(question, requests=_swapped(requests, swaps)), time_limit_s)[0] is None:
        return None
    return {
        "kind": "profile",
        "slices": sum(number for *_, number in swaps),
        "swaps": [{"from": name, "to": other, "count": number} for name, other, number in swaps],
        "optimal": cover.status is SolveStatus.OPTIMAL,
    }


def _serves(asked: Profile, other: Profile) -> bool:
    """Whether another profile holds what was meant for the one asked for: it has no less memory."""
    wanted, there = _memory(asked, other)
    return other.name != asked.name and there >= wanted


def _difference(asked: Profile, other: Profile) -> int:
    """How far a profile is from what was asked, in hundredths of it: memory, and compute, double where it is less."""
    wanted, there = _memory(asked, other)
    less = asked.compute_slices - other.compute_slices
    compute = (200 if less > 0 else 100) * abs(less) // asked.compute_slices
    return _CHANGED + 100 * (there - wanted) // wanted + compute


def _memory(asked: Profile, other: Profile) -> tuple[int, int]:
    """The memory of both, in MiB where both are published, else in slices."""
    if asked.memory_mib and other.memory_mib:
        return asked.memory_mib, other.memory_mib
    return asked.memory_slices, other.memory_slices


def _swapped(requests: Sequence[Wanted], swaps: Sequence[tuple[str, str, int]]) -> tuple[relocation.MovableJob, ...]:
    left = {(name, other): number for name, other, number in swaps}
    jobs = []
    for request in requests:
        profiles = []
        for name in request.profiles:
            to = next((other for (first, other), n in left.items() if first == name and n), name)
            if to != name:
                left[name, to] -= 1
            profiles.append(to)
        jobs.append(relocation.MovableJob(tuple(profiles)))
    return tuple(jobs)


def _by_gpus(question: RelocationProblem, added: _Added | None, time_limit_s: float) -> dict[str, Any] | None:
    """The fewest more GPUs of one model: the one that is to be added, or whichever of the fleet's needs fewest."""
    kinds = [geometry.compiled(added.catalogue)] if added else list(dict.fromkeys(g.geometry for g in question.bins))
    per_node = added.gpus_per_node if added else max(Counter(gpu.node for gpu in question.bins).values(), default=1)
    each = time_limit_s / max(1, len(kinds) * (_EXTRA_GPUS + 2))
    found = [_more_of(question, kind, per_node, each) for kind in kinds]
    return min((one for one in found if one is not None), key=lambda one: int(one["gpus"]), default=None)


def _more_of(question: RelocationProblem, kind: Geometry, per_node: int, time_limit_s: float) -> dict[str, Any] | None:
    _, supplies = _classes(question)
    wanted = Counter(name for request in question.requests for name in request.profiles)
    cover = covering.cover([*supplies, Supply(kind)], CoverDemand(wanted), time_limit_s)
    if cover.status not in search.SOLVED:
        return None
    for gpus in range(cover.cost, cover.cost + _EXTRA_GPUS + 1):
        first = 1 + max((gpu.node for gpu in question.bins), default=-1)
        new = tuple(relocation.Bin(kind, (), first + number // per_node) for number in range(gpus))
        if _fit(replace(question, bins=question.bins + new), time_limit_s)[0] is not None:
            proven = cover.status is SolveStatus.OPTIMAL and gpus == cover.bound
            nodes = -(-gpus // per_node)
            return {"kind": "gpus", "model": kind.catalogue.model, "gpus": gpus, "nodes": nodes, "optimal": proven}
    return None


def _states(posed: RepackProblem) -> list[tuple[Geometry, int]]:
    question = _question(posed, ())
    return [(gpu.geometry, s) for gpu, s in zip(question.bins, joint.standing(question), strict=True)]


def _room(kind: Geometry, state: int, name: str) -> int:
    index = kind.profile_index.get(name)
    return 0 if index is None else int(kind.room[state, index])
