"""Checks of our own service and its agents: replicas, leases, rights, configuration, gate and certificates."""

from collections.abc import Iterator

from allocator.mig.profile import resource_name
from cli.diagnosis.finding import Check, Level, Seen, Severity
from cli.diagnosis.picture import ClusterPicture
from cli.diagnosis.text import command
from kubeclient.objects import Meta

QUEUE_PAGE, DEPLOY_PAGE, DOCTOR_PAGE = "queue.md", "deploy.md", "doctor.md"
GATE = "migsched-queue"
MIN_DAYS = 30.0  # a certificate that runs out sooner is told of
LATE = 4  # lease durations without a renewal: clocks of two machines differ by seconds
_ENFORCE = "pod-security.kubernetes.io/enforce"
_PRIVILEGED = "privileged"


def no_replica(picture: ClusterPicture) -> Iterator[Seen]:
    """A Deployment of the service without a ready replica, or none at all."""
    namespace = picture.scheduler_namespace
    if not tuple(picture.services) and not tuple(picture.service):
        fix = command("kubectl", "apply", "--server-side", "--kustomize", "overlay")
        yield Seen(f"namespace/{namespace}", "deployments", "none of migsched's scheduler", fix)
    for service in picture.services:
        if not service.status.ready_replicas and service.spec.replicas != 0:
            fix = command(
                "kubectl",
                "--namespace",
                _of(service.metadata),
                "describe",
                "pods",
                "--selector=app.kubernetes.io/component=scheduler",
            )
            yield Seen(_deployment(service.metadata), "status.readyReplicas", "0", fix)


def two_services(picture: ClusterPicture) -> Iterator[Seen]:
    """More than one Deployment of the service: each promises places that the other does not see."""
    for service in tuple(picture.services)[1:]:
        fix = command(
            "kubectl",
            "--namespace",
            _of(service.metadata),
            "scale",
            "deployment",
            service.metadata.name,
            "--replicas=0",
        )
        first = _deployment(picture.services.items[0].metadata)
        yield Seen(_deployment(service.metadata), "metadata.name", f"beside {first}", fix)


def agents_missing(picture: ClusterPicture) -> Iterator[Seen]:
    """Agents that are wanted and not ready."""
    for agent in picture.agents:
        ready, wanted = agent.status.number_ready or 0, agent.status.desired_number_scheduled or 0
        if ready < wanted:
            fix = command("kubectl", "--namespace", _of(agent.metadata), "get", "pods", "--output=wide")
            name = f"daemonset/{_of(agent.metadata)}/{agent.metadata.name}"
            yield Seen(name, "status.numberReady", f"{ready} of {wanted}", fix)


def unheld_lease(picture: ClusterPicture) -> Iterator[Seen]:
    """A lease of ours that nobody holds, or whose holder has not renewed it for long."""
    for lease in picture.leases:
        late = lease.idle_s is not None and lease.idle_s > LATE * max(1, lease.duration_s)
        if lease.holder and not late:
            continue
        value = "nobody" if not lease.holder else f"{lease.holder}, not renewed for {lease.idle_s:.0f} s"
        fix = command("kubectl", "--namespace", lease.namespace, "rollout", "restart", "deployment/migsched-scheduler")
        yield Seen(f"lease/{lease.namespace}/{lease.name}", "spec.holderIdentity", value, fix)


def forbidden_agents(picture: ClusterPicture) -> Iterator[Seen]:
    """A namespace of the agents whose Pod Security refuses them."""
    for namespace in picture.namespaces:
        level = (namespace.metadata.labels or {}).get(_ENFORCE, _PRIVILEGED)
        if namespace.metadata.name == picture.agent_namespace and level != _PRIVILEGED:
            fix = command(
                "kubectl", "label", "namespace", namespace.metadata.name, "--overwrite", f"{_ENFORCE}={_PRIVILEGED}"
            )
            yield Seen(f"namespace/{namespace.metadata.name}", f"metadata.labels[{_ENFORCE}]", level, fix)


def unmanaged_profiles(picture: ClusterPicture) -> Iterator[Seen]:
    """A profile of a reported GPU about which kube-scheduler does not ask the extender."""
    offered = {
        resource_name(profile.name)
        for report in picture.reports
        for gpu in report.gpus
        if gpu.catalogue is not None
        for profile in gpu.catalogue.profiles
    }
    for extender in picture.extenders:
        name = f"configmap/{extender.namespace}/{extender.name}"
        fix = command("kubectl", "--namespace", extender.namespace, "edit", "configmap", extender.name)
        if extender.problem:
            yield Seen(name, "data[config.yaml]", extender.problem, fix)
            continue
        for resource in sorted(offered - extender.resources):
            yield Seen(name, "extenders[].managedResources", f"without {resource}", fix)


def missing_rights(picture: ClusterPicture) -> Iterator[Seen]:
    """What the API server would refuse to one of our accounts."""
    for right in picture.rights:
        if not right.allowed:
            name = f"missing-{right.role}"
            fix = command(
                "kubectl",
                "create",
                "clusterrolebinding",
                name,
                f"--clusterrole={right.role}",
                f"--serviceaccount={right.account}",
            )
            yield Seen(f"serviceaccount/{right.account.replace(':', '/')}", "account", f"may not {right.right}", fix)


