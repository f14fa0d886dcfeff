"""Standing: what is known of a pod without looking at any node: where it lies, or what keeps it from being looked at.
Used by `explanation` and `pending`.

The first of these that applies is the answer: it cannot be read; it holds slices; it has a node; it is in our queue;
another scheduler's; terminating; gated; nominated. Of none of these, the pod waits for a node, and the nodes say why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from allocator.claims.ledger import Claim, ClaimState
from allocator.claims.report import GpuReport
from allocator.queueing.queued_pod import GATE
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.explain import queue_standing
from scheduler.explain.codes import ExplanationCode
from scheduler.kube_scheduler_config import SCHEDULER_NAME

_NAMED = 5  # pods or GPUs in one sentence; more are counted
_OWNERS = {  # of a gate, by the end of its domain
    "kueue.x-k8s.io": "Kueue",
    "grove.io": "Grove",
    "koordinator.sh": "Koordinator",
    "volcano.sh": "Volcano",
    "run.ai": "run:ai",
    "jobset.x-k8s.io": "JobSet",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A phase, `bound`, `pending` or `invalid`, the code and the sentence for it."""

    phase: str
    code: ExplanationCode
    reason: str


def of(state: ClusterCache, pod: KnownPod) -> Standing | None:
    """Where a pod stands; None for a pod that waits for a node that takes it."""
    if pod.request is None:
        return Standing("invalid", ExplanationCode.INVALID, pod.problem)
    claim = state.inventory.ledger.get(pod.uid)
    if claim is not None:
        return _holding(state, pod, claim)
    if pod.node:
        return _bound(state, pod)
    facts = pod.scheduling
    queued = state.queue.get(pod.uid)
    if queued is not None:
        return Standing("pending", *queue_standing.of(state, queued))
    if is_of_another_scheduler(state, pod):
        return Standing("pending", ExplanationCode.OTHER_SCHEDULER, _of_another(state, facts.scheduler))
    if facts.terminating:
        return Standing("pending", ExplanationCode.TERMINATING, "it is being deleted and will get no node")
    if facts.gate_count:
        return Standing("pending", ExplanationCode.GATED, _gated(facts.gates, facts.gate_count))
    if facts.nominated_node:
        return Standing("pending", ExplanationCode.NOMINATED, _nominated(state, pod))
    return None


def is_of_another_scheduler(state: ClusterCache, pod: KnownPod) -> bool:
    """Whether a pod names a scheduler that has not asked us, and does not wait at our gate."""
    return GATE not in pod.scheduling.gates and not state.waiting.is_ours(pod.scheduling.scheduler)


def _of_another(state: ClusterCache, scheduler: str) -> str:
    asked = f"its schedulerName is {scheduler}, and migsched is asked about pods of {SCHEDULER_NAME}"
    if state.queueing:
        fix = "make it anew as one that the queue's admission policy admits"
        return f"{asked} or with the gate {GATE}, which it has not; {fix}"
    return f"{asked}; write schedulerName: {SCHEDULER_NAME}"


def named(names: Sequence[str], what: str = "") -> str:
    """The first few of many names, and how many more there are."""
    more = len(names) - _NAMED
    listed = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{what}{'' if len(names) == 1 else 's'} {listed}" if what else listed


def _holding(state: ClusterCache, pod: KnownPod, claim: Claim) -> Standing:
    code = ExplanationCode(claim.state.value)
    leaving = ", and it is being deleted" if pod.scheduling.terminating else ""
    reason = f"its slices are {claim.state.value}{leaving}"
    report = state.inventory.report(claim.node)
    gpus = report.by_uuid() if report is not None else {}
    of_claim = sorted({hold.gpu for hold in claim.holds})
    gone = [uuid for uuid in of_claim if uuid not in gpus]
    ill = [gpus[uuid] for uuid in of_claim if uuid in gpus and not gpus[uuid].usable]
    if report is None or (gone and not report.problem):
        code = ExplanationCode.GPU_GONE
        what = f"node {claim.node} has no report any more" if report is None else f"{named(gone, 'GPU')} of its slices"
        left = "" if report is None else f" {'is' if len(gone) == 1 else 'are'} not reported any more"
        reason = f"{what}{left}; delete the pod so that it is placed again"
    elif ill:
        code = ExplanationCode.GPU_ILL
        reason = f"{reason}, on {_ill(ill)}"
    return Standing("bound", code, reason)


def _ill(gpus: Iterable[GpuReport]) -> str:
    said = [
        f"GPU {gpu.index}: {gpu.message[:200] or 'unhealthy' if not gpu.healthy else 'not in MIG mode'}" for gpu in gpus
    ]
    return "; ".join(said[:_NAMED])


def _bound(state: ClusterCache, pod: KnownPod) -> Standing:
    if pod.node not in state.inventory.nodes:
        reason = f"bound to node {pod.node}, which does not exist; delete the pod so that it is placed again"
        return Standing("bound", ExplanationCode.NODE_GONE, reason)
    why = f" that can be kept ({pod.not_adopted})" if pod.not_adopted else " of ours"
    return Standing("bound", ExplanationCode.NOT_ADOPTED, f"bound without a placement{why}; its agent decides")


def _gated(gates: Sequence[str], number: int) -> str:
    owners = dict.fromkeys(owner for gate in gates if (owner := _owner(gate)))
    of_whom = f" of {' and '.join(owners)}" if owners else ""
    what = "scheduling gate" if number == 1 else f"{number} scheduling gates"
    more = f" and {number - len(gates)} more" if number > len(gates) else ""
    listed = ", ".join(gates) + more
    return f"held by the {what} {listed}{of_whom}; kube-scheduler does not look at it before they are removed"


def _owner(gate: str) -> str:
    domain = gate.partition("/")[0]
    return next((name for end, name in _OWNERS.items() if domain == end or domain.endswith(f".{end}")), "")


def _nominated(state: ClusterCache, pod: KnownPod) -> str:
    node = pod.scheduling.nominated_node
    leaving = sorted(claim.pod for claim in state.inventory.ledger.on_node(node) if _is_leaving(state, claim))
    if not leaving:
        return f"nominated to node {node}, where no pod is ending any more; kube-scheduler tries it again"
    return f"nominated to node {node}, where it waits for {named(leaving, 'pod')} to end"


def _is_leaving(state: ClusterCache, claim: Claim) -> bool:
    known = state.pods.get(claim.uid)
    return claim.state is ClaimState.RELEASING or (known is not None and known.scheduling.terminating)
