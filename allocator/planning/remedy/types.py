"""RemedyDocument and RemedyAnswer: what a remedy is asked for and what comes back, as types.

    pod:      default/train
    profiles: {3g.20gb: 1}
    priority: 0
    moves:    10
    left_out: [node-7]
    ending:   [{uid: …, pod: default/etl, ends: 2026-01-31T12:00:00Z, terminating: true}]

Used by `remedy` and by the API, which writes the document itself.
"""

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

from allocator.planning.capacity.types import ProfileSwap
from allocator.planning.fields import MAX_ENTRIES, AnswerPart, DocumentPart, Key, Text
from allocator.planning.repack.types import MAX_MOVES, PodMove, Priority
from allocator.request import MAX_SLICES_PER_POD


class EndingPod(DocumentPart, frozen=True):
    """A pod that is known to end: `ends` is when, RFC 3339 in UTC."""

    uid: Text
    pod: Text
    ends: Text
    terminating: bool = False


class RemedyDocument(DocumentPart, frozen=True):
    """What a remedy is asked for. `left_out` are the nodes that may not run the pod."""

    pod: Text
    profiles: dict[Key, Annotated[int, Meta(ge=1, le=MAX_SLICES_PER_POD)]]
    priority: Priority = 0
    moves: Annotated[int, Meta(ge=0, le=MAX_MOVES)] = 10
    left_out: Annotated[tuple[Text, ...], Meta(max_length=MAX_ENTRIES)] = ()
    ending: Annotated[tuple[EndingPod, ...], Meta(max_length=MAX_ENTRIES)] = ()


class RemedyState(enum.StrEnum):
    """What a search came to."""

    FITS = "fits"  # the pod fits as things stand
    FOUND = "found"
    NONE_FOUND = "none_found"  # nothing was found, and nothing is proven
    NONE_EXISTS = "none_exists"  # proven


class WaitRemedy(AnswerPart, tag="wait", tag_field="kind", frozen=True):
    """Wait until these pods end, on this node."""

    node: str
    pods: list[str]
    until: str
    terminating: bool


class MovesRemedy(AnswerPart, tag="moves", tag_field="kind", frozen=True):
    """Restart these pods in this order; then the pod fits on this node."""

    node: str
    moves: list[PodMove]
    gpc: int
    optimal: bool


class ProfileRemedy(AnswerPart, tag="profile", tag_field="kind", frozen=True):
    """Ask for other profiles with no less memory, which fit now on this node."""

    node: str
    swaps: list[ProfileSwap]


class NodesRemedy(AnswerPart, tag="nodes", tag_field="kind", frozen=True):
    """Add so many nodes with so many empty GPUs of a model each."""

    nodes: int
    model: str
    gpus_per_node: int


Remedy = WaitRemedy | MovesRemedy | ProfileRemedy | NodesRemedy


class RemedyTrial(AnswerPart, frozen=True):
    """What the search for one kind of remedy came to, and why it found nothing."""

    kind: str
    state: RemedyState
    reason: str


class RemedyAnswer(AnswerPart, frozen=True):
    """The remedies found, the cheapest first, and what each search came to."""

    pod: str
    state: RemedyState
    reason: str
    cheapest: Remedy | None
    remedies: list[Remedy]
    trials: list[RemedyTrial]
    time_limit_s: float
    notes: list[str] = msgspec.field(default_factory=list)
