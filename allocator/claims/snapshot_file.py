"""Snapshot file: a cluster's nodes, GPUs, slices, claims and what is known of the pods, as text that can be kept.

Written by `migsched capacity --save` from the live state, read by every planner, so that a question can be asked
again, elsewhere, without the cluster. JSON with a version; fields that this version does not know are ignored.
`encode` and `decode` turn a Saved into text and back, `Writer` writes piece by piece; `describe` makes one from a fleet
that has not been bought yet.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from allocator import errors
from allocator.claims.disruption_budget import DisruptionBudget
from allocator.claims.snapshot import GpuView, NodeView, Occupant, Snapshot
from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement

KIND = "migsched-snapshot"
VERSION = 2  # 1 said nothing of where pods may run
_READABLE = (1, 2)
IDLE = "idle"  # the state of an occupant that counts as free room

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
_NOTE = 1024
_Text = Annotated[str, msgspec.Meta(max_length=_NOTE)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=4096)]


@dataclass(frozen=True, slots=True)
class WaitingFacts:
    """Of a pod without a node: `namespace/name`, the slices that it asks for, when it was created, its gates, and its
    scheduler where that is not one of ours.
    """

    name: str
    profiles: tuple[tuple[str, int], ...]
    created: str = ""
    gates: tuple[str, ...] = ()
    scheduler: str = ""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What a planner must know of a pod beside its slices: may it be restarted, how important is it, whose is it, on
    which nodes may it run (None where that is not known), is it on its way out, and what it asks for while it waits.
    """

    movable: bool = False
    priority: int = 0
    service: str = ""  # what owns it, such as `Deployment/chat`; empty for a pod of its own
    constraints: PodConstraints | None = None
    terminating: bool = False
    waiting: WaitingFacts | None = None
    kept: str = ""  # why it may not be moved, in words, where that is known

    @property
    def asked(self) -> Amounts:
        """What it takes of a node beside slices; nothing where that is not known."""
        return NOTHING if self.constraints is None else self.constraints.requests


@dataclass(frozen=True, slots=True)
class Saved:
    """A snapshot with what is known of its pods (by UID) and their budgets. Pods without facts stay where they are.

    `notes` say in plain words what could not be found out; answers about the snapshot repeat them.
    """

    snapshot: Snapshot
    pods: Mapping[str, PodFacts] = field(default_factory=dict)
    budgets: tuple[DisruptionBudget, ...] = ()
    notes: tuple[str, ...] = ()


class _Slice(msgspec.Struct, frozen=True, omit_defaults=True):
    profile: _Name
    start: _Count
    size: _Count
    state: _Name
    namespace: _Text = ""
    pod: _Text = ""
    container: _Text = ""
    uid: _Text = ""


class _Gpu(msgspec.Struct, frozen=True, omit_defaults=True):
    uuid: _Name
    index: _Count
    product: _Text = ""
    catalogue: str = ""  # a key of the file's catalogues
    problem: _Text = ""
    slices: Annotated[tuple[_Slice, ...], msgspec.Meta(max_length=64)] = ()


class _Node(msgspec.Struct, frozen=True, omit_defaults=True):
    name: _Name
    gpus: Annotated[tuple[_Gpu, ...], msgspec.Meta(max_length=64)] = ()
    problem: _Text = ""
    facts: NodeFacts | None = None
    closed: _Text = ""
    used: Amounts | None = None
    labels: tuple[int, ...] | UnsetType = UNSET  # indices of the file's labels; where unset, they are in the facts


class _Pod(msgspec.Struct, frozen=True):
    movable: bool = False
    priority: int = 0
    service: str = ""
    constraints: int | UnsetType = UNSET  # an index of the file's constraints
    terminating: bool | UnsetType = UNSET
    waiting: WaitingFacts | UnsetType = UNSET
    kept: _Text | UnsetType = UNSET


