"""ProfileRoom: how many more slices of each profile fit: now, after a repack, and with more nodes.

Called by `capacity.planner`.
"""

from collections import Counter
from collections.abc import Sequence

from allocator.mig import geometry
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.capacity import joint_fit
from allocator.planning.capacity.changes import AddedNodes
from allocator.planning.capacity.types import ProfileRoom
from allocator.planning.packing import covering
from allocator.planning.packing.covering import CoverDemand, Supply
from allocator.planning.repack.problem import RepackProblem


def of_profiles(
    fleet: RepackProblem, names: Sequence[str], added: AddedNodes | None, time_limit_s: float
) -> dict[str, ProfileRoom]:
    """How many more of each profile fit, each asked for alone."""
    states = joint_fit.states(fleet)
    supplies, demand = _placed_again(fleet)
    bounded = any(pod.nodes is not None and len(pod.places) == 1 for pod in fleet.pods)  # such pods could move a little
    limit_s = time_limit_s / max(1, 2 * len(names))
    rooms: dict[str, ProfileRoom] = {}
    for name in names:
        now = sum(kind.room_for(state, name) for kind, state in states)
        after = _after_repack(supplies, demand, name, now, limit_s)
        proven = after.slices == after.at_most and not bounded
        if added is None:
            rooms[name] = ProfileRoom(now=now, after_repack=after.slices, proven=proven)
            continue
        kind = geometry.compiled(added.catalogue)
        gpus = added.nodes * added.gpus_per_node
        more = gpus * kind.room_for(Geometry.EMPTY, name)
        wider = [*supplies, Supply(kind, stock=gpus)]
        with_added = _after_repack(wider, demand, name, max(now, after.slices) + more, limit_s)
        rooms[name] = ProfileRoom(
            now=now,
            after_repack=after.slices,
            proven=proven,
            with_added=now + more,
            with_added_after_repack=with_added.slices,
            with_added_proven=with_added.slices == with_added.at_most,
        )
    return rooms


def _after_repack(
    supplies: Sequence[Supply], demand: CoverDemand, name: str, at_least: int, time_limit_s: float
) -> covering.Room:
    """The most of a profile that fit if all that may move were placed again; never less than what is known to fit."""
    room = covering.room(supplies, demand, name, time_limit_s) or covering.Room(at_least, at_least)
    return covering.Room(max(room.slices, at_least), max(room.at_most, at_least))


def _placed_again(fleet: RepackProblem) -> tuple[list[Supply], CoverDemand]:
    """The GPUs without the pods that may move, and those pods as a demand.

    Pods with several slices stay, and so do those that may not go to every node.
    """
    staying: dict[int, list[Placement]] = {}
    moving: Counter[str] = Counter()
    for pod in fleet.pods:
        if len(pod.places) == 1 and pod.nodes is None:
            moving[pod.places[0][1].profile] += 1
        else:
            for gpu, placement in pod.places:
                staying.setdefault(gpu, []).append(placement)
    states = Counter(
        (bin_.geometry, bin_.geometry.state_of([*bin_.fixed, *staying.get(index, ())]))
        for index, bin_ in enumerate(fleet.bins)
    )
    return [Supply(kind, state, number, 0) for (kind, state), number in states.items()], CoverDemand(moving)
