"""One pod's explanation, and those of all pods: what is known of it, then the nodes. Called by the API and the demo."""

from collections.abc import AsyncIterator, Hashable
from typing import Any

from allocator.claims import same_gpu
from allocator.placement.misfit import Misfit, Reason
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cooperative import paced
from scheduler.explain import eligible, kept_room, node_counts, queue_standing, standing
from scheduler.explain.codes import ExplanationCode
from scheduler.explain.node_counts import NodeCounts
from scheduler.extender.nominated_room import NominatedRoom

_NO_ROOM = (ExplanationCode.FULL, ExplanationCode.FRAGMENTED)

_ASKS_NODES = (
    ExplanationCode.NOMINATED,
    ExplanationCode.QUEUED,
    ExplanationCode.MAKING_ROOM,
    ExplanationCode.PROTECTED,
    ExplanationCode.EVICTION_REFUSED,
)


def explain(state: ClusterCache, pod: KnownPod) -> dict[str, Any]:
    """The explanation of one pod, as a JSON-able mapping: phase, code, reason, and per node why not."""
    answer, pending = begin(state, pod)
    if pending is None:
        return answer
    counts = node_counts.count(state, pending, eligible.judge_of(state, pod))
    return with_position(conclude(answer, pod, kept_room.applied(state, NominatedRoom(state), pod, counts)))


async def explain_in_steps(state: ClusterCache, pod: KnownPod) -> dict[str, Any]:
    """The same with the loop given back after each group of nodes."""
    answer, pending = begin(state, pod)
    if pending is None:
        return answer
    counts = await node_counts.count_in_steps(state, pending, eligible.judge_of(state, pod))
    return with_position(conclude(answer, pod, kept_room.applied(state, NominatedRoom(state), pod, counts)))


class SharedCounts:
    """Explanations of many pods without their nodes, which are thousands for each of hundreds of pods that wait.

    Pods that ask the same and may run on the same nodes are looked at together. Their reasons are the same text: where
    each of them stands in the queue is in `queue_position` alone.
    """

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._room = NominatedRoom(state)
        self._counts: dict[tuple[Request, Hashable], NodeCounts] = {}  # whatever room is kept for others
        self._left: dict[tuple[Request, Hashable, Hashable], NodeCounts] = {}  # beside that room

    def knows(self, pod: KnownPod) -> bool:
        """Whether a pod like this one was looked at, so that it costs next to nothing."""
        return (pod.request, eligible.alike(pod)) in self._counts

    async def explain(self, pod: KnownPod) -> dict[str, Any]:
        """One pod's explanation without its nodes, in steps."""
        answer, pending = begin(self._state, pod)
        if pending is None:
            return answer
        key = (pending, eligible.alike(pod))
        if key not in self._counts:
            judge = eligible.judge_of(self._state, pod)
            self._counts[key] = await node_counts.count_in_steps(self._state, pending, judge)
        kept_from = (*key, kept_room.alike(self._state, self._room, pod))
        if kept_from not in self._left:
            self._left[kept_from] = kept_room.applied(self._state, self._room, pod, self._counts[key])
        return conclude(answer, pod, self._left[kept_from]) | {"nodes": {}}


async def every(state: ClusterCache) -> AsyncIterator[dict[str, Any]]:
    """The explanations of all pods, by name, without their nodes."""
    shared = SharedCounts(state)
    async for pod in paced(sorted(state.pods.values(), key=lambda p: (p.namespace, p.name))):
        yield await shared.explain(pod)


