"""MovedPod: what if one pod were restarted elsewhere: where it could go, and which waiting pods could start then.

A waiting pod that fits nowhere now can only use the room that the pod leaves, which is on the pod's node. So that node
and one other that takes the pod decide the question, in clusters of any size. Called by `capacity.planner`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from allocator import errors
from allocator.claims import contract
from allocator.claims.snapshot import NodeView, Snapshot
from allocator.claims.snapshot_file import PodFacts, Saved, WaitingFacts
from allocator.eligibility.constraints import PodConstraints
from allocator.planning.capacity import joint_fit, replica_room
from allocator.planning.capacity.joint_fit import Fit
from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.capacity.types import MovedPod, ReplicaRoom, StartingPods
from allocator.planning.packing.relocation import RelocationProblem
from allocator.planning.repack import planner, problem, render, requested_pod
from allocator.planning.repack.problem import MovablePod, RepackLimits, RepackProblem
from allocator.planning.repack.requested_pod import RequestedPod

MAX_KINDS = 50  # kinds of waiting pods that are looked at, the most urgent and oldest
_LOOKS = 200_000  # GPUs, times kinds of pods that are looked for on them: 40,000 take about a second
_OURS = f"{contract.GROUP}/"  # how gates begin that are opened once there is room


@dataclass(frozen=True, slots=True)
class _Kind:
    """Waiting pods that ask for the same."""

    profiles: tuple[tuple[str, int], ...]
    constraints: PodConstraints | None

    def pod(self, name: str) -> RequestedPod:
        """One of them."""
        return RequestedPod(
            name, tuple(name for name, number in self.profiles for _ in range(number)), self.constraints
        )


@dataclass(frozen=True, slots=True)
class _Move:
    """The pod, the nodes that decide about it, and where it could go."""

    pod: MovablePod
    saved: Saved
    limits: RepackLimits
    room: ReplicaRoom

    @property
    def like(self) -> RequestedPod:
        """It, as a pod that is to be placed."""
        return _like(self.pod)

    @property
    def is_certain(self) -> bool:
        """Whether a no of these nodes is one of all nodes: `room` deals with the slices as one container's."""
        return self.room.proven and self.pod.job.one_container


