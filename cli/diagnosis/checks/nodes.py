"""Checks of nodes: their MigNodes, what their agents say, and whether there is an agent at all."""

from collections.abc import Iterator

from allocator.claims.report import MigMode
from cli.diagnosis.finding import Check, Level, Seen, Severity
from cli.diagnosis.objects import AgentCondition
from cli.diagnosis.picture import AGENT_LABEL, SIMULATED, ClusterPicture, PicturedReport
from cli.diagnosis.text import command
from node_agent.report import ReadyReason

PAGE = "runbook.md"
_READY = "Ready"


def _kubectl_logs(picture: ClusterPicture, node: str) -> str:
    """The command that has the node's agent list all that is missing."""
    pod = next((pod.name for pod in picture.pods if pod.agent and pod.node == node), "POD-OF-THE-NODE")
    return command("kubectl", "--namespace", picture.agent_namespace, "exec", pod, "--", "migsched", "agent", "--check")


def _restart(picture: ClusterPicture, node: str) -> str:
    selector = ("--selector=app.kubernetes.io/component=agent", f"--field-selector=spec.nodeName={node}")
    return command("kubectl", "--namespace", picture.agent_namespace, "delete", "pod", *selector)


def _hand_over(picture: ClusterPicture, node: str) -> str:
    return command(picture.program, "handover", node)


FIXES = {  # by reason of the Ready condition: the reader of the fix is at a machine with kubectl
    ReadyReason.NO_DRIVER: _kubectl_logs,
    ReadyReason.JOURNAL_UNUSABLE: _kubectl_logs,
    ReadyReason.CDI_UNWRITABLE: _kubectl_logs,
    ReadyReason.DRIVER_FILES_UNKNOWN: _kubectl_logs,
    ReadyReason.RUNTIME_UNFIT: _kubectl_logs,
    ReadyReason.NO_POD_RESOURCES: _kubectl_logs,
    ReadyReason.CONFLICTING_MANAGER: _hand_over,
}


def not_ready(picture: ClusterPicture) -> Iterator[Seen]:
    """A Ready condition that is not True, whatever its reason."""
    for report in picture.reports:
        for condition in report.conditions:
            if condition.type == _READY and condition.status != "True":
                make_fix = FIXES.get(_reason(condition), _restart)
                value = f"{condition.reason}: {condition.message}" if condition.message else condition.reason
                yield _of_report(report, "status.conditions[Ready]", value, make_fix(picture, report.node))


def _reason(condition: AgentCondition) -> ReadyReason:
    return next((reason for reason in ReadyReason if reason == condition.reason), ReadyReason.READY)


def doubtful(picture: ClusterPicture) -> Iterator[Seen]:
    """A condition beside Ready, of the container runtime or the driver's files, that is not True."""
    for report in picture.reports:
        for condition in report.conditions:
            if condition.type != _READY and condition.status != "True":
                value = f"{condition.status}: {condition.reason}: {condition.message}"
                fix = _kubectl_logs(picture, report.node)
                yield _of_report(report, f"status.conditions[{condition.type}]", value, fix)


def unusable_report(picture: ClusterPicture) -> Iterator[Seen]:
    """A MigNode that the scheduler cannot use, by the contract's own words."""
    for report in picture.reports:
        if report.problem:
            yield _of_report(report, "status", report.problem, _restart(picture, report.node))


def unjudged(picture: ClusterPicture) -> Iterator[Seen]:
    """A MigNode whose GPUs were not judged, since too many catalogues would have had to be compiled."""
    for report in picture.reports:
        if report.unjudged:
            fix = command(picture.program, "doctor", "node", report.node)
            yield _of_report(report, "status.catalogues[].name", report.unjudged, fix)


def mig_off(picture: ClusterPicture) -> Iterator[Seen]:
    """A GPU that can be cut, and whose MIG mode is off."""
    for report in _managed(picture):
        for gpu in report.gpus:
            if gpu.mig_mode is MigMode.DISABLED:
                value = f"Disabled, GPU {gpu.index} ({gpu.product}) {gpu.message}".rstrip()
                target = ("daemonset/migsched-agent", "--namespace", picture.agent_namespace)
                fix = command("kubectl", "set", "env", *target, "MIGSCHED_AGENT_MANAGE_MIG_MODE=all")
                yield _of_report(report, f"status.gpus[{gpu.index}].migMode", value, fix)


def ill_gpu(picture: ClusterPicture) -> Iterator[Seen]:
    """A GPU that takes no work."""
    for report in _managed(picture):
        for gpu in report.gpus:
            if not gpu.healthy:
                fix = command("kubectl", "get", "mignode", report.node, "--output=yaml")
                yield _of_report(report, f"status.gpus[{gpu.index}].healthy", gpu.message or "false", fix)


def without_node(picture: ClusterPicture) -> Iterator[Seen]:
    """A MigNode whose Node is gone."""
    for report in picture.reports:
        if report.node not in picture.nodes_by_name:
            fix = command("kubectl", "delete", "mignode", report.node)
            yield _of_report(report, "metadata.name", "there is no Node of this name", fix)


