"""Checks of pods that ask for slices: what `scheduler.explain` says of them, and what it does not see."""

from collections.abc import Iterator

from cli.diagnosis.finding import Check, Level, Seen, Severity
from cli.diagnosis.picture import ClusterPicture, PicturedPod
from cli.diagnosis.text import command
from scheduler.explain.codes import ExplanationCode
from scheduler.kube_scheduler_config import SCHEDULER_NAME

PAGE = "explain.md"
OPERATOR_PAGE = "gpu-operator.md"
_TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
_GROVE = "nvidia.com/enable-grove"


def forgotten_scheduler(picture: ClusterPicture) -> Iterator[Seen]:
    """A pod of another scheduler, where slices are placed by the scheduler that pods name, or by the gate."""
    for pod in picture.pods:
        if pod.code == ExplanationCode.OTHER_SCHEDULER and not (pod.over or (picture.queueing and pod.opted_out)):
            fix = _delete(pod) if picture.queueing else _replace(pod)
            yield _of_pod(pod, "spec.schedulerName", f"{pod.scheduler or 'default-scheduler'}: {pod.reason}", fix)


def _replace(pod: PicturedPod) -> str:
    """Name our scheduler: in the owner's template, or in a pod that is made again."""
    if _has_template(pod):
        patch = f'{{"spec":{{"template":{{"spec":{{"schedulerName":"{SCHEDULER_NAME}"}}}}}}}}'
        return _kubectl(pod, "patch", pod.owner.lower(), "--type=merge", "--patch", patch)
    edit = f"s/^  schedulerName: .*/  schedulerName: {SCHEDULER_NAME}/"
    get = _kubectl(pod, "get", "pod", pod.name, "--output=yaml")
    return f"{get} | {command('sed', edit)} | kubectl replace --force --filename=-"


def choosing_variables(picture: ClusterPicture) -> Iterator[Seen]:
    """A container that chooses its GPUs by a variable: its slice is not what it names."""
    for pod in picture.pods:
        for container, name, value in pod.variables if pod.asks and not pod.over else ():
            fix = _kubectl(pod, "set", "env", pod.owner.lower(), f"{name}-") if _has_template(pod) else _delete(pod)
            yield _of_pod(pod, f"spec.containers[{container}].env[{name}]", value, fix)


def unusable_request(picture: ClusterPicture) -> Iterator[Seen]:
    """A pod whose request for slices cannot be read."""
    for pod in picture.pods:
        if pod.code == ExplanationCode.INVALID:
            yield _of_pod(pod, "spec.containers[].resources", pod.reason, _delete(pod))


def missing_slot(picture: ClusterPicture) -> Iterator[Seen]:
    """A placement that names what its node does not have."""
    for pod in picture.pods:
        if pod.code == ExplanationCode.GPU_GONE or (pod.code == ExplanationCode.NOT_ADOPTED and pod.placed):
            yield _of_pod(pod, "metadata.annotations[migsched.io/placement]", pod.reason, _delete(pod))


def gone_node(picture: ClusterPicture) -> Iterator[Seen]:
    """A pod that is bound, or pinned, to nodes that do not exist."""
    for pod in picture.pods:
        if pod.over or not pod.asks:
            continue
        if pod.node and pod.node not in picture.nodes_by_name:
            yield _of_pod(pod, "spec.nodeName", pod.node, _delete(pod))
        elif not pod.node and pod.pinned and not any(name in picture.nodes_by_name for name in pod.pinned):
            yield _of_pod(pod, "spec.affinity.nodeAffinity", ", ".join(pod.pinned[:5]), _delete(pod))


def second_scheduler(picture: ClusterPicture) -> Iterator[Seen]:
    """A pod that another scheduler has put on a node of ours: it counts slices, and does not see where they lie."""
    managed = {node.name for node in picture.managed}
    for pod in picture.pods:
        if pod.uses_gpus and not pod.placed and not pod.over and pod.node in managed:
            value = f"{pod.scheduler or 'default-scheduler'} bound it to {pod.node} without a placement"
            fix = command("kubectl", "taint", "node", pod.node, "migsched.io/only=true:NoSchedule")
            if pod.asks:
                fix = _delete(pod)
            yield _of_pod(pod, "spec.schedulerName", value, fix)


def grove_graph(picture: ClusterPicture) -> Iterator[Seen]:
    """A Dynamo graph that Grove would refuse: it takes no scheduler that it does not know."""
    if picture.queueing or not tuple(picture.grove):
        return
    for graph in picture.graphs:
        if graph.grove and SCHEDULER_NAME in graph.schedulers:
            fix = command(
                "kubectl",
                "--namespace",
                graph.namespace,
                "annotate",
                "--overwrite",
                "dynamographdeployment",
                graph.name,
                f"{_GROVE}=false",
            )
            name = f"dynamographdeployment/{graph.namespace}/{graph.name}"
            yield Seen(name, f"metadata.annotations[{_GROVE}]", "not false", fix)


def _has_template(pod: PicturedPod) -> bool:
    """Whether its owner has a template that may be changed: a Job's may not, and of other kinds nothing is known."""
    return pod.owner.partition("/")[0] in _TEMPLATED


def _delete(pod: PicturedPod) -> str:
    return _kubectl(pod, "delete", "pod", pod.name)


def _kubectl(pod: PicturedPod, *words: str) -> str:
    return command("kubectl", "--namespace", pod.namespace, *words)


def _of_pod(pod: PicturedPod, field: str, value: str, fix: str) -> Seen:
    return Seen(f"pod/{pod.title}", field, value, fix, node=pod.node, pod=pod.title)


_POD_ERROR = (Level.POD, Severity.ERROR)
_POD_WARNING = (Level.POD, Severity.WARNING)
CHECKS = (
    Check(
        "scheduler-name-missing",
        *_POD_ERROR,
        "A pod asks for slices, and migsched is not asked about it",
        f"{PAGE}",
        ("pods", "services"),
        forgotten_scheduler,
    ),
    Check(
        "visible-devices-set",
        *_POD_ERROR,
        "A variable chooses GPUs in place of the pod's slice",
        "containers.md#what-the-container-sees",
        ("pods",),
        choosing_variables,
    ),
    Check(
        "request-unusable",
        *_POD_ERROR,
        "What the pod asks for cannot be read",
        PAGE,
        ("pods",),
        unusable_request,
    ),
    Check(
        "placement-slot-missing",
        *_POD_ERROR,
        "The pod's placement names a slot that is not there",
        PAGE,
        ("pods", "reports", "nodes"),
        missing_slot,
    ),
    Check(
        "pod-node-gone",
        *_POD_ERROR,
        "The pod is bound or pinned to a node that is gone",
        PAGE,
        ("pods", "nodes"),
        gone_node,
    ),
    Check(
        "two-schedulers",
        *_POD_WARNING,
        "Another scheduler puts pods with GPUs on a node of migsched",
        "deploy.md#what-it-does-to-a-cluster",
        ("pods", "nodes"),
        second_scheduler,
    ),
    Check(
        "grove-refuses-graph",
        Level.CLUSTER,
        Severity.ERROR,
        "Grove's webhook refuses pods that name migsched",
        f"{OPERATOR_PAGE}#grove",
        ("graphs", "grove", "services"),
        grove_graph,
    ),
)
