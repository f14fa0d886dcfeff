"""Verdict: whether a pod may run on a node, by kube-scheduler's filters in kube-scheduler's order.

`judge` asks them all; `closed` says of a node alone why it takes no pods. Slices are not looked at: they are
`placement`'s. What is judged and what is not: docs/eligibility.md.
"""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from allocator.eligibility import node_selector
from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.eligibility.constraints import PodConstraints, VolumeTopology
from allocator.eligibility.neighbours import Neighbours, NeighboursAnswer
from allocator.eligibility.node import NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE, NodeFacts, Taint
from allocator.eligibility.zones import ZONES


class Ineligible(enum.StrEnum):
    """Why a node does not do: the kube-scheduler plugin that says so, in the order in which they are asked.

    Two of them are no plugins: a node that does not exist, and one that is not Ready, which Kubernetes keeps pods away
    from by a taint that follows a moment later.
    """

    NO_NODE = "NoNode"
    NODE_NAME = "NodeName"
    NODE_UNSCHEDULABLE = "NodeUnschedulable"
    TAINT_TOLERATION = "TaintToleration"
    NODE_NOT_READY = "NodeNotReady"
    NODE_AFFINITY = "NodeAffinity"
    NODE_PORTS = "NodePorts"
    NODE_RESOURCES_FIT = "NodeResourcesFit"
    VOLUME_RESTRICTIONS = "VolumeRestrictions"
    VOLUME_BINDING = "VolumeBinding"
    VOLUME_ZONE = "VolumeZone"
    POD_TOPOLOGY_SPREAD = "PodTopologySpread"
    INTER_POD_AFFINITY = "InterPodAffinity"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pod may run on a node: not, if there is a `reason`, which `detail` says in words.

    `unjudged` names what was not looked at or cannot be told; without a reason the answer depends on it.
    """

    reason: Ineligible | None = None
    detail: str = ""
    unjudged: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.reason else "eligible"

    @property
    def eligible(self) -> bool:
        """Whether nothing that was judged keeps the pod away."""
        return self.reason is None


_Refusals = Iterator[Verdict]
_NOBODY = PodConstraints()
_SYSTEM = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "karpenter.sh/")
_LEAVING = ("ToBeDeletedByClusterAutoscaler",)
_CHARACTERS = 120  # of a text from the cluster that is repeated


def judge(
    pod: PodConstraints,
    node: NodeFacts | None,
    used: Amounts | None = None,
    neighbours: Neighbours | None = None,
) -> Verdict:
    """Whether a pod may run on a node, None being one that does not exist; never raises.

    `used` is what the other pods of the node ask for. Without it a pod is compared with the node's whole allocatable,
    and what others use is named as not judged. `neighbours` are the other pods as this one sees them; without them its
    rules about other pods are named as not judged.
    """
    if node is None:
        return Verdict(Ineligible.NO_NODE, "there is no such node in the cluster")
    unjudged = [*pod.unjudged, *node.unreadable, *(pod.beside_others if neighbours is None else ())]
    for plugin in _PLUGINS:
        for said in plugin(pod, node, used, neighbours):
            if said.reason is not None:
                return said
            unjudged += said.unjudged
    return Verdict(unjudged=tuple(dict.fromkeys(unjudged)))


def closed(node: NodeFacts | None, used: Amounts | None = None) -> Verdict | None:
    """Why a node takes no new pods; None if it takes some. `used` is what its pods ask for.

    Of taints those count that Kubernetes and autoscalers set on a node in trouble or on its way out. Others keep a node
    for pods that tolerate them, so such a node does take pods.
    """
    if node is None:
        return judge(_NOBODY, None)
    refusals = (
        *_unschedulable(_NOBODY, node, None, None),
        *(_untolerated(taint) for taint in node.taints if taint.keeps_away and is_system(taint)),
        *_not_ready(_NOBODY, node, None, None),
        *(refusal for refusal in _resources(_NOBODY, node, used, None) if not refusal.eligible),
    )
    return next(iter(refusals), None)


def is_system(taint: Taint) -> bool:
    """Whether a taint is one that Kubernetes or an autoscaler sets on a node in trouble or on its way out."""
    return taint.key.startswith(_SYSTEM) or taint.key in _LEAVING


def _node_name(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    if pod.node_name and pod.node_name != node.name:
        yield Verdict(Ineligible.NODE_NAME, f"the pod asks for node {pod.node_name[:_CHARACTERS]}")


def _unschedulable(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    if node.unschedulable:
        taint = Taint(UNSCHEDULABLE, NO_SCHEDULE)
        yield from _tolerated(pod, taint, Verdict(Ineligible.NODE_UNSCHEDULABLE, "the node is cordoned"))


def _taints(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    for taint in node.taints:
        if taint.keeps_away:
            yield from _tolerated(pod, taint, _untolerated(taint))


def _untolerated(taint: Taint) -> Verdict:
    return Verdict(Ineligible.TAINT_TOLERATION, f"the node has the taint {str(taint)[:_CHARACTERS]}")


def _not_ready(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    """A node that is not Ready is judged by the taint that follows, unless it is there already."""
    if not node.ready and not any(taint.key in (NOT_READY, UNREACHABLE) for taint in node.taints):
        refusal = Verdict(Ineligible.NODE_NOT_READY, "the node is not Ready")
        yield from _tolerated(pod, Taint(NOT_READY, NO_SCHEDULE), refusal)


def _tolerated(pod: PodConstraints, taint: Taint, refusal: Verdict) -> _Refusals:
    answers = {toleration.tolerates(taint) for toleration in pod.tolerations}
    if True in answers:
        return
    yield Verdict(unjudged=("a toleration with Gt or Lt",)) if None in answers else refusal


def _affinity(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    labels = node.labels
    if pod.node_selector:
        if labels is None:
            yield _too_many_labels(node)
        else:
            for key, value in pod.node_selector:
                if labels.get(key) != value:
                    wanted = f"{key}={value}"[:_CHARACTERS]
                    yield Verdict(Ineligible.NODE_AFFINITY, f"the pod's nodeSelector asks for {wanted}")
    if pod.node_affinity is not None:
        matching = node_selector.matches(pod.node_affinity, labels, node.name)
        if matching is None:
            yield _too_many_labels(node) if labels is None else Verdict(unjudged=("a node affinity without meaning",))
        elif not matching:
            yield Verdict(Ineligible.NODE_AFFINITY, "the pod's required node affinity names other nodes")


def _too_many_labels(node: NodeFacts) -> Verdict:
    return Verdict(unjudged=(f"the labels of node {node.name}, too many to be kept",))


def _resources(pod: PodConstraints, node: NodeFacts, used: Amounts | None, _: Neighbours | None) -> _Refusals:
    asked, offered, taken = pod.requests, node.allocatable, used or NOTHING
    for name, unit, amount, whole, others in (
        ("pods", "", asked.pods, offered.pods, taken.pods),
        ("cpu", "m", asked.cpu_milli, offered.cpu_milli, taken.cpu_milli),
        ("memory", " bytes", asked.memory, offered.memory, taken.memory),
        ("ephemeral-storage", " bytes", asked.ephemeral_storage, offered.ephemeral_storage, taken.ephemeral_storage),
    ):
        if amount and amount > whole - others:
            free = f"{max(0, whole - others)}{unit} of {whole}{unit}"
            words = (
                f"{amount}{unit} of {name} asked for, {free} left" if used else f"{amount}{unit} of {name} of {whole}"
            )
            yield Verdict(Ineligible.NODE_RESOURCES_FIT, words)
    if used is None:
        yield Verdict(unjudged=("what other pods on the node use",))


def _volumes_bound(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    for volume in pod.volumes:
        name = volume.name[:_CHARACTERS]
        if volume.problem:
            yield Verdict(Ineligible.VOLUME_BINDING, volume.problem)
        if volume.unjudged:
            yield Verdict(unjudged=(volume.unjudged,))
        if volume.node and volume.node != node.name:
            words = f"the volume {name} is to be made on node {volume.node[:_CHARACTERS]}"
            yield Verdict(Ineligible.VOLUME_BINDING, words)
        if volume.affinity is not None:
            matching = node_selector.matches(volume.affinity, node.labels, None)
            if matching is None:
                yield Verdict(unjudged=(f"the node affinity of volume {name}",))
            elif not matching:
                words = "is bound to other nodes" if volume.bound else "cannot be made there"
                yield Verdict(Ineligible.VOLUME_BINDING, f"the volume {name} {words}")


def _volumes_zone(pod: PodConstraints, node: NodeFacts, _used: Amounts | None, _: Neighbours | None) -> _Refusals:
    labels = node.labels
    zonal = [volume for volume in pod.volumes if volume.zones]
    if labels is None and zonal:
        yield _too_many_labels(node)
    elif labels is not None and any(label in labels for label in ZONES):  # else a cluster of one zone
        for volume in zonal:
            yield from _in_zone(volume, labels)


def _in_zone(volume: VolumeTopology, labels: Mapping[str, str]) -> _Refusals:
    for label, values in volume.zones:
        where = labels.get(label, labels.get(label.replace("failure-domain.beta.", "topology.")))
        if where not in values:
            words = f"the volume {volume.name[:_CHARACTERS]} is in another zone"
            yield Verdict(Ineligible.VOLUME_ZONE, words)


def _ports(_pod: PodConstraints, node: NodeFacts, _used: Amounts | None, others: Neighbours | None) -> _Refusals:
    if others is not None:
        yield from _said(Ineligible.NODE_PORTS, others.port_taken(node))


def _claims(_pod: PodConstraints, _node: NodeFacts, _used: Amounts | None, others: Neighbours | None) -> _Refusals:
    if others is not None:
        yield from _said(Ineligible.VOLUME_RESTRICTIONS, others.claim_taken())


def _spread(_pod: PodConstraints, node: NodeFacts, _used: Amounts | None, others: Neighbours | None) -> _Refusals:
    if others is not None:
        yield from _said(Ineligible.POD_TOPOLOGY_SPREAD, others.spread(node))


def _near_others(_pod: PodConstraints, node: NodeFacts, _used: Amounts | None, others: Neighbours | None) -> _Refusals:
    if others is not None:
        yield from _said(Ineligible.INTER_POD_AFFINITY, others.affinity(node))


def _said(reason: Ineligible, refusal: NeighboursAnswer) -> _Refusals:
    words, untold = refusal
    if words:
        yield Verdict(reason, words)
    elif untold:
        yield Verdict(unjudged=untold)


_PLUGINS: tuple[Callable[[PodConstraints, NodeFacts, Amounts | None, Neighbours | None], _Refusals], ...] = (
    _node_name,
    _unschedulable,
    _taints,
    _not_ready,
    _affinity,
    _ports,
    _resources,
    _claims,
    _volumes_bound,
    _volumes_zone,
    _spread,
    _near_others,
)
