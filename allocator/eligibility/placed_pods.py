"""PlacedPods: the pods that have a node, or a place held on one, as far as they decide where others may run.

Kept for every such pod of the cluster, so equal ones are kept once, and what a decision asks for is counted as pods
come and go: a `Selection` knows on which nodes the pods are that a rule is about. Owned by the scheduler's cache, asked
by `neighbours`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from allocator import errors
from allocator.eligibility import pod_selector
from allocator.eligibility.constraints import PodAffinityTerm, PodConstraints
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.pod_selector import Labels, PodSelector

_Key = TypeVar("_Key")
MAX_SELECTIONS = 512  # that are kept up to date; those asked for longest ago go first


@dataclass(frozen=True, slots=True)
class PlacedPod:
    """What other pods have to know of a pod. Pods of one template are equal.

    `labels` are None where they are too many to be kept. `unread` says in words what of it could not be read.
    """

    namespace: str
    labels: Labels | None = ""
    terminating: bool = False
    ports: tuple[HostPort, ...] = ()
    anti_affinity: tuple[PodAffinityTerm, ...] = ()
    claims: tuple[str, ...] = ()  # names of its PersistentVolumeClaims
    unread: str = ""


NOT_KNOWN = PlacedPod("", None)


@dataclass(slots=True)
class Selection:
    """How many pods match all of some selectors, by node; `unknown` counts those of which that cannot be told."""

    selectors: tuple[PodSelector, ...]
    with_terminating: bool
    on: dict[str, int] = field(default_factory=dict)
    unknown: int = 0

    def count(self, pod: PlacedPod, on: Mapping[str, int]) -> None:
        """So many more pods equal to this one are on which nodes, or fewer."""
        meant = self._matches(pod)
        if meant:
            for node, number in on.items():
                _add(self.on, node, number)
        elif meant is None:
            self.unknown += sum(on.values())

    def _matches(self, pod: PlacedPod) -> bool | None:
        if pod.terminating and not self.with_terminating:
            return False
        if any(selector.covers(pod.namespace) is False for selector in self.selectors):
            return False
        labels = pod_selector.unpacked(pod.labels)
        answer: bool | None = True
        for selector in self.selectors:
            meant = selector.matches(pod.namespace, labels)
            if meant is False:
                return False
            answer = answer if meant else None
        return answer


@dataclass(slots=True)
class _Equals:
    """Pods that are equal: one of them for all, and how many are on which node."""

    pod: PlacedPod
    on: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    equals: _Equals
    node: str
    held: bool


_Asked = tuple[tuple[PodSelector, ...], bool]


class PlacedPods:
    """Pods by UID, equal ones together, and the selections that were asked for."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._kinds: dict[str, dict[PlacedPod, _Equals]] = {}  # by namespace
        self._apart: dict[PlacedPod, _Equals] = {}  # those of them that keep others away
        self._ports: dict[str, dict[HostPort, int]] = {}  # by node
        self._claims: dict[str, int] = {}  # how many pods use them
        self._selections: dict[_Asked, Selection] = {}
        self.generation = 0  # one more with each change
        self._generations: dict[str, int] = {}  # the same of a namespace's pods, for those that had any
        self._kept_away: dict[str, bool] = {}  # namespaces that were asked about, until pods that keep away change
        self.unread: dict[str, int] = {}  # what could not be read, and of how many pods

    def __len__(self) -> int:
        return len(self._places)

    def put(self, uid: str, pod: PlacedPod, node: str) -> None:
        """A pod is on a node."""
        self._set(uid, pod, node, held=False)

    def hold(self, uid: str, pod: PlacedPod, node: str) -> None:
        """A place on a node is held for a pod, unless it is known to be on one."""
        known = self._places.get(uid)
        if known is None or known.held:
            self._set(uid, pod, node, held=True)

    def release(self, uid: str) -> None:
        """No place is held for a pod any more; nothing happens to one that is on a node."""
        known = self._places.get(uid)
        if known is not None and known.held:
            self._drop(uid)

    def leave(self, uid: str) -> None:
        """A pod is not on a node, or not any more; a place that is held for it stays."""
        known = self._places.get(uid)
        if known is not None and not known.held:
            self._drop(uid)

    def keeps_away_from(self, namespace: str) -> bool:
        """Whether the anti-affinity of some pod is about pods of a namespace."""
        if namespace not in self._kept_away:
            terms = (term for pod in self._apart for term in pod.anti_affinity)
            self._kept_away[namespace] = any(term.selector.covers(namespace) is not False for term in terms)
        return self._kept_away[namespace]

    def changes_for(self, pod: PodConstraints) -> int:
        """Grows when pods come or go that what a pod asks of others may be about."""
        if not (pod.spread or pod.affinity or pod.anti_affinity or pod.host_ports):
            return 0
        selectors = [rule.selector for rule in pod.spread]
        selectors += [term.selector for term in (*pod.affinity, *pod.anti_affinity)]
        if pod.host_ports or not all(selector.is_of_few for selector in selectors):
            return self.generation
        namespaces = {namespace for selector in selectors for namespace in selector.namespaces}
        return sum(self._generations.get(namespace, 0) for namespace in namespaces)

    def node_of(self, uid: str) -> str:
        """The node where a pod has its place; empty where it has none."""
        place = self._places.get(uid)
        return "" if place is None else place.node

    def select(self, selectors: tuple[PodSelector, ...], *, with_terminating: bool) -> Selection:
        """On which nodes the pods are that match all selectors; kept up to date from now on."""
        asked = selectors, with_terminating
        selection = self._selections.pop(asked, None)
        if selection is None:
            selection = Selection(selectors, with_terminating)
            for equals in self._in_question(selectors):
                selection.count(equals.pod, equals.on)
            if len(self._selections) >= MAX_SELECTIONS:
                del self._selections[next(iter(self._selections))]
        self._selections[asked] = selection
        return selection

    def keeping_away(self) -> Iterator[tuple[PlacedPod, Mapping[str, int]]]:
        """Pods that have required anti-affinity, equal ones once, and how many of them are on which node."""
        return ((equals.pod, equals.on) for equals in self._apart.values())

    def with_ports(self) -> Iterable[str]:
        """The nodes whose pods take ports."""
        return self._ports

    def ports_on(self, node: str) -> Mapping[HostPort, int]:
        """The ports of a node that its pods take."""
        return self._ports.get(node, {})

    def uses(self, claim: str) -> bool:
        """Whether a pod that has a place uses a claim, `namespace/name`."""
        return claim in self._claims

    def check(self) -> None:
        """Raise LedgerError if what is counted is not what the pods that have places make."""
        again = PlacedPods()
        for uid, place in self._places.items():
            again.put(uid, place.equals.pod, place.node)
        same = (
            again._kinds == self._kinds
            and again._apart == self._apart
            and (again._ports, again._claims, again.unread) == (self._ports, self._claims, self.unread)
        )
        if not same:
            raise errors.LedgerError("what is counted of pods that have places is wrong")
        for (selectors, with_terminating), kept in self._selections.items():
            if again.select(selectors, with_terminating=with_terminating) != kept:
                raise errors.LedgerError(f"the count of pods that match {selectors} is wrong")

    def _in_question(self, selectors: tuple[PodSelector, ...]) -> Iterator[_Equals]:
        few = next((selector.namespaces for selector in selectors if selector.is_of_few), None)
        for namespace in tuple(self._kinds) if few is None else few:
            yield from self._kinds.get(namespace, {}).values()

    def _set(self, uid: str, pod: PlacedPod, node: str, *, held: bool) -> None:
        known = self._places.get(uid)
        if known is not None and known.node == node and known.equals.pod == pod:
            known.held = held
            return
        self._drop(uid)
        equals = self._kinds.get(pod.namespace, {}).get(pod) or _Equals(pod)
        self._places[uid] = _Place(equals, node, held)
        self._count(equals, node, 1)

    def _drop(self, uid: str) -> None:
        known = self._places.pop(uid, None)
        if known is not None:
            self._count(known.equals, known.node, -1)

    def _count(self, equals: _Equals, node: str, number: int) -> None:
        pod = equals.pod
        self.generation += 1
        self._generations[pod.namespace] = self._generations.get(pod.namespace, 0) + 1
        _add(equals.on, node, number)
        kinds = self._kinds.setdefault(pod.namespace, {})
        if equals.on:
            kinds[pod] = equals
        else:
            del kinds[pod]
            if not kinds:
                del self._kinds[pod.namespace]
        if pod.anti_affinity:
            if equals.on and pod not in self._apart:
                self._apart[pod] = equals
                self._kept_away.clear()
            elif not equals.on:
                del self._apart[pod]
                self._kept_away.clear()
        if pod.ports:
            self._count_ports(pod.ports, node, number)
        for claim in pod.claims:
            _add(self._claims, f"{pod.namespace}/{claim}", number)
        if pod.unread:
            _add(self.unread, pod.unread, number)
        for selection in self._selections.values():
            selection.count(pod, {node: number})

    def _count_ports(self, ports: tuple[HostPort, ...], node: str, number: int) -> None:
        taken = self._ports.setdefault(node, {})
        for port in ports:
            _add(taken, port, number)
        if not taken:
            del self._ports[node]


def _add(numbers: dict[_Key, int], key: _Key, number: int) -> None:
    now = numbers.get(key, 0) + number
    if now:
        numbers[key] = now
    else:
        del numbers[key]