def begin(state: ClusterCache, pod: KnownPod) -> tuple[dict[str, Any], Request | None]:
    """What is known of a pod without looking at nodes; and what it asks for, if the nodes are to be asked about it."""
    facts, request = pod.scheduling, pod.request
    claim = state.inventory.ledger.get(pod.uid)
    stands = standing.of(state, pod)
    answer: dict[str, Any] = {
        "namespace": pod.namespace,
        "pod": pod.name,
        "uid": pod.uid,
        "request": str(request) if request is not None else "",
        "phase": stands.phase if stands is not None else "pending",
        "node": claim.node if claim is not None else pod.node,
        "reason": stands.reason if stands is not None else "",
        "nodes": {},
        "slices": [],
        "code": stands.code if stands is not None else "",
        "profiles": dict(request.counts) if request is not None else {},
        "priority": pod.priority,
        "service": pod.service,
        "scheduler": facts.scheduler,
        "since": facts.created,
        "gates": list(facts.gates),
        "gates_left_out": facts.gate_count - len(facts.gates),
        "queue_position": queue_standing.position(state, pod.uid),
        "nominated_node": facts.nominated_node,
        "kube_scheduler": facts.message,
        "ends": facts.ends,
        "nodes_looked_at": 0,
        "counts": {},
        "ineligible": {},
        "not_looked_at": [],
        "notes": [pod.note] if pod.note else [],
    }
    if claim is not None:
        answer["slices"] = [
            {
                "container": hold.container,
                "gpu": hold.gpu,
                "profile": hold.placement.profile,
                "start": hold.placement.start,
                "size": hold.placement.size,
            }
            for hold in claim.holds
        ]
        packed = request is not None and request.packed
        together = "" if packed else same_gpu.sentence((hold.container, hold.gpu) for hold in claim.holds)
        answer["notes"] += [together] if together else []
    asks_nodes = stands is None or stands.code in _ASKS_NODES
    return answer, request if asks_nodes else None


def conclude(answer: dict[str, Any], pod: KnownPod, counts: NodeCounts) -> dict[str, Any]:
    """The explanation of a pod that waits for a node, once the nodes were asked."""
    code, reason = _verdict(pod, counts)
    if answer["code"] is ExplanationCode.QUEUED:
        room = f"{counts.fitting} of {counts.looked_at} nodes have room"
        code, reason = (answer["code"], room) if counts.fitting else (code, reason)
        reason = f"{reason}; {answer['reason']}"
    elif answer["code"]:  # nominated, or room is made for it: where it waits counts more than what the nodes say
        code, reason = answer["code"], f"{answer['reason']}; {reason}"
    return answer | {
        "nodes": counts.refused,
        "code": code,
        "reason": reason,
        "nodes_looked_at": counts.looked_at,
        "counts": {code.value: number for code, number in counts.codes.most_common() if number},
        "ineligible": dict(counts.ineligible.most_common()),
        "not_looked_at": list(counts.not_looked_at),
        "notes": [*answer["notes"], *_kept_for(counts)],
    }


def _kept_for(counts: NodeCounts) -> list[str]:
    return [f"room is kept for {standing.named(list(counts.kept_for), 'pod')}"] if counts.kept_for else []


def with_position(answer: dict[str, Any]) -> dict[str, Any]:
    """An explanation with the pod's place in the queue in its reason."""
    if answer["queue_position"] is None:
        return answer
    return answer | {"reason": f"{answer['reason']}, {queue_standing.before(answer['queue_position'])}"}


def _verdict(pod: KnownPod, counts: NodeCounts) -> tuple[ExplanationCode, str]:
    if not counts.looked_at:
        return ExplanationCode.NO_NODES, "the cluster has no nodes"
    if counts.fitting:
        return _with_room(pod, counts)
    no_room = Misfit(Reason.NO_ROOM, str(pod.request)).message
    said = []
    for message, number in counts.messages.most_common():
        parts = [f"{counts.codes[code]} {code.value}" for code in _NO_ROOM if counts.codes[code]]
        more = f" ({', '.join(parts)})" if message == no_room else ""
        said.append(f"{number} {'node' if number == 1 else 'nodes'}: {message}{more}")
    return counts.commonest, "; ".join(said)


def _with_room(pod: KnownPod, counts: NodeCounts) -> tuple[ExplanationCode, str]:
    room = f"{counts.fitting} of {counts.looked_at} nodes have room"
    message = pod.scheduling.message
    if not message:
        return ExplanationCode.HAS_ROOM, f"{room}; kube-scheduler has not bound it yet"
    waits = Misfit(Reason.WAITS_TURN, str(pod.request)).message in message
    code = ExplanationCode.WAITS_TURN if waits else ExplanationCode.KUBE_SCHEDULER
    return code, f"{room} for its slices; kube-scheduler said last: {message}"
