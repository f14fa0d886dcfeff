"""GangSearch: whether the pods of a gang fit together, on which nodes, and where there: exact, within a budget.

The pods are grouped by kind. Each GPU takes certain largest mixes of kinds (`node_mixes`), or each node, where its GPUs
cannot be looked at alone. A search over them, one after the other, looks for a mix on each so that all pods are placed.
What is left to place after one, and was in vain once, is not tried again; where those to come cannot take enough of a
kind, of two, or of all in memory slices, the search turns back at once. It ends with places, with the proof that there
are none, or with its budget.

`steps` gives way after each small piece of work; nothing is claimed meanwhile, and whoever claims the places has to see
whether they are still free.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from allocator.claims.inventory import Inventory
from allocator.claims.placement_annotation import Promise
from allocator.eligibility.amounts import NOTHING
from allocator.placement import room
from allocator.placement.fitting import GpuState
from allocator.queueing import node_mixes
from allocator.queueing.holding import NodeRules
from allocator.queueing.node_mixes import Mixes, Vector
from allocator.queueing.queued_pod import QueuedPod
from allocator.request import Request

BUDGET = 20_000  # mixes tried; some tenths of a second


class SearchEnd(enum.StrEnum):
    """How a search ended."""

    PLACES = "places"  # found
    NONE = "none"  # proven: there are none as things are
    BUDGET = "budget"  # none found within the budget, or by what is looked at: unknown


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """Where a pod goes: the node, and the places of its slices there."""

    pod: QueuedPod
    node: str
    promises: tuple[Promise, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Pods that are alike for every node."""

    pods: tuple[QueuedPod, ...]
    slices: Vector  # by profile

    @property
    def pod(self) -> QueuedPod:
        return self.pods[0]


@dataclass(frozen=True, slots=True)
class _Bin:
    """GPUs of a node, and the largest mixes that they take."""

    node: str
    uuids: tuple[str, ...]
    gpus: tuple[GpuState, ...]
    mixes: tuple[Vector, ...]


class _Frame(NamedTuple):
    """What is left to place after the nodes so far, what the last of them takes, and what the next may take."""

    left: Vector
    mix: Vector
    choices: Iterator[Vector]


