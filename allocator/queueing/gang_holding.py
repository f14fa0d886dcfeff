"""GangHolding: places for all pods of a gang, or for none. Carried out by the queueing cycle in small steps.

First greedily: the largest pods first, each at the policy's best place. Where that fails, the exact search says whether
there is a way, and its places are claimed. So a gang is refused only with a proof, or, where the search ends with its
budget, as one for which nothing was found: that is not to say that it does not fit.
"""

import enum
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.queueing import gang_search, holding
from allocator.queueing.gang_search import GangSearch, SearchEnd
from allocator.queueing.holding import NodeRules
from allocator.queueing.queued_pod import QueuedPod


class GangVerdict(enum.StrEnum):
    """What came of looking for places for a gang."""

    GREEDY = "greedy"  # held, each pod at its best place
    EXACT = "exact"  # held, as the search found
    NO_ROOM = "no room"  # proven: not all of them fit as things are
    UNKNOWN = "unknown"  # nothing found within the budget, or by what is looked at
    OVERTAKEN = "overtaken"  # a place was taken, or a pod went, while it was looked for: to be tried again


class Promises(Protocol):
    """Where it is noted that a pod has a place, or not any more."""

    def held(self, pod: QueuedPod, node: str) -> bool:
        """A place was claimed; False if the pod is not to have one any more."""

    def given_back(self, pod: QueuedPod) -> None:
        """The place goes back: the claim is to be void."""


@dataclass
class GangHolding:
    """One attempt. Afterwards `verdict`; after `give_back` nothing is held whatever it is."""

    inventory: Inventory
    unit: Sequence[QueuedPod]
    rules: NodeRules
    promises: Promises
    first: Callable[[QueuedPod], str] = lambda _: ""  # a node where a place is kept for a pod
    budget: int = gang_search.BUDGET
    verdict: GangVerdict = GangVerdict.UNKNOWN

    def __post_init__(self) -> None:
        self._held: dict[str, QueuedPod] = {}

    def steps(self) -> Iterator[None]:
        """Carry it out, in small pieces."""
        yield from self._greedily()
        if self.verdict is GangVerdict.GREEDY:
            return
        self.give_back()
        if self.verdict is GangVerdict.OVERTAKEN:
            return
        yield
        if len(self.unit) == 1:
            self.verdict = GangVerdict.NO_ROOM  # every node was asked
            return
        search = GangSearch(self.inventory, self.unit, self.rules, budget=self.budget)
        yield from search.steps()
        if search.end is SearchEnd.NONE:
            self.verdict = GangVerdict.NO_ROOM
        elif search.end is SearchEnd.PLACES:
            yield from self._claim(search)

    def give_back(self) -> None:
        """Hold nothing any more."""
        for pod in self._held.values():
            self.promises.given_back(pod)
        self._held.clear()

    def _greedily(self) -> Iterator[None]:
        kept = [pod for pod in self.unit if self.first(pod)]
        others = [pod for pod in self.unit if not self.first(pod)]
        in_order = (holding.largest_first(self.inventory, pods) for pods in (kept, others))  # before others come there
        for pod in itertools.chain(*in_order):
            node = holding.hold_one(self.inventory, pod, self.rules, self.first(pod))
            if node is None:
                return
            if not self._note(pod, node):
                self.inventory.refuse(pod.uid)
                self.verdict = GangVerdict.OVERTAKEN
                return
            yield
        self.verdict = GangVerdict.GREEDY

    def _claim(self, search: GangSearch) -> Iterator[None]:
        """What was found, unless something came between."""
        for place in search.found:
            pod = place.pod
            promised = BoundPod(pod.uid, pod.namespace, pod.name, place.node, pod.request, place.promises)
            if not self.rules.takes(pod, place.node):  # because of others of the gang, which the search does not judge
                self.give_back()
                return
            free = self.inventory.restore(promised) is None
            if not free or not self._note(pod, place.node):
                self.verdict = GangVerdict.OVERTAKEN
                if free:
                    self.inventory.refuse(pod.uid)
                self.give_back()
                return
            yield
        self.verdict = GangVerdict.EXACT

    def _note(self, pod: QueuedPod, node: str) -> bool:
        if not self.promises.held(pod, node):
            return False
        self._held[pod.uid] = pod
        return True