def without_report(picture: ClusterPicture) -> Iterator[Seen]:
    """A Node that is labelled for an agent which has reported nothing."""
    for node in picture.nodes:
        report = picture.reports_by_node.get(node.name)
        if node.labels.get(AGENT_LABEL) == "true" and (report is None or not report.written):
            fix = command(
                "kubectl",
                "--namespace",
                picture.agent_namespace,
                "get",
                "pods",
                "--output=wide",
                f"--field-selector=spec.nodeName={node.name}",
            )
            value = "no MigNode" if report is None else "its MigNode has no status"
            yield Seen(f"node/{node.name}", f"metadata.labels[{AGENT_LABEL}]", value, fix, node=node.name)


def stale(picture: ClusterPicture) -> Iterator[Seen]:
    """A MigNode that no agent keeps: an agent writes only what has changed, so that its pod is what tells."""
    agents = {pod.node: pod.ready for pod in picture.pods if pod.agent and not pod.over}
    for report in picture.reports:
        if agents.get(report.node) or report.node not in picture.nodes_by_name or report.mode == SIMULATED:
            continue
        value = "its agent's pod is not ready" if report.node in agents else "no agent runs on the node"
        fix = command("kubectl", "label", "node", report.node, "--overwrite", f"{AGENT_LABEL}=true")
        if report.node in agents:
            fix = _kubectl_logs(picture, report.node)
        elif picture.nodes_by_name[report.node].labels.get(AGENT_LABEL) == "true":
            target = ("daemonset", "migsched-agent")
            fix = command("kubectl", "--namespace", picture.agent_namespace, "describe", *target)
        yield _of_report(report, "status", value, fix)


def skew(picture: ClusterPicture) -> Iterator[Seen]:
    """An agent of another minor version than the service."""
    version = next(iter(picture.service_version), "")
    for report in picture.reports if version else ():
        if report.version and _minor(report.version) != _minor(version):
            target = ("rollout", "restart", "daemonset/migsched-agent")
            fix = command("kubectl", "--namespace", picture.agent_namespace, *target)
            value = f"{report.version}, and the service is {version}"
            yield _of_report(report, "status.agent.version", value, fix)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _managed(picture: ClusterPicture) -> Iterator[PicturedReport]:
    managed = {node.name for node in picture.managed}
    return (report for report in picture.reports if report.node in managed)


def _of_report(report: PicturedReport, field: str, value: str, fix: str) -> Seen:
    return Seen(f"mignode/{report.node}", field, value, fix, node=report.node)


_NODE_ERROR = (Level.NODE, Severity.ERROR)
_NODE_WARNING = (Level.NODE, Severity.WARNING)
CHECKS = (
    Check(
        "agent-not-ready",
        *_NODE_ERROR,
        "The node's agent is not ready",
        f"{PAGE}#ready-condition-of-a-mignode",
        ("reports",),
        not_ready,
    ),
    Check(
        "agent-doubtful",
        *_NODE_WARNING,
        "The container runtime or the driver's files may not fit",
        f"{PAGE}#ready-condition-of-a-mignode",
        ("reports",),
        doubtful,
    ),
    Check(
        "report-unusable",
        *_NODE_ERROR,
        "The node's report cannot be used",
        f"{PAGE}#a-gpu-takes-no-work",
        ("reports",),
        unusable_report,
    ),
    Check(
        "report-not-judged",
        *_NODE_WARNING,
        "The node's GPUs were not judged: their catalogue is none of those that are shipped",
        "doctor.md#limits",
        ("reports",),
        unjudged,
    ),
    Check(
        "mig-mode-off",
        *_NODE_ERROR,
        "MIG mode is off on a GPU of the node",
        f"{PAGE}#mig-mode-does-not-come",
        ("reports", "nodes"),
        mig_off,
    ),
    Check(
        "gpu-takes-no-work",
        *_NODE_WARNING,
        "A GPU of the node takes no work",
        f"{PAGE}#a-gpu-takes-no-work",
        ("reports", "nodes"),
        ill_gpu,
    ),
    Check(
        "mignode-without-node",
        *_NODE_WARNING,
        "A MigNode's Node is gone",
        f"{PAGE}#ready-condition-of-a-mignode",
        ("reports", "nodes"),
        without_node,
    ),
    Check(
        "mignode-missing",
        *_NODE_ERROR,
        "An agent is meant for the node, and has reported nothing",
        f"{PAGE}#the-agent-does-not-start",
        ("reports", "nodes"),
        without_report,
    ),
    Check(
        "mignode-stale",
        *_NODE_ERROR,
        "Nobody keeps the node's report",
        f"{PAGE}#the-agent-does-not-start",
        ("reports", "nodes", "pods"),
        stale,
    ),
    Check(
        "agent-version-skew",
        *_NODE_WARNING,
        "The agent's version is not the service's",
        "deploy.md#update-and-remove",
        ("reports", "service_version"),
        skew,
    ),
)