class _File(msgspec.Struct, frozen=True):
    kind: str
    version: int
    catalogues: Mapping[str, Catalogue]
    nodes: tuple[_Node, ...]
    pods: Mapping[str, _Pod] = {}
    constraints: tuple[PodConstraints, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # of nodes
    disruption_budgets: tuple[DisruptionBudget, ...] = ()
    notes: tuple[_Text, ...] = ()


class _Head(msgspec.Struct, frozen=True):
    kind: str = ""
    version: int = 0


class Writer:
    """A snapshot file in pieces, for a writer that must not block on a large cluster: JSON, a line per node and pod.

    `node` and `pod` give the piece of one more node or pod, `head` and `tail` what comes before, between and after: a
    file is `head()`, nodes in name order, `between()`, pods, `tail(…)`.
    """

    def __init__(self) -> None:
        self._keys: dict[Catalogue, str] = {}
        self._constraints: dict[PodConstraints, int] = {}  # most pods come from a few templates
        self._labels: dict[tuple[str, str], int] = {}  # nodes share most of theirs
        self._first = True

    def head(self) -> bytes:
        """What comes before the nodes."""
        return b'{"kind": %b,\n"version": %d,\n"nodes": [\n' % (msgspec.json.encode(KIND), VERSION)

    def node(self, node: NodeView) -> bytes:
        """One more node."""
        for gpu in node.gpus:
            if gpu.catalogue is not None and gpu.catalogue not in self._keys:
                alike = sum(c.model == gpu.catalogue.model for c in self._keys)
                self._keys[gpu.catalogue] = gpu.catalogue.model + (f"#{alike + 1}" if alike else "")
        return self._next(msgspec.json.encode(self._wire_node(node)))

    def _wire_node(self, node: NodeView) -> _Node:
        gpus, facts = tuple(_wire_gpu(gpu, self._keys) for gpu in node.gpus), node.facts
        labels: tuple[int, ...] | UnsetType = UNSET
        if facts is not None and facts.labels is not None:
            labels = tuple(self._labels.setdefault(label, len(self._labels)) for label in facts.labels.items())
            facts = dataclasses.replace(facts, labels={})
        return _Node(node.name, gpus, node.problem, facts, node.closed, node.used, labels)

    def between(self) -> bytes:
        """What comes between nodes and pods: what the GPUs on the nodes can be cut into."""
        self._first = True
        catalogues = [
            msgspec.json.encode(k) + b": " + msgspec.json.encode(catalogue) for catalogue, k in self._keys.items()
        ]
        return b'\n],\n"catalogues": {\n' + b",\n".join(catalogues) + b'\n},\n"pods": {\n'

    def pod(self, uid: str, facts: PodFacts) -> bytes:
        """What is known of one more pod."""
        index: int | UnsetType = UNSET
        if facts.constraints is not None:
            index = self._constraints.setdefault(facts.constraints, len(self._constraints))
        unset_unless = (facts.terminating or UNSET, facts.waiting or UNSET, facts.kept[:_NOTE] or UNSET)
        wire = _Pod(facts.movable, facts.priority, facts.service, index, *unset_unless)
        return self._next(msgspec.json.encode(uid) + b": " + msgspec.json.encode(wire))

    def tail(self, budgets: Sequence[DisruptionBudget] = (), notes: Sequence[str] = ()) -> bytes:
        """What comes after the pods."""
        lines = b",\n".join(map(msgspec.json.encode, budgets))
        said = msgspec.json.encode([note[:_NOTE] for note in notes])
        asked = b",\n".join(map(msgspec.json.encode, self._constraints))
        return (
            b'\n},\n"constraints": [\n'
            + asked
            + b'\n],\n"labels": [\n'
            + b",\n".join(map(msgspec.json.encode, self._labels))
            + b'\n],\n"disruption_budgets": [\n'
            + lines
            + b'\n],\n"notes": '
            + said
            + b"}\n"
        )

    def _next(self, line: bytes) -> bytes:
        line = line if self._first else b",\n" + line
        self._first = False
        return line


def encode(saved: Saved) -> str:
    """The text of a snapshot file, pods in the order of their UIDs."""
    writer = Writer()
    parts = [writer.head(), *map(writer.node, saved.snapshot.nodes), writer.between()]
    parts += [writer.pod(uid, facts) for uid, facts in sorted(saved.pods.items())]
    return b"".join((*parts, writer.tail(saved.budgets, saved.notes))).decode()


def decode(text: str | bytes) -> Saved:
    """The snapshot in a file's text. Raises InputError naming what is wrong and where."""
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.kind != KIND:
            raise errors.InputError("snapshot file: kind", head.kind, f"must be {KIND}; is this the right file?")
        if head.version not in _READABLE:
            readable = " and ".join(map(str, _READABLE))
            fix = f"this migsched reads versions {readable}; save the snapshot again, or use the migsched that wrote it"
            raise errors.InputError("snapshot file: version", head.version, fix)
        file = msgspec.json.decode(text, type=_File)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        start = text[:80].decode(errors="replace") if isinstance(text, bytes) else text[:80]
        raise errors.InputError("snapshot file", start, f"cannot be read: {error}") from error
    nodes = tuple(_node(node, file) for node in sorted(file.nodes, key=lambda node: node.name))
    _check_distinct([node.name for node in nodes], "snapshot file: nodes[].name")
    _check_distinct([gpu.uuid for node in nodes for gpu in node.gpus], "snapshot file: nodes[].gpus[].uuid")
    pods = {uid: _pod(uid, pod, file.constraints) for uid, pod in file.pods.items()}
    return Saved(Snapshot(nodes), pods, file.disruption_budgets, file.notes)


def describe(nodes: Sequence[tuple[Catalogue, int, int]]) -> Saved:
    """A cluster of empty GPUs: per model, how many nodes, and how many GPUs each has. Names say what they are."""
    views = []
    for catalogue, count, gpus in nodes:
        for number in range(count):
            name = f"{catalogue.model}-{number:04}"
            views.append(NodeView(name, tuple(empty_gpu(name, index, catalogue) for index in range(gpus))))
    return Saved(Snapshot(tuple(sorted(views, key=lambda view: view.name))))


def empty_gpu(node: str, index: int, catalogue: Catalogue) -> GpuView:
    """A healthy GPU with nothing on it, named after its node."""
    return GpuView(
        node=node,
        uuid=f"{node}-gpu-{index}",
        index=index,
        product=catalogue.model,
        model=catalogue.model,
        memory_slices=catalogue.memory_slices,
        mask=0,
        occupants=(),
        catalogue=catalogue,
    )


def _wire_gpu(gpu: GpuView, keys: Mapping[Catalogue, str]) -> _Gpu:
    return _Gpu(
        uuid=gpu.uuid,
        index=gpu.index,
        product=gpu.product,
        catalogue="" if gpu.catalogue is None else keys[gpu.catalogue],
        problem=gpu.problem,
        slices=tuple(
            _Slice(
                occupant.placement.profile,
                occupant.placement.start,
                occupant.placement.size,
                occupant.state,
                occupant.namespace,
                occupant.pod,
                occupant.container,
                occupant.uid,
            )
            for occupant in gpu.occupants
        ),
    )


def _node(wire: _Node, file: _File) -> NodeView:
    gpus = tuple(_gpu(wire.name, gpu, file.catalogues) for gpu in wire.gpus)
    facts = wire.facts
    if facts is not None and wire.labels is not UNSET:
        bad = next((index for index in wire.labels if not 0 <= index < len(file.labels)), None)
        if bad is not None:
            where = f"snapshot file: node {wire.name}: labels"
            raise errors.InputError(where, bad, "is not among the file's labels")
        facts = dataclasses.replace(facts, labels=dict(file.labels[index] for index in wire.labels))
    return NodeView(wire.name, gpus, wire.problem, facts, wire.closed, wire.used)


def _pod(uid: str, wire: _Pod, constraints: Sequence[PodConstraints]) -> PodFacts:
    index = wire.constraints
    if index is not UNSET and not 0 <= index < len(constraints):
        raise errors.InputError(
            f"snapshot file: pods: {uid}: constraints", index, "is not among the file's constraints"
        )
    asked = None if index is UNSET else constraints[index]
    waiting = None if wire.waiting is UNSET else wire.waiting
    kept = "" if wire.kept is UNSET else wire.kept
    return PodFacts(wire.movable, wire.priority, wire.service, asked, wire.terminating is True, waiting, kept)


def _gpu(node: str, wire: _Gpu, catalogues: Mapping[str, Catalogue]) -> GpuView:
    where = f"snapshot file: node {node}: GPU {wire.uuid}"
    if wire.catalogue and wire.catalogue not in catalogues:
        raise errors.InputError(f"{where}: catalogue", wire.catalogue, "is not among the file's catalogues")
    catalogue = catalogues.get(wire.catalogue)
    occupants = tuple(
        Occupant(Placement(s.profile, s.start, s.size), s.state, s.namespace, s.pod, s.container, s.uid)
        for s in wire.slices
    )
    taken = [occupant.placement for occupant in occupants if occupant.state != IDLE]
    view = GpuView(
        node=node,
        uuid=wire.uuid,
        index=wire.index,
        product=wire.product,
        model=catalogue.model if catalogue else "",
        memory_slices=catalogue.memory_slices if catalogue else 0,
        mask=_mask(taken),
        occupants=occupants,
        problem=wire.problem,
        catalogue=catalogue,
    )
    if view.problem or catalogue is None:
        return view
    try:
        geometry.compiled(catalogue).state_of(taken)
    except errors.GeometryError as error:
        return dataclasses.replace(view, problem=str(error))
    return view


def _mask(placements: Sequence[Placement]) -> int:
    mask = 0
    for placement in placements:
        mask |= placement.mask
    return mask


def _check_distinct(names: Sequence[str], where: str) -> None:
    earlier: set[str] = set()
    for name in names:
        if name in earlier:
            raise errors.InputError(where, name, "appears twice; names must be distinct")
        earlier.add(name)
