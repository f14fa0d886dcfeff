"""From a watched pod to the gang that it belongs to, whoever says so. Asked by `queue_feed` and `queued_pods`.

Of several sources the first counts: our own annotation, the PodGroup of Kubernetes' own Workload API
(`spec.schedulingGroup`, 1.36 and later behind the gate GenericWorkload), the PodGroup of scheduler-plugins (a label),
Grove's PodGang (a label, and another for the part of it), the group of a LeaderWorkerSet (a label, and its size in an
annotation). Grove's and Kueue's pods have gates of their own, and become ours one by one when these are gone: Grove's
gate goes once the PodGang is there and names the pod.
"""

from allocator.queueing.gang import READ_SOURCES, Gang, GangSource
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, MAX_GANG
from kubeclient.objects import Pod
from scheduler.cache import scheduling_facts
from scheduler.cache.known_pod import MAX_PROBLEM
from scheduler.cache.watched_pod import WatchedPod

POD_GROUP_LABEL = "scheduling.x-k8s.io/pod-group"  # sigs.k8s.io/scheduler-plugins, coscheduling
POD_GANG_LABEL = "grove.io/podgang"
POD_CLIQUE_LABEL = "grove.io/podclique"  # the name of a part of the PodGang (`spec.podgroups`)
LWS_GROUP_LABEL = "leaderworkerset.sigs.k8s.io/group-key"  # one value for all pods of a group
LWS_SIZE_ANNOTATION = "leaderworkerset.sigs.k8s.io/size"
_LABELS = frozenset({POD_GROUP_LABEL, POD_GANG_LABEL, LWS_GROUP_LABEL})
_NAME = 253  # characters of a name in Kubernetes


def is_of_gang(pod: Pod) -> bool:
    """Whether a pod names a gang, readable or not."""
    meta = pod.metadata
    labels = meta.labels
    return bool(
        (meta.annotations and GANG_ANNOTATION in meta.annotations)
        or (labels and not labels.keys().isdisjoint(_LABELS))
        or _scheduling_group(pod)
    )


def of(pod: Pod) -> tuple[Gang | None, str]:
    """The gang that a pod belongs to, or why what it says of it cannot be read."""
    annotations, labels = pod.metadata.annotations or {}, pod.metadata.labels or {}
    size = where = ""
    if GANG_ANNOTATION in annotations:
        source, what, name = GangSource.ANNOTATION, f"annotation {GANG_ANNOTATION}", annotations[GANG_ANNOTATION]
        size, where = annotations.get(GANG_SIZE_ANNOTATION, ""), GANG_SIZE_ANNOTATION
    elif group := _scheduling_group(pod):
        source, what, name = GangSource.POD_GROUP, "spec.schedulingGroup.podGroupName", group
    elif labels.get(POD_GROUP_LABEL):
        source, what, name = GangSource.COSCHEDULING, f"label {POD_GROUP_LABEL}", labels[POD_GROUP_LABEL]
    elif labels.get(POD_GANG_LABEL):
        source, what, name = GangSource.POD_GANG, f"label {POD_GANG_LABEL}", labels[POD_GANG_LABEL]
    elif LWS_GROUP_LABEL in labels:
        source, what, name = GangSource.LEADER_WORKER_SET, f"label {LWS_GROUP_LABEL}", labels[LWS_GROUP_LABEL]
        size, where = annotations.get(LWS_SIZE_ANNOTATION, ""), LWS_SIZE_ANNOTATION
    else:
        return None, ""
    shown = scheduling_facts.shown(name, _NAME)
    if not name or shown != name:
        return None, f"{what} is not a valid name: {shown[:MAX_PROBLEM]}"
    if source in READ_SOURCES:
        return Gang(pod.metadata.namespace, name, 0, source), ""
    number = _number(size)
    if number is None:
        return None, f"annotation {where} must be the number of the gang's pods, 1 to {MAX_GANG}"
    return Gang(pod.metadata.namespace, name, number, source), ""


def part_of(pod: Pod, gang: Gang | None) -> str:
    """The part of its gang that a pod belongs to; empty where the gang has none."""
    if gang is None or gang.source is not GangSource.POD_GANG:
        return ""
    return scheduling_facts.shown((pod.metadata.labels or {}).get(POD_CLIQUE_LABEL, ""), _NAME)


def _number(size: str) -> int | None:
    if not (size.isascii() and size.isdecimal() and len(size) <= len(str(MAX_GANG)) and 1 <= int(size) <= MAX_GANG):
        return None
    return int(size)


def _scheduling_group(pod: Pod) -> str:
    group = pod.spec.scheduling_group if isinstance(pod, WatchedPod) else None
    return "" if group is None else group.pod_group_name or ""
