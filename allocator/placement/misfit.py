"""Misfit: why a request does not fit a node, in one of few stable sentences.

kube-scheduler counts identical sentences over nodes ("3 no free 3g.20gb placement"), repeats them in the pod's
condition and wakes the pod when they change: so a sentence may name what the pod asks, never a node, a GPU or a
number that moves.
"""

import enum
from dataclasses import dataclass

from allocator.mig.geometry import Geometry
from allocator.placement import fitting
from allocator.placement.kept import kept


class Reason(enum.Enum):
    """Why not. The value is the metric label."""

    UNKNOWN_NODE = "unknown_node"
    NO_REPORT = "no_report"
    BAD_REPORT = "bad_report"
    NO_MIG = "no_mig"
    NOT_OFFERED = "not_offered"
    TOO_LARGE = "too_large"
    NO_ROOM = "no_room"
    NOMINATED = "nominated"
    RESERVATION = "reservation"
    TOO_COMPLEX = "too_complex"
    BOUND_ELSEWHERE = "bound_elsewhere"
    WAITS_TURN = "waits_turn"


# Could evicting other pods help? Only then kube-scheduler should try preemption on the node.
_RESOLVABLE = {Reason.NO_ROOM, Reason.NOMINATED, Reason.RESERVATION, Reason.TOO_COMPLEX}

_SENTENCES = {
    Reason.UNKNOWN_NODE: "node not known to migsched yet",
    Reason.NO_REPORT: "no MIG report from the node's agent",
    Reason.BAD_REPORT: "the node agent's MIG report cannot be used; migsched top says why",
    Reason.NO_MIG: "no healthy GPU in MIG mode",
    Reason.NOT_OFFERED: "no GPU offers {request}",
    Reason.TOO_LARGE: "{request} is more than all its GPUs could hold empty",
    Reason.NO_ROOM: "no free {request} placement on any GPU",
    Reason.NOMINATED: "room for {request} is kept for a nominated pod of no lower priority",
    Reason.RESERVATION: "room for {request} is kept by the reservation of a pod that has waited longer",
    Reason.TOO_COMPLEX: "{request} mixes too many slices to be placed exactly",
    Reason.BOUND_ELSEWHERE: "the pod already holds slices on another node",
    Reason.WAITS_TURN: "{request} waits its turn: its namespace asks for many different mixes of slices",
}


@dataclass(frozen=True, slots=True)
class Misfit:
    """A refused node: the reason, and the request in words."""

    reason: Reason
    request: str

    @property
    def resolvable(self) -> bool:
        """Whether preemption could help (FailedNodes) or not (FailedAndUnresolvableNodes)."""
        return self.reason in _RESOLVABLE

    @property
    def message(self) -> str:
        """The sentence for people, stable for one request."""
        return _SENTENCES[self.reason].format(request=self.request)


@kept(maxsize=4096)  # asked again for each pod that does not fit; pods may ask for any counts
def on_empty(geometries: tuple[Geometry, ...], counts: tuple[tuple[str, int], ...]) -> Reason:
    """Why a request does not fit GPUs of these geometries: judged as if they were empty."""
    if any(not any(name in geometry.profile_index for geometry in geometries) for name, _ in counts):
        return Reason.NOT_OFFERED
    try:
        fits_empty = fitting.fits([(geometry, Geometry.EMPTY) for geometry in geometries], dict(counts))
    except fitting.TooComplexError:
        return Reason.TOO_COMPLEX
    return Reason.NO_ROOM if fits_empty else Reason.TOO_LARGE