def gate_missing(picture: ClusterPicture) -> Iterator[Seen]:
    """A queue without a gate: no pod waits for it."""
    if picture.queueing and not tuple(picture.gates) and not tuple(picture.webhooks):
        fix = command("kubectl", "apply", "--server-side", "--filename", "deploy/options/queue/gate.yaml")
        yield Seen(f"mutatingadmissionpolicy/{GATE}", "metadata.name", "does not exist", fix)


def gate_unbound(picture: ClusterPicture) -> Iterator[Seen]:
    """A gate that no binding puts into force."""
    bound = {binding.spec.policy_name for binding in picture.gate_bindings}
    for gate in picture.gates:
        if gate.metadata.name not in bound:
            fix = command("kubectl", "apply", "--server-side", "--filename", "deploy/options/queue/gate.yaml")
            name = f"mutatingadmissionpolicy/{gate.metadata.name}"
            yield Seen(name, "metadata.name", "no MutatingAdmissionPolicyBinding names it", fix)


def old_certificate(picture: ClusterPicture) -> Iterator[Seen]:
    """A webhook whose authority runs out soon, or is none."""
    for certificate in picture.certificates:
        if certificate.days is not None and certificate.days >= MIN_DAYS:
            continue
        value = "cannot be read" if certificate.days is None else f"runs out in {certificate.days:.0f} days"
        fix = command("kubectl", "--namespace", picture.scheduler_namespace, "delete", "secret", "migsched-webhook-tls")
        name = f"mutatingwebhookconfiguration/{certificate.configuration}"
        yield Seen(name, f"webhooks[{certificate.webhook}].clientConfig.caBundle", value, fix)


def left_out(picture: ClusterPicture) -> Iterator[Seen]:
    """Objects that the running service could not read."""
    for service in picture.service:
        for kind, number in service.unreadable:
            fix = command(
                "kubectl",
                "--namespace",
                picture.scheduler_namespace,
                "logs",
                "deployment/migsched-scheduler",
                "--container=extender",
            )
            yield Seen(f"service/{service.where}", f"migsched_unreadable_objects[{kind}]", str(number), fix)


def _of(meta: Meta) -> str:
    return meta.namespace or "default"


def _deployment(meta: Meta) -> str:
    return f"deployment/{_of(meta)}/{meta.name}"


_ERROR = (Level.CLUSTER, Severity.ERROR)
_WARNING = (Level.CLUSTER, Severity.WARNING)
CHECKS = (
    Check(
        "scheduler-not-ready",
        *_ERROR,
        "No replica of migsched's service is ready",
        DEPLOY_PAGE,
        ("services",),
        no_replica,
    ),
    Check(
        "two-services",
        *_ERROR,
        "Two services of migsched promise the same places",
        f"{DEPLOY_PAGE}#what-it-does-to-a-cluster",
        ("services",),
        two_services,
    ),
    Check(
        "agents-not-ready",
        *_WARNING,
        "Not every agent is ready",
        "runbook.md#the-agent-runs-and-is-not-ready",
        ("agents",),
        agents_missing,
    ),
    Check(
        "lease-unheld",
        *_ERROR,
        "Nobody decides: a lease of migsched is not held",
        f"{QUEUE_PAGE}#two-replicas",
        ("leases",),
        unheld_lease,
    ),
    Check(
        "agents-forbidden",
        *_ERROR,
        "Pod Security refuses the agents in their namespace",
        f"{DEPLOY_PAGE}#what-the-agent-may-do-and-why",
        ("namespaces",),
        forbidden_agents,
    ),
    Check(
        "managed-resources-missing",
        *_ERROR,
        "kube-scheduler does not ask migsched about a profile",
        f"{DEPLOY_PAGE}#gpu-models",
        ("extenders", "reports"),
        unmanaged_profiles,
    ),
    Check(
        "rights-missing",
        *_ERROR,
        "An account of migsched lacks a right",
        f"{DEPLOY_PAGE}#what-it-does-to-a-cluster",
        ("rights",),
        missing_rights,
    ),
    Check(
        "gate-missing",
        *_ERROR,
        "The queue runs, and nothing gates pods for it",
        QUEUE_PAGE,
        ("webhooks", "services"),
        gate_missing,
        ("gates",),
    ),
    Check(
        "gate-unbound",
        *_ERROR,
        "The queue's policy is not in force",
        QUEUE_PAGE,
        ("gates", "gate_bindings"),
        gate_unbound,
    ),
    Check(
        "webhook-certificate",
        *_WARNING,
        "The webhook's authority runs out",
        QUEUE_PAGE,
        ("certificates",),
        old_certificate,
    ),
    Check(
        "service-left-objects-out",
        *_WARNING,
        "The service could not read objects",
        "runbook.md#an-object-is-left-out",
        ("service",),
        left_out,
    ),
)
