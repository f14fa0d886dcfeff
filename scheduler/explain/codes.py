"""ExplanationCode: the reasons of explanations as words that programs may rely on. A code is never renamed.

Reasons of nodes are those of `misfit.Reason`, which are also the labels of the metric
`migsched_extender_decisions_total`; `no_room` is told apart here, as `full` and `fragmented`,
and `nominated` is `room_kept`, since a pod may be nominated as well. States of claims are
those of the ledger. docs/explain.md lists all of them; a test compares.
"""

import enum


class ExplanationCode(enum.StrEnum):
    """Why a pod is where it is, or nowhere; and, from `HAS_ROOM` on, what a node says to its request."""

    WHOLE_GPU = "whole_gpu"
    NO_SLICES = "no_slices"
    INVALID = "invalid"
    OTHER_SCHEDULER = "other_scheduler"
    OVER = "over"
    REFUSED_BY_AGENT = "refused_by_agent"
    RESERVED = "reserved"
    BOUND = "bound"
    READY = "ready"
    RELEASING = "releasing"
    GPU_GONE = "gpu_gone"
    GPU_ILL = "gpu_ill"
    NODE_GONE = "node_gone"
    NOT_ADOPTED = "not_adopted"
    TERMINATING = "terminating"
    GATED = "gated"
    QUEUED = "queued"
    MAKING_ROOM = "making_room"
    PROTECTED = "protected"
    EVICTION_REFUSED = "eviction_refused"
    GANG_INCOMPLETE = "gang_incomplete"
    UNBINDABLE = "unbindable"
    NOMINATED = "nominated"
    WAITS_TURN = "waits_turn"
    KUBE_SCHEDULER = "kube_scheduler"
    NO_NODES = "no_nodes"
    HAS_ROOM = "has_room"
    FULL = "full"
    FRAGMENTED = "fragmented"
    RESERVATION = "reservation"
    ROOM_KEPT = "room_kept"
    TOO_COMPLEX = "too_complex"
    TOO_LARGE = "too_large"
    NOT_OFFERED = "not_offered"
    NO_MIG = "no_mig"
    BAD_REPORT = "bad_report"
    NO_REPORT = "no_report"
    UNKNOWN_NODE = "unknown_node"
    INELIGIBLE = "ineligible"


def event_reason(code: ExplanationCode) -> str:
    """A code as the reason of an Event: `gang_incomplete` is `GangIncomplete`."""
    return "".join(word.capitalize() for word in code.value.split("_"))


MEANINGS = {
    ExplanationCode.WHOLE_GPU: "it asks for `nvidia.com/gpu`, a whole GPU, which migsched does not hand out",
    ExplanationCode.NO_SLICES: "it asks for no MIG slice",
    ExplanationCode.INVALID: "what it asks for cannot be read, such as an unknown spelling of a profile",
    ExplanationCode.OTHER_SCHEDULER: "its `schedulerName` is another scheduler's",
    ExplanationCode.OVER: "it succeeded or failed",
    ExplanationCode.REFUSED_BY_AGENT: "it failed because its node's agent refused it its slices",
    ExplanationCode.RESERVED: "its slices are chosen; the Binding is not confirmed yet",
    ExplanationCode.BOUND: "it is bound; its slices are not reported cut yet",
    ExplanationCode.READY: "its slices are cut and owned by it",
    ExplanationCode.RELEASING: "it is over, but its slices are not given back yet",
    ExplanationCode.GPU_GONE: "a GPU that it holds slices of is not reported any more",
    ExplanationCode.GPU_ILL: "a GPU that it holds slices of is reported unhealthy or out of MIG mode",
    ExplanationCode.NODE_GONE: "it is bound to a node that does not exist",
    ExplanationCode.NOT_ADOPTED: "it is bound without a placement of ours that can be kept; its agent decides",
    ExplanationCode.TERMINATING: "it is being deleted and has no node",
    ExplanationCode.GATED: "scheduling gates hold it; kube-scheduler does not look at it",
    ExplanationCode.QUEUED: "it is in migsched's queue, which places it next",
    ExplanationCode.MAKING_ROOM: "it is in migsched's queue; pods end for it on a node, whose room is kept",
    ExplanationCode.PROTECTED: "it is in migsched's queue; those in its way may not be evicted: budgets, no controller",
    ExplanationCode.EVICTION_REFUSED: "it is in migsched's queue; the API server refused to evict a pod for it",
    ExplanationCode.GANG_INCOMPLETE: "it is in migsched's queue, and pods of its gang are missing",
    ExplanationCode.UNBINDABLE: "migsched released it to a node, and kube-scheduler refuses it there",
    ExplanationCode.NOMINATED: "kube-scheduler nominated it to a node, where pods must end first",
    ExplanationCode.WAITS_TURN: "its namespace asks for many different mixes of slices, whose budget is spent",
    ExplanationCode.KUBE_SCHEDULER: "nodes have room for its slices; kube-scheduler says why it is not placed",
    ExplanationCode.NO_NODES: "the cluster has no nodes",
    ExplanationCode.HAS_ROOM: "there is room for its slices; kube-scheduler has not bound it yet",
    ExplanationCode.FULL: "no room: fewer memory slices are free than it asks for (metric: `no_room`)",
    ExplanationCode.FRAGMENTED: "no room: enough memory slices are free, but not where they fit (metric: `no_room`)",
    ExplanationCode.RESERVATION: "there is room, and it is kept for a pod that has waited longer",
    ExplanationCode.ROOM_KEPT: "there is room, and it is kept for a nominated pod (metric: `nominated`)",
    ExplanationCode.TOO_COMPLEX: "it mixes too many slices to be placed exactly",
    ExplanationCode.TOO_LARGE: "it asks for more than all GPUs could hold empty",
    ExplanationCode.NOT_OFFERED: "no GPU offers one of its profiles: the wrong model",
    ExplanationCode.NO_MIG: "no healthy GPU in MIG mode",
    ExplanationCode.BAD_REPORT: "the agent's report cannot be used",
    ExplanationCode.NO_REPORT: "no report from the node's agent",
    ExplanationCode.UNKNOWN_NODE: "the node is not known yet",
    ExplanationCode.INELIGIBLE: "the node may not run the pod, its slices aside; `ineligible` counts why",
}