def of(name: str, saved: Saved, fleet: RepackProblem, limit_s: float, exact_columns: int) -> MovedPod:
    """The answer about the pod of this name or UID. Raises InputError where there is none that could move."""
    move = _move(name, saved, fleet, limit_s / 2)
    kinds, held = _waiting(saved.pods)
    standing, time = joint_fit.as_it_stands(fleet), SearchTime(limit_s / 2)
    offered = {profile for bin_ in fleet.bins for profile in bin_.geometry.profiles}
    most = min(MAX_KINDS, max(1, _LOOKS // max(1, len(fleet.bins))))
    starts, counts = [], Counter[str]()
    for number, (kind, names) in enumerate(kinds.items()):
        asked = kind.pod(names[0])
        if number >= most or time.left_s <= 0:
            counts["not_looked_at"] += len(names)
        elif not offered.issuperset(asked.profiles):
            counts["not"] += len(names)
        else:
            now = _now(standing, fleet, asked, time, exact_columns)
            found = _then(move, asked, names, time) if now.placed is None and now.proven else None
            if isinstance(found, StartingPods):
                starts.append(found)
            else:
                counts[_verdict(now, found)] += len(names)
    return MovedPod(
        pod=move.pod.name,
        uid=move.pod.uid,
        node=move.saved.snapshot.nodes[0].name,
        kept=_kept(saved, move.pod.uid),
        room=move.room,
        starts=starts,
        already=counts["already"],
        not_=counts["not"],
        undecided=counts["undecided"],
        not_looked_at=counts["not_looked_at"],
        held=held,
    )


def _verdict(now: Fit, found: bool | None) -> str:
    if now.placed is not None:
        return "already"
    return "not" if found is False else "undecided"


def _move(name: str, saved: Saved, fleet: RepackProblem, limit_s: float) -> _Move:
    uid, node = _find(name, saved)
    facts = saved.pods[uid]
    limits = RepackLimits(moves=1, priority=facts.priority)
    alone = problem.build(_part(saved, [node], uid), limits)
    if not alone.pods:
        said = "is ending" if facts.terminating else "is on a node that takes no pods, or its slices are not all cut"
        raise errors.InputError("move", name, f"{said}; name another pod")
    (pod,) = alone.pods
    room = replica_room.of_requests(fleet, [(_like(pod), 1)], limit_s)[0]
    other = next((each for each in saved.snapshot.nodes if each.name in room.nodes and each is not node), None)
    return _Move(pod, _part(saved, [node, other] if other else [node], uid), limits, room)


def _find(name: str, saved: Saved) -> tuple[str, NodeView]:
    """The UID of a pod that holds slices, and its node."""
    for node in saved.snapshot.nodes:
        for gpu in node.gpus:
            for slice_ in gpu.occupants:
                if slice_.uid in saved.pods and name in (slice_.uid, f"{slice_.namespace}/{slice_.pod}"):
                    return slice_.uid, node
    raise errors.InputError("move", name, "no known pod of that name or UID holds slices; write namespace/name")


def _part(saved: Saved, nodes: Sequence[NodeView], uid: str) -> Saved:
    """Some nodes, on which no pod may move but one."""
    there = {slice_.uid for node in nodes for gpu in node.gpus for slice_ in gpu.occupants}
    pods = {each: replace(saved.pods[each], movable=each == uid) for each in there & saved.pods.keys()}
    return Saved(Snapshot(tuple(nodes)), pods)


def _like(pod: MovablePod) -> RequestedPod:
    return RequestedPod(pod.name, tuple(place.profile for _, place in pod.places), pod.facts.constraints)


def _kept(saved: Saved, uid: str) -> str:
    facts = saved.pods[uid]
    if not facts.movable:
        return facts.kept or "it is not marked movable"
    forbids = [each for each in saved.budgets if uid in each.pods and each.disruptions_allowed <= 0]
    return f"its PodDisruptionBudget {forbids[0].name} does not let it go now" if forbids else ""


def _waiting(pods: Mapping[str, PodFacts]) -> tuple[dict[_Kind, list[str]], int]:
    """The names of the pods that wait for room by kind, the most urgent and oldest first; how many others wait."""
    waiting = [(facts, facts.waiting) for facts in pods.values() if facts.waiting is not None and not facts.terminating]
    waiting.sort(key=lambda pair: (-pair[0].priority, pair[1].created, pair[1].name))
    kinds: dict[_Kind, list[str]] = {}
    held = 0
    for facts, asks in waiting:
        if _waits_for_room(asks):
            kinds.setdefault(_Kind(asks.profiles, facts.constraints), []).append(asks.name)
        else:
            held += 1
    return kinds, held


def _waits_for_room(asks: WaitingFacts) -> bool:
    """A pod at our gate waits for us, whichever scheduler binds it later."""
    is_ours = bool(asks.gates) or not asks.scheduler
    return is_ours and all(gate.startswith(_OURS) for gate in asks.gates)


def _now(
    standing: RelocationProblem, fleet: RepackProblem, asked: RequestedPod, time: SearchTime, exact_columns: int
) -> Fit:
    first = SearchTime(time.share(0.4))
    before = first.left_s
    fit = joint_fit.fit(replace(standing, requests=requested_pod.jobs(fleet, [asked])), first, exact_columns)
    time.spend(before - first.left_s)
    return fit


def _then(move: _Move, asked: RequestedPod, names: list[str], time: SearchTime) -> StartingPods | bool | None:
    """Where it goes once the pod has moved; False where that is proven to be nowhere, None if it is open."""
    solved = planner.solve(move.saved, move.limits, [asked], time.share(0.4))
    time.spend(solved.solution.seconds)
    if not solved.possible:
        return False if solved.possible is False and move.is_certain else None
    places = [step.places for step in solved.solution.moves]
    return StartingPods(
        pods=names,
        profiles=dict(Counter(asked.profiles)),
        place=render.placements(solved.problem, [asked], solved.solution.placed)[0],
        moved=render.placements(solved.problem, [move.like], places)[0],
    )
