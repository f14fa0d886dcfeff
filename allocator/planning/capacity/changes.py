"""Changes: the smallest change of each kind that makes pods fit which do not: restarts, other profiles, more GPUs.

Called by `capacity.planner`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from allocator.claims.snapshot_file import Saved
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Profile
from allocator.planning.capacity import joint_fit
from allocator.planning.capacity.types import GpusChange, MovesChange, ProfileChange, ProfileSwap
from allocator.planning.packing import covering
from allocator.planning.packing.covering import CoverDemand, Menu, Option, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Bin, MovableJob, RelocationProblem
from allocator.planning.repack import planner, search
from allocator.planning.repack.goal import RequestedPod
from allocator.planning.repack.problem import RepackLimits, RepackProblem

_EXTRA_GPUS = 3  # tried beyond the proven least, for pods with several slices
_CHANGED = 10_000  # cost of asking for another profile, beside how different it is in hundredths

_Swap = tuple[str, str, int]  # profile asked for, profile instead, slices


@dataclass(frozen=True, slots=True)
class AddedNodes:
    """Nodes that are alike and empty: a described fleet's, or those that are to be added."""

    catalogue: Catalogue
    nodes: int
    gpus_per_node: int


def by_moves(
    saved: Saved, pods: Sequence[RequestedPod], limits: RepackLimits, time_limit_s: float
) -> MovesChange | None:
    """The cheapest repack that makes the pods fit."""
    solved = planner.solve(saved, limits, pods, time_limit_s)
    if not solved.possible:
        return None
    moved = [solved.problem.pods[move.job] for move in solved.solution.moves]
    return MovesChange(
        moves=len(moved),
        gpc=sum(pod.gpc for pod in moved),
        pods=list(dict.fromkeys(pod.name for pod in moved)),
        optimal=solved.solution.status is SolveStatus.OPTIMAL,
    )


def by_profiles(
    fleet: RepackProblem,
    pods: Sequence[RequestedPod],
    relocation: RelocationProblem,
    time_limit_s: float,
    exact_columns: int,
) -> ProfileChange | None:
    """The fewest slices asked for in another profile, each in the nearest one that does."""
    profiles = {p.name: p for gpu in fleet.gpus if gpu.catalogue for p in gpu.catalogue.profiles}
    counts = joint_fit.requested(relocation)
    menus = tuple(Menu(count, _options(profiles[name], list(profiles.values()))) for name, count in counts.items())
    _, supplies = joint_fit.classes(relocation)
    cover = covering.cover(supplies, CoverDemand({}, menus), time_limit_s)
    if cover.status not in search.SOLVED:
        return None
    swaps = [
        (name, option.profile, number)
        for name, menu, numbers in zip(counts, menus, cover.chosen, strict=True)
        for option, number in zip(menu.options, numbers, strict=True)
        if number and option.profile != name
    ]
    swapped = replace(relocation, requests=_swapped(pods, swaps))
    if not swaps or joint_fit.fit(swapped, time_limit_s, exact_columns)[0] is None:
        return None
    return ProfileChange(
        slices=sum(number for *_, number in swaps),
        swaps=[ProfileSwap(from_=name, to=other, count=number) for name, other, number in swaps],
        optimal=cover.status is SolveStatus.OPTIMAL,
    )


def _options(profile: Profile, profiles: Sequence[Profile]) -> tuple[Option, ...]:
    """The profile itself at no cost, and every other that serves, by how different it is."""
    others = [other for other in profiles if other.plain and _serves(profile, other)]
    return (
        Option(profile.name, None, 1),
        *(Option(other.name, None, 1, _difference(profile, other)) for other in others),
    )


def _serves(profile: Profile, other: Profile) -> bool:
    """Whether another profile holds what was meant for this one: it has no less memory."""
    memory, other_memory = _memory(profile, other)
    return other.name != profile.name and other_memory >= memory


def _difference(profile: Profile, other: Profile) -> int:
    """How far another profile is from this one, in hundredths of it: memory, and compute, double where it is less."""
    memory, other_memory = _memory(profile, other)
    less = profile.compute_slices - other.compute_slices
    compute = (200 if less > 0 else 100) * abs(less) // profile.compute_slices
    return _CHANGED + 100 * (other_memory - memory) // memory + compute


def _memory(profile: Profile, other: Profile) -> tuple[int, int]:
    """The memory of both, in MiB where both are published, else in slices."""
    if profile.memory_mib and other.memory_mib:
        return profile.memory_mib, other.memory_mib
    return profile.memory_slices, other.memory_slices


def _swapped(pods: Sequence[RequestedPod], swaps: Sequence[_Swap]) -> tuple[MovableJob, ...]:
    """The pods as jobs, with other profiles in place of so many of theirs."""
    left = {(name, other): number for name, other, number in swaps}
    jobs = []
    for pod in pods:
        profiles = []
        for name in pod.profiles:
            to = next((other for (profile, other), number in left.items() if profile == name and number), name)
            if to != name:
                left[name, to] -= 1
            profiles.append(to)
        jobs.append(MovableJob(tuple(profiles)))
    return tuple(jobs)


def by_gpus(
    relocation: RelocationProblem, added: AddedNodes | None, time_limit_s: float, exact_columns: int
) -> GpusChange | None:
    """The fewest more GPUs of one model: the one that is to be added, or whichever of the fleet's needs fewest."""
    bins = relocation.bins
    geometries = [geometry.compiled(added.catalogue)] if added else list(dict.fromkeys(gpu.geometry for gpu in bins))
    per_node = added.gpus_per_node if added else max(Counter(gpu.node for gpu in bins).values(), default=1)
    limit_s = time_limit_s / max(1, len(geometries) * (_EXTRA_GPUS + 2))
    options = [_more_of(relocation, kind, per_node, limit_s, exact_columns) for kind in geometries]
    return min((change for change in options if change is not None), key=lambda change: change.gpus, default=None)


def _more_of(
    relocation: RelocationProblem, kind: Geometry, per_node: int, time_limit_s: float, exact_columns: int
) -> GpusChange | None:
    """The fewest more GPUs of one geometry that make the requests fit."""
    _, supplies = joint_fit.classes(relocation)
    demand = CoverDemand(joint_fit.requested(relocation))
    cover = covering.cover([*supplies, Supply(kind)], demand, time_limit_s)
    if cover.status not in search.SOLVED:
        return None
    first = 1 + max((gpu.node for gpu in relocation.bins), default=-1)
    for gpus in range(cover.cost, cover.cost + _EXTRA_GPUS + 1):
        new = tuple(Bin(kind, (), first + number // per_node) for number in range(gpus))
        wider = replace(relocation, bins=relocation.bins + new)
        if joint_fit.fit(wider, time_limit_s, exact_columns)[0] is not None:
            return GpusChange(
                model=kind.catalogue.model,
                gpus=gpus,
                nodes=-(-gpus // per_node),
                optimal=cover.status is SolveStatus.OPTIMAL and gpus == cover.bound,
            )
    return None
