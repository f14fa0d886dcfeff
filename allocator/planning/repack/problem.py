"""RepackProblem: a snapshot seen as GPUs to move pods on: who may move, who may not and why, which budgets bind.

Called by `repack.planner` and the capacity answers.
"""

import enum
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from allocator.claims.ledger import ClaimState
from allocator.claims.snapshot import GpuView, Occupant, Snapshot
from allocator.claims.snapshot_file import IDLE, PodFacts, Saved
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.mig import geometry
from allocator.mig.profile import Placement
from allocator.planning import eligible_nodes
from allocator.planning.eligible_nodes import EligibleNodes
from allocator.planning.packing.node_limits import Spare
from allocator.planning.packing.relocation import Bin, Budget, MovableJob, Place

PER_MOVE = 1  # what one restart costs beside the compute slices that it moves

_SETTLED = (ClaimState.BOUND.value, ClaimState.READY.value)
_UNKNOWN = PodFacts()


class Rule(enum.Enum):
    """What keeps slices in place. In the order in which a refusal tries to do without each."""

    BUDGETS = "the budgets (moves, compute slices, memory, pods per service or namespace, PodDisruptionBudgets)"
    PRIORITY = "pods of higher priority"
    MOVABLE = "pods that may not be moved"
    SETTLED = "pods whose slices are still being cut or given back"
    FOREIGN = "slices that belong to no pod"


@dataclass(frozen=True, slots=True)
class RepackLimits:
    """What a repack may spend; see RepackBudgets. None: no limit beside the pods' own budgets."""

    moves: int
    gpc: int | None = None
    pods_per_service: int | None = None
    priority: int = 0
    memory_mib: int | None = None
    pods_per_namespace: int | None = None
    spent: Mapping[str, int] = field(default_factory=dict)
    one_at_a_time: bool = False

    def left(self, limit: int, whose: str) -> int:
        """What is left of a limit for a namespace, or for an owner in it."""
        spent = sum(number for key, number in self.spent.items() if f"{key}/".startswith(f"{whose}/"))
        return max(0, limit - spent)


@dataclass(frozen=True, slots=True)
class MovablePod:
    """A pod that may move, with its slices: container, GPU (index) and placement of each."""

    uid: str
    name: str
    facts: PodFacts
    gpc: int
    containers: tuple[str, ...]
    places: tuple[Place, ...]
    nodes: frozenset[int] | None = None  # of the bins, to which it may go; None for all
    memory_mib: int = 0  # of its slices

    @property
    def asked(self) -> Amounts:
        """What it takes of a node beside slices, as far as that is known."""
        return self.facts.asked

    @property
    def namespace(self) -> str:
        """The pod's namespace, to which its service's name belongs."""
        return self.name.partition("/")[0]

    @property
    def job(self) -> MovableJob:
        """What the packing sees."""
        profiles = tuple(placement.profile for _, placement in self.places)
        one_container = len(set(self.containers)) == 1
        return MovableJob(
            profiles, self.places, PER_MOVE + self.gpc, self.nodes, one_container=one_container, asked=self.asked
        )


@dataclass(frozen=True, slots=True)
class RepackProblem:
    """The usable GPUs, in node and index order, and the pods on them that may move.

    `nodes` are those of the bins; `spare` is what they have left of CPU and memory, where that is known.
    """

    gpus: tuple[GpuView, ...]
    bins: tuple[Bin, ...]
    pods: tuple[MovablePod, ...]
    eligible: EligibleNodes
    closed: frozenset[str] = frozenset()  # nodes that take no pods, and are drained of theirs
    nodes: Mapping[str, int] = field(default_factory=dict)
    spare: Spare = field(default_factory=dict)

    def numbers(self, constraints: PodConstraints | None) -> frozenset[int] | None:
        """The nodes (of the bins) on which a pod may run that asks so; None for all."""
        names = self.eligible.of(constraints)
        return None if names is None else frozenset(self.nodes[name] for name in names)

    def budgets(self, saved: Saved, limits: RepackLimits) -> tuple[Budget, ...]:
        """Everything that limits which of the pods may move, and how often, together."""
        numbers = range(len(self.pods))
        budgets = [Budget(limits.moves, dict.fromkeys(numbers, 1))]
        if limits.gpc is not None:
            budgets.append(Budget(limits.gpc, {n: self.pods[n].gpc for n in numbers}))
        if limits.memory_mib is not None:
            budgets.append(_memory_budget(limits.memory_mib, self.pods))
        if limits.pods_per_service is not None:
            owners = {n: f"{pod.namespace}/{pod.facts.service}" for n, pod in enumerate(self.pods) if pod.facts.service}
            budgets += _each(limits.pods_per_service, owners, limits)
        if limits.pods_per_namespace is not None:
            namespaces = {n: pod.namespace for n, pod in enumerate(self.pods) if pod.namespace}
            budgets += _each(limits.pods_per_namespace, namespaces, limits)
        for budget in saved.budgets:
            covered = frozenset(budget.pods)
            if not limits.one_at_a_time or budget.disruptions_allowed <= 0:
                budgets.append(
                    Budget(max(0, budget.disruptions_allowed), {n: 1 for n in numbers if self.pods[n].uid in covered})
                )
        return tuple(budget for budget in budgets if budget.weights)