class GangSearch:
    """One search, over the inventory as it is while `steps` goes over the nodes. Afterwards `end` and `found`."""

    def __init__(
        self, inventory: Inventory, unit: Sequence[QueuedPod], rules: NodeRules, *, budget: int = BUDGET
    ) -> None:
        self._inventory = inventory
        self._rules = rules
        self._left = budget
        self._profiles = tuple(sorted({name for pod in unit for name, _ in pod.request.counts}))
        self._kinds = self._grouped(unit)
        self._most = tuple(len(kind.pods) for kind in self._kinds)
        # Where pods of the gang decide where others of it may run, that is left to whoever claims the places.
        self._whole = not any(pod.constraints.beside_others for pod in unit)  # nothing was left out
        self._known: dict[tuple[tuple[GpuState, ...], Vector], Mixes] = {}
        self.end = SearchEnd.BUDGET
        self.found: tuple[FoundPlace, ...] = ()

    def steps(self) -> Iterator[None]:
        """Carry it out, in small pieces."""
        alike: dict[tuple[Vector, ...], list[_Bin]] = {}
        candidates: dict[str, list[int]] = {}  # how many of each kind at most
        for position in range(len(self._kinds)):
            if not self._add_candidates(candidates, position):
                self.end = SearchEnd.NONE
                return
            yield
        for name, most in candidates.items():
            for bin_ in self._bins(name, tuple(most)):
                bins = alike.setdefault(bin_.mixes, [])
                if len(bins) < sum(self._most):  # each takes at least one pod, so more of the same are of no use
                    bins.append(bin_)
            yield
        order = sorted(alike, key=lambda mixes: (-max(map(sum, mixes)), mixes))
        yield from self._search([bin_ for mixes in order for bin_ in alike[mixes]])

    def run(self) -> "GangSearch":
        """Carry it out at once."""
        for _ in self.steps():
            pass
        return self

    # --- what the nodes take

    def _grouped(self, unit: Sequence[QueuedPod]) -> tuple[_Kind, ...]:
        groups: dict[object, list[QueuedPod]] = {}
        for pod in unit:
            groups.setdefault((pod.request.counts, pod.constraints, pod.owner, pod.priority), []).append(pod)
        kinds = [_Kind(tuple(pods), self._vector(pods[0].request)) for pods in groups.values()]
        return tuple(sorted(kinds, key=lambda kind: kind.slices, reverse=True))

    def _vector(self, request: Request) -> Vector:
        counts = dict(request.counts)
        return tuple(counts.get(profile, 0) for profile in self._profiles)

    def _add_candidates(self, candidates: dict[str, list[int]], position: int) -> bool:
        """The nodes that may run a kind's pod and may have room for it; whether there is one."""
        fleet, pod = self._inventory.fleet, self._kinds[position].pod
        eligible = self._rules.eligible(pod)
        losses = fleet.losses(pod.request, fleet.rows_of(eligible))
        places = np.flatnonzero(losses != np.inf).tolist()  # -inf: too complex to tell
        for place in places:
            candidates.setdefault(eligible[place], [0] * len(self._kinds))[position] = self._most[position]
        return bool(places)

    def _bins(self, name: str, most: Vector) -> Iterator["_Bin"]:
        """A node's GPUs, each with the mixes that it takes; all of them as one where they cannot be looked at alone:
        a pod wants several slices, or Kubernetes' own rules admit fewer pods than the GPUs do.
        """
        lefts = [self._rules.left(k.pod, name) for k, n in zip(self._kinds, most, strict=True) if n]
        if any(left != lefts[0] for left in lefts):
            self._whole = False  # the pods of a gang are mostly of one priority
        usable = tuple(room.remaining(self._inventory.usable(name), max(lefts, key=len)))
        alone = [_Bin(name, (uuid,), (gpu,), self._mixes((gpu,), most)) for uuid, gpu in usable]
        alone = [bin_ for bin_ in alone if any(map(any, bin_.mixes))]
        if all(sum(kind.slices) == 1 for kind in self._kinds):
            if not alone:
                return
            at_most = [tuple(map(max, *bin_.mixes)) if len(bin_.mixes) > 1 else bin_.mixes[0] for bin_ in alone]
            if self._takes(name, tuple(map(min, most, map(sum, zip(*at_most, strict=True))))):
                yield from alone
                return
        gpus = tuple(gpu for _, gpu in usable)
        mixes = self._taken(name, self._mixes(gpus, most))
        if any(map(any, mixes)):
            yield _Bin(name, tuple(uuid for uuid, _ in usable), gpus, mixes)

    def _mixes(self, gpus: tuple[GpuState, ...], most: Vector) -> tuple[Vector, ...]:
        """The largest mixes of these GPUs by geometry."""
        key = (tuple(sorted(gpus, key=lambda gpu: (id(gpu[0]), gpu[1]))), most)
        mixes = self._known.get(key)
        if mixes is None:
            kinds = [kind.slices for kind in self._kinds]
            mixes = self._known[key] = node_mixes.of_gpus(key[0], kinds, self._profiles, most)
            self._left -= len(mixes.largest)
        self._whole = self._whole and mixes.whole
        return mixes.largest

    def _taken(self, node: str, mixes: tuple[Vector, ...]) -> tuple[Vector, ...]:
        """The largest of these mixes, or of what is left of them, that the node takes by Kubernetes' own rules."""
        if self._takes(node, tuple(map(max, *mixes)) if len(mixes) > 1 else mixes[0]):
            return mixes
        taken: list[Vector] = []
        waiting, seen = list(mixes), set(mixes)
        while waiting:
            mix = waiting.pop()
            self._left -= 1
            if self._left <= 0:
                self._whole = False
                break
            if self._takes(node, mix):
                taken.append(mix)
                continue
            smaller = [(*mix[:k], mix[k] - 1, *mix[k + 1 :]) for k in range(len(mix)) if mix[k]]
            waiting += [less for less in smaller if less not in seen]
            seen.update(smaller)
        return node_mixes.largest(taken) or (tuple(0 for _ in self._kinds),)

    def _takes(self, node: str, mix: Vector) -> bool:
        """Whether a node takes so many pods at once, slices aside."""
        pods = [(kind.pod, n) for kind, n in zip(self._kinds, mix, strict=True) if n]
        requests = sum((pod.constraints.requests for pod, n in pods for _ in range(n)), NOTHING)
        return all(
            self._rules.takes(replace(pod, constraints=replace(pod.constraints, requests=requests)), node)
            for pod, _ in pods
        )

    # --- the search

    def _search(self, bins: Sequence[_Bin]) -> Iterator[None]:
        """GPU by GPU, or node by node; depth first."""
        hopeless = self._hopeless(bins)
        failed: set[tuple[int, Vector]] = set()
        frames = [_Frame(self._most, (), self._choices(bins, 0, self._most))]
        if hopeless(0, self._most):
            frames.clear()
        while frames:
            self._left -= 1
            if self._left <= 0:
                return
            at, frame = len(frames), frames[-1]
            mix = next(frame.choices, None)
            if mix is None:
                failed.add((at - 1, frame.left))
                frames.pop()
                continue
            left = tuple(map(int.__sub__, frame.left, mix))
            if not any(left):
                self._find(bins, [*(taken.mix for taken in frames[1:]), mix])
                return
            if (at, left) not in failed and not hopeless(at, left):
                frames.append(_Frame(left, mix, self._choices(bins, at, left)))
            yield
        self.end = SearchEnd.NONE if self._whole else SearchEnd.BUDGET

    def _choices(self, bins: Sequence[_Bin], at: int, left: Vector) -> Iterator[Vector]:
        """What the bin at a position can take of what is left."""
        return iter(node_mixes.largest(tuple(map(min, mix, left)) for mix in bins[at].mixes) if at < len(bins) else ())

    def _hopeless(self, bins: Sequence[_Bin]) -> Callable[[int, Vector], bool]:
        """Tells whether the bins from one on cannot take what is left, since under some weight it is too much."""
        weights = self._weights(bins)
        best = {
            mixes: [max(_weigh(weight, mix) for mix in mixes) for weight in weights]
            for mixes in {bin_.mixes for bin_ in bins}
        }
        capacity = [[0] * len(weights)]
        for bin_ in reversed(bins):
            capacity.append(list(map(int.__add__, capacity[-1], best[bin_.mixes])))
        capacity.reverse()
        return lambda at, left: any(_weigh(w, left) > most for w, most in zip(weights, capacity[at], strict=True))

    def _weights(self, bins: Sequence[_Bin]) -> list[Vector]:
        """Weights of the kinds under which the bins to come have to have enough: each alone, all, by size, by pairs."""
        size = self._sizes(bins)
        each = [tuple(int(k == other) for other in range(len(self._kinds))) for k in range(len(self._kinds))]
        pairs = [tuple(map(int.__add__, a, b)) for i, a in enumerate(each) for b in each[i + 1 :]]
        return [*each, *pairs[:28], tuple(1 for _ in self._kinds), size]

    def _sizes(self, bins: Sequence[_Bin]) -> Vector:
        """Memory slices of each kind, on the model where they are fewest."""
        catalogues = {id(geometry): geometry.catalogue for bin_ in bins for geometry, _ in bin_.gpus}.values()
        least = {
            name: min((c.by_name[name].memory_slices for c in catalogues if name in c.by_name), default=1)
            for name in self._profiles
        }
        return tuple(
            sum(n * least[name] for n, name in zip(kind.slices, self._profiles, strict=True)) for kind in self._kinds
        )

    def _find(self, bins: Sequence[_Bin], taken: Sequence[Vector]) -> None:
        waiting = [list(kind.pods) for kind in self._kinds]
        found: list[FoundPlace] = []
        for bin_, mix in zip(bins, taken, strict=False):
            pods = [kind.pop(0) for kind, n in zip(waiting, mix, strict=True) for _ in range(n)]
            found += _placed(bin_, pods, self._profiles)
        self.end, self.found = SearchEnd.PLACES, tuple(found)


def _weigh(weight: Vector, mix: Vector) -> int:
    return sum(map(int.__mul__, weight, mix))


def _placed(bin_: _Bin, pods: Sequence[QueuedPod], profiles: tuple[str, ...]) -> Iterator[FoundPlace]:
    """The pods with places in a bin that takes them all: slices of one container on different GPUs where they can."""
    asked = [name for pod in pods for name, n in pod.request.counts for _ in range(n)]
    wanted = tuple(asked.count(profile) for profile in profiles)
    free = dict(zip(profiles, map(list, node_mixes.places(bin_.gpus, profiles, wanted)), strict=True)) if pods else {}
    for pod in pods:
        promises: list[Promise] = []
        used: set[tuple[str, int]] = set()
        for slot in pod.request.slots:
            places = free[slot.profile]
            place = next((p for p in places if (slot.container, p.gpu) not in used), places[0])
            places.remove(place)
            used.add((slot.container, place.gpu))
            start = place.placement.start
            promises.append(Promise(slot.container, bin_.uuids[place.gpu], slot.profile, start))
        yield FoundPlace(pod, bin_.node, tuple(promises))