def _memory_budget(limit: int, pods: Sequence[MovablePod]) -> Budget:
    """At most so much memory over all restarts, in the largest unit that all pods' memory is a multiple of: large
    weights are not kept exactly by a program.
    """
    unit = math.gcd(*(pod.memory_mib for pod in pods)) or 1
    return Budget(limit // unit, {n: pod.memory_mib // unit for n, pod in enumerate(pods) if pod.memory_mib})


def _each(limit: int, whose: Mapping[int, str], limits: RepackLimits) -> list[Budget]:
    """A budget for each owner or namespace, of those that are `whose` (pod's index)."""
    groups: dict[str, dict[int, int]] = {}
    for number, name in whose.items():
        groups.setdefault(name, {})[number] = 1
    return [Budget(limits.left(limit, name), weights) for name, weights in sorted(groups.items())]


def usable(snapshot: Snapshot, drained: Collection[str] = ()) -> tuple[GpuView, ...]:
    """The GPUs that may be cut: those of nodes that take pods, and of nodes that are drained of theirs."""
    nodes = eligible_nodes.open_nodes(snapshot, drained)
    return tuple(gpu for node in nodes for gpu in node.gpus if gpu.catalogue is not None and not gpu.problem)


def build(
    saved: Saved, limits: RepackLimits, ignored: Collection[Rule] = (), drained: Collection[str] = ()
) -> RepackProblem:
    """The problem that a snapshot poses; rules that are ignored keep no pod in place.

    `drained` are the nodes that are to be emptied: pods leave them although they take none.
    """
    gpus = usable(saved.snapshot, drained)
    index = {gpu.uuid: number for number, gpu in enumerate(gpus)}
    of_pod: dict[str, list[tuple[GpuView, Occupant]]] = {}
    for gpu in saved.snapshot.gpus():
        for occupant in gpu.occupants:
            if occupant.uid:
                of_pod.setdefault(occupant.uid, []).append((gpu, occupant))
    nodes = {name: number for number, name in enumerate(dict.fromkeys(gpu.node for gpu in gpus))}
    movable = {
        uid: slices
        for uid, slices in of_pod.items()
        if _may_move(slices, saved.pods.get(uid, _UNKNOWN), index, limits, ignored)
    }
    views = [node for node in saved.snapshot.nodes if node.name in nodes]
    spare = eligible_nodes.spare(views, saved.pods)
    eligible = EligibleNodes(views, _without(spare, movable, saved.pods))
    pods = tuple(
        _pod(uid, slices, saved.pods.get(uid, _UNKNOWN), index, nodes, eligible) for uid, slices in movable.items()
    )
    if Rule.FOREIGN in ignored:
        pods += tuple(_ownerless(gpu, occupant, index, nodes, eligible) for gpu in gpus for occupant in _foreign(gpu))
    moving = {pod.uid for pod in pods}
    bins = tuple(
        Bin(geometry.compiled(gpu.catalogue), _fixed(gpu, moving), nodes[gpu.node]) for gpu in gpus if gpu.catalogue
    )
    return RepackProblem(
        gpus=gpus,
        bins=bins,
        pods=pods,
        eligible=eligible,
        closed=frozenset(node.name for node in views if node.closed),
        nodes=nodes,
        spare={nodes[name]: left for name, left in spare.items()},
    )


def _without(
    spare: Mapping[str, Amounts],
    movable: Mapping[str, list[tuple[GpuView, Occupant]]],
    pods: Mapping[str, PodFacts],
) -> dict[str, Amounts]:
    """What nodes would have left if all that may move had gone: no pod may go where not even that is enough."""
    left = dict(spare)
    for uid, slices in movable.items():
        node, asked = slices[0][0].node, pods.get(uid, _UNKNOWN).asked
        if node in left:
            left[node] += asked
    return left


def _may_move(
    slices: list[tuple[GpuView, Occupant]],
    facts: PodFacts,
    usable_gpus: Mapping[str, int],
    limits: RepackLimits,
    ignored: Collection[Rule],
) -> bool:
    settled = all(occupant.state in _SETTLED for _, occupant in slices)
    return (
        all(gpu.uuid in usable_gpus for gpu, _ in slices)
        and not facts.terminating
        and (settled or Rule.SETTLED in ignored)
        and (facts.movable or Rule.MOVABLE in ignored)
        and (facts.priority <= limits.priority or Rule.PRIORITY in ignored)
    )


def _pod(
    uid: str,
    slices: list[tuple[GpuView, Occupant]],
    facts: PodFacts,
    index: Mapping[str, int],
    nodes: Mapping[str, int],
    eligible: EligibleNodes,
) -> MovablePod:
    names = eligible.of(facts.constraints)
    gpc = sum(
        gpu.catalogue.profile(occupant.placement.profile).compute_slices for gpu, occupant in slices if gpu.catalogue
    )
    memory_mib = sum(
        gpu.catalogue.profile(occupant.placement.profile).memory_mib or 0 for gpu, occupant in slices if gpu.catalogue
    )
    first = slices[0][1]
    return MovablePod(
        uid=uid,
        name=f"{first.namespace}/{first.pod}",
        facts=facts,
        gpc=gpc,
        containers=tuple(occupant.container for _, occupant in slices),
        places=tuple((index[gpu.uuid], occupant.placement) for gpu, occupant in slices),
        nodes=None if names is None else frozenset(nodes[name] for name in names),
        memory_mib=memory_mib,
    )


def _foreign(gpu: GpuView) -> list[Occupant]:
    return [occupant for occupant in gpu.occupants if not occupant.uid and occupant.state != IDLE]


def _ownerless(
    gpu: GpuView, occupant: Occupant, index: Mapping[str, int], nodes: Mapping[str, int], eligible: EligibleNodes
) -> MovablePod:
    """A slice of no pod, as if one pod held it."""
    return _pod("", [(gpu, occupant)], _UNKNOWN, index, nodes, eligible)


def _fixed(gpu: GpuView, moving: Collection[str]) -> tuple[Placement, ...]:
    return tuple(
        occupant.placement for occupant in gpu.occupants if occupant.state != IDLE and occupant.uid not in moving
    )
