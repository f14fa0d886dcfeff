"""Faults that are planted in a healthy cluster: each is found, with its fix, and nothing else is."""

import asyncio
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from allocator.claims.report import MigMode
from cli.diagnosis import registry
from cli.diagnosis.picture import Look, PicturedService
from cli.diagnosis.reader import PictureReader, Scope
from node_agent.report import ReadyReason
from tests.unit.cli.diagnosis import healthy as made
from tests.unit.cli.diagnosis.healthy import MemoryServer, diagnosed, healthy

Plant = Callable[[MemoryServer], object]


def certificate(days: int) -> bytes:
    """A self-signed certificate that runs out in so many days."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(made.NOW - timedelta(days=1))
    return (
        builder.not_valid_after(made.NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def add(path: str, *items: Any) -> Plant:
    """Objects beside those that are there."""
    return lambda server: server.lists[path].extend(items)


def put(path: str, *items: Any) -> Plant:
    """Objects in place of those that are there."""
    return lambda server: server.lists.update({path: list(items)})


def both(*plants: Plant) -> Plant:
    """Several changes."""
    return lambda server: [plant(server) for plant in plants]


def workload(document: Any, **status: int) -> Any:
    """A Deployment or DaemonSet with this status."""
    return {**document, "status": status}


def injecting(way: str) -> Any:
    """The agents' DaemonSet with this `inject`."""
    document = made.agents()
    document["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "MIGSCHED_AGENT_INJECT", "value": way})
    return document


def env(name: str, value: str) -> list[Any]:
    """The containers of a pod with a slice and a variable."""
    limits = {"limits": {"nvidia.com/mig-1g.5gb": "1"}}
    return [{"name": "main", "image": "none", "resources": limits, "env": [{"name": name, "value": value}]}]


def pinned(*names: str) -> Any:
    """An affinity as the queue writes it."""
    rule = {"key": "metadata.name", "operator": "In", "values": list(names)}
    terms = [{"matchFields": [rule]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def older_crd() -> Any:
    """The CRD without the illness of slices."""
    document = made.crd()
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["status"]["properties"]["gpus"]["items"]["properties"]["illness"]
    return document


PLUGIN = {
    **made.named("nvidia-device-plugin-daemonset-x", "gpu-operator", labels={"app": "nvidia-device-plugin-daemonset"}),
    "spec": {"nodeName": made.NODE, "volumes": [{"hostPath": {"path": "/var/lib/kubelet/device-plugins"}}]},
    "status": {"phase": "Running"},
}
GROVE_GRAPH = {
    **made.named("chat", "team-a"),
    "spec": {"components": [{"name": "worker", "podTemplate": {"spec": {"schedulerName": "migsched"}}}]},
}
FOREIGN = made.pod("foreign", at=None, schedulerName="kai-scheduler")
CASES: dict[str, tuple[str, str, str, Plant]] = {  # the fault: code, object, a part of the fix, how to plant it
    "GPUCluster beside ours": (
        "gpu-cluster-present", "gpucluster/gpu-cluster", "gpu.deploy.dra-driver=false",
        put(made.GPU_CLUSTERS, made.named("gpu-cluster")),
    ),
    "the DRA driver serves a node": (
        "dra-driver-serves-node", "node/gpu-1", "gpu.deploy.dra-driver=false",
        put(made.NODES, made.node(**{"nvidia.com/gpu.deploy.dra-driver": "true"})),
    ),
    "native CDI, and agents that need the variable": (
        "native-cdi-without-toolkit", "clusterpolicy/cluster-policy", "MIGSCHED_AGENT_INJECT=cdi",
        put(made.DAEMON_SETS, injecting("env")),
    ),
    "no toolkit, and agents that need it": (
        "native-cdi-without-toolkit", "clusterpolicy/cluster-policy", "MIGSCHED_AGENT_INJECT=cdi",
        both(put(made.DAEMON_SETS, injecting("runtime")),
             put(made.POLICY, made.cluster_policy(toolkit={"enabled": False}))),
    ),
    "NVIDIA's device plugin runs on a node of ours": (
        "other-manager-running", "pod/gpu-operator/nvidia-device-plugin-daemonset-x",
        "nvidia.com/gpu.deploy.device-plugin=false", add(made.PODS, PLUGIN),
    ),
    "the device plugin's label is not set": (
        "device-plugin-enabled", "node/gpu-1", "nvidia.com/gpu.deploy.device-plugin=false",
        put(made.NODES, made.node(**{"nvidia.com/gpu.deploy.device-plugin": "true"})),
    ),
    "strategy single": (
        "mig-strategy", "clusterpolicy/cluster-policy", '{"spec":{"mig":{"strategy":"mixed"}}}',
        put(made.POLICY, made.cluster_policy(mig={"strategy": "single"})),
    ),
    "the validator waits for a plugin": (
        "validator-workload", "clusterpolicy/cluster-policy", "WITH_WORKLOAD",
        put(made.POLICY, made.cluster_policy(validator={})),
    ),
    "the MIG manager is enabled": (
        "mig-manager-enabled", "node/gpu-1", "nvidia.com/gpu.deploy.mig-manager=false",
        put(made.NODES, made.node(**{"nvidia.com/gpu.deploy.mig-manager": "true"})),
    ),
    "MIG mode is off": (
        "mig-mode-off", "mignode/gpu-1", "MIGSCHED_AGENT_MANAGE_MIG_MODE=all",
        both(put(made.MIG_NODES, made.mig_node(made.NODE, made.gpu(mig_mode=MigMode.DISABLED))),
             put(made.PODS, made.agent_pod())),
    ),
    "a GPU takes no work": (
        "gpu-takes-no-work", "mignode/gpu-1", "kubectl get mignode gpu-1",
        put(made.MIG_NODES, made.mig_node(made.NODE, made.gpu(healthy=False, message="fell off the bus"))),
    ),
    "variables choose the GPU": (
        "visible-devices-set", "pod/team-a/triton", "kubectl --namespace team-a delete pod triton",
        put(made.PODS, made.agent_pod(), made.pod("triton", containers=env("CUDA_VISIBLE_DEVICES", "0"))),
    ),
    "NVIDIA's variable chooses the GPU": (
        "visible-devices-set", "pod/team-a/triton", "kubectl --namespace team-a delete pod triton",
        put(made.PODS, made.agent_pod(), made.pod("triton", containers=env("NVIDIA_VISIBLE_DEVICES", "GPU-1"))),
    ),
    "another scheduler's pod on a node of ours": (
        "two-schedulers", "pod/team-a/foreign", "delete pod foreign",
        add(made.PODS, FOREIGN),
    ),
    "two services": (
        "two-services", "deployment/other/migsched-scheduler", "--replicas=0",
        add(made.DEPLOYMENTS, {**made.scheduler(), "metadata": {
            **made.scheduler()["metadata"], "namespace": "other"}}),
    ),
    "no replica is ready": (
        "scheduler-not-ready", "deployment/migsched-system/migsched-scheduler", "describe pods",
        put(made.DEPLOYMENTS, workload(made.scheduler(), readyReplicas=0)),
    ),
    "agents are not ready": (
        "agents-not-ready", "daemonset/migsched-agents/migsched-agent", "get pods",
        put(made.DAEMON_SETS, workload(made.agents(), numberReady=1, desiredNumberScheduled=2)),
    ),
    "an agent of another version": (
        "agent-version-skew", "mignode/gpu-1", "rollout restart daemonset/migsched-agent",
        put(made.MIG_NODES, {**made.mig_node(), "status": {
            **made.mig_node()["status"], "agent": {"version": "0.0.9", "mode": "managed"}}}),
    ),
    "a MigNode without a Node": (
        "mignode-without-node", "mignode/gone", "kubectl delete mignode gone",
        add(made.MIG_NODES, made.mig_node("gone", made.gpu(uuid="GPU-2"))),
    ),
    "an agent that never reported": (
        "mignode-missing", "node/gpu-2", "spec.nodeName=gpu-2",
        add(made.NODES, made.node("gpu-2")),
    ),
    "a MigNode that nobody keeps": (
        "mignode-stale", "mignode/gpu-2", "describe daemonset migsched-agent",
        both(add(made.NODES, made.node("gpu-2")), add(made.MIG_NODES, made.mig_node("gpu-2", made.gpu(uuid="GPU-2")))),
    ),
    "every agent is gone": (
        "mignode-stale", "mignode/gpu-1", "describe daemonset migsched-agent", put(made.PODS, made.pod("triton")),
    ),
    "a report that contradicts itself": (
        "report-unusable", "mignode/gpu-1", "delete pod",
        both(put(made.MIG_NODES, {**made.mig_node(), "status": {"contractVersion": 9}}),
             put(made.PODS, made.agent_pod())),
    ),
    "a lease that nobody holds": (
        "lease-unheld", "lease/migsched-system/migsched", "rollout restart deployment/migsched-scheduler",
        put(made.LEASES, made.lease(holder="")),
    ),
    "a lease that is not renewed": (
        "lease-unheld", "lease/migsched-system/migsched-queue", "rollout restart deployment/migsched-scheduler",
        add(made.LEASES, made.lease("migsched-queue", age_s=600)),
    ),
    "a placement of a slot that is not there": (
        "placement-slot-missing", "pod/team-a/lost", "delete pod lost",
        add(made.PODS, made.pod("lost", "2g.10gb", at=5)),
    ),
    "a pod on a node that is gone": (
        "pod-node-gone", "pod/team-a/lost", "delete pod lost",
        add(made.PODS, made.pod("lost", on="gone")),
    ),
    "a pod pinned to a node that is gone": (
        "pod-node-gone", "pod/team-a/lost", "delete pod lost",
        add(made.PODS, made.pod("lost", at=None, on="", affinity=pinned("gone"))),
    ),
    "a request that cannot be read": (
        "request-unusable", "pod/team-a/odd", "delete pod odd",
        add(made.PODS, made.pod("odd", "9x.1gb", at=None, on="")),
    ),
    "a pod that missed the queue's gate": (
        "scheduler-name-missing", "pod/team-a/early", "delete pod early",
        add(made.PODS, made.pod("early", at=None, on="", schedulerName="default-scheduler")),
    ),
    "the gate is missing": (
        "gate-missing", "mutatingadmissionpolicy/migsched-queue", "deploy/options/queue/gate.yaml",
        both(put(made.GATES), put(made.GATE_BINDINGS)),
    ),
    "the gate is not bound": (
        "gate-unbound", "mutatingadmissionpolicy/migsched-queue", "deploy/options/queue/gate.yaml",
        put(made.GATE_BINDINGS),
    ),
    "the agents' namespace is restricted": (
        "agents-forbidden", "namespace/migsched-agents", "enforce=privileged",
        put(made.NAMESPACES, made.named("migsched-agents", labels={"pod-security.kubernetes.io/enforce": "baseline"})),
    ),
    "kube-scheduler is not told of a profile": (
        "managed-resources-missing", "configmap/migsched-system/migsched-kube-scheduler", "edit configmap",
        put(made.CONFIG_MAPS, {**made.configuration(), "data": {"config.yaml": made.configuration()["data"][
            "config.yaml"].replace("- name: nvidia.com/mig-7g.40gb\n", "")}}),
    ),
    "a right is missing": (
        "rights-missing", "serviceaccount/migsched-system/migsched-scheduler", "--clusterrole=migsched-scheduler",
        lambda server: server.denied.add(("list", "mignodes")),
    ),
    "an older CRD": ("crd-outdated", "crd/mignodes.migsched.io", "deploy/crd", put(made.CRDS, older_crd())),
    "no CRD": ("crd-outdated", "crd/mignodes.migsched.io", "deploy/crd", put(made.CRDS)),
    "a Kubernetes out of support": (
        "kubernetes-too-old", "apiserver/version", "kubectl version",
        lambda server: server.version.update(minor="30+", gitVersion="v1.30.2"),
    ),
    "a Kubernetes that was not tried": (
        "kubernetes-untried", "apiserver/version", "kubectl version",
        lambda server: server.version.update(minor="39", gitVersion="v1.39.0"),
    ),
    "a driver that cannot cut the GPU": (
        "driver-too-old", "node/gpu-1", "spec",
        put(made.NODES, made.node(**{"nvidia.com/cuda.driver-version.major": "440"})),
    ),
    "a quota that is used up": (
        "quota-spent", "resourcequota/team-a/slices", "edit resourcequota slices",
        add(made.QUOTAS, {**made.named("slices", "team-a"), "status": {
            "hard": {"requests.nvidia.com/mig-1g.5gb": "2"}, "used": {"requests.nvidia.com/mig-1g.5gb": "2"}}}),
    ),
    "a LimitRange that gives slices": (
        "limit-range-changes-pods", "limitrange/team-a/defaults", "edit limitrange defaults",
        add(made.LIMIT_RANGES, {**made.named("defaults", "team-a"), "spec": {
            "limits": [{"type": "Container", "default": {"nvidia.com/mig-1g.5gb": "1"}}]}}),
    ),
    "a webhook whose authority runs out": (
        "webhook-certificate", "mutatingwebhookconfiguration/migsched-queue", "migsched-webhook-tls",
        put(made.WEBHOOKS, made.webhook(certificate(9))),
    ),
    "a webhook without an authority": (
        "webhook-certificate", "mutatingwebhookconfiguration/migsched-queue", "migsched-webhook-tls",
        put(made.WEBHOOKS, made.webhook(b"")),
    ),
    "an object that cannot be read": (
        "object-unreadable", "pods/team-a/poison", "get pods poison",
        add(made.PODS, b'{"metadata":{"name":"poison","namespace":"team-a","labels":{"nvidia.com/x":1}}}'),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "where", "fix", "plant"), CASES.values(), ids=CASES)
def test_a_planted_fault_is_found_with_its_fix_and_nothing_else(code: str, where: str, fix: str, plant: Plant) -> None:
    """A fault gives findings of its check alone, which name the object and a command that can be pasted."""
    server = healthy()
    plant(server)
    found = diagnosed(server).findings
    assert {finding.code for finding in found} == {code}
    assert where in {finding.object for finding in found}
    (finding,) = [finding for finding in found if finding.object == where][:1]
    assert fix in finding.fix
    assert shlex.split(finding.fix)[0] in ("kubectl", "migsched")
    assert finding.value


EXTENDER_CASES: dict[str, tuple[str, str, Plant]] = {
    "a pod that names no scheduler": (
        "scheduler-name-missing", "schedulerName: migsched",
        add(made.PODS, made.pod("forgot", at=None, on="", schedulerName="default-scheduler")),
    ),
    "a Dynamo graph that Grove refuses": (
        "grove-refuses-graph", "nvidia.com/enable-grove=false", add(made.GRAPHS, GROVE_GRAPH),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "fix", "plant"), EXTENDER_CASES.values(), ids=EXTENDER_CASES)
def test_a_fault_of_the_extender_is_found_with_its_fix(code: str, fix: str, plant: Plant) -> None:
    """Where pods name their scheduler, a forgotten name and a graph of Grove are faults."""
    server = healthy(queue=False)
    plant(server)
    (finding,) = diagnosed(server).findings
    assert (finding.code, fix in finding.fix) == (code, True)


@pytest.mark.parametrize("reason", [reason for reason in ReadyReason if reason not in ("Ready", "Observing")])
def test_every_reason_of_an_agent_that_is_not_ready_is_found(reason: ReadyReason) -> None:
    """Each reason of the runbook is one finding, with a fix of its own."""
    server = healthy()
    server.lists[made.MIG_NODES] = [made.mig_node(status="False", reason=reason.value, message="as it is")]
    (finding,) = diagnosed(server).findings
    assert (finding.code, finding.value) == ("agent-not-ready", f"{reason}: as it is")
    assert finding.fix.startswith(("kubectl", "migsched handover"))


@pytest.mark.parametrize("queue", [True, False], ids=["queue", "extender"])
def test_a_healthy_cluster_has_no_finding(queue: bool) -> None:
    """Every check looks, and none finds anything."""
    diagnosis = diagnosed(healthy(queue=queue))
    assert diagnosis.findings == ()
    assert diagnosis.not_looked_at == ()
    assert set(diagnosis.looked) == {check.code for check in registry.CHECKS}


def test_what_the_service_left_out_is_a_finding() -> None:
    """The counters of the running service are read."""
    service = Look((PicturedService("http://migsched", "0.1.0", (("pods", 3),)),))
    (finding,) = diagnosed(healthy(), service).findings
    assert (finding.code, finding.value) == ("service-left-objects-out", "3")


def every_code() -> Iterator[str]:
    """The codes that the tests of this file plant."""
    yield from (code for code, *_ in CASES.values())
    yield from (code for code, *_ in EXTENDER_CASES.values())
    yield from ("agent-not-ready", "service-left-objects-out", "agent-doubtful", "report-not-judged")


def test_every_check_has_a_planted_fault() -> None:
    """No check is without a fault that it was seen to find."""
    assert set(every_code()) == {check.code for check in registry.CHECKS}


def test_gpus_of_too_many_unknown_catalogues_are_not_judged_and_named() -> None:
    """Compiling takes long, and an object is anybody's: beyond a number the node is named, and nothing is claimed."""
    server = healthy()
    status = server.lists[made.MIG_NODES][0]["status"]
    status["catalogues"][0]["profiles"] = status["catalogues"][0]["profiles"][:2]
    server.lists[made.PODS] = [made.agent_pod()]
    scene = PictureReader(server, Scope(), made.SERVICE, made.NOW.timestamp, new_catalogues=0)
    (finding,) = registry.diagnose(asyncio.run(scene.read())).findings
    assert (finding.code, finding.value) == ("report-not-judged", "a100-40gb")
    assert {finding.code for finding in diagnosed(server).findings} == set()


@pytest.mark.parametrize(
    ("code", "fix", "spec"),
    [
        ("visible-devices-set", "set env deployment/chat CUDA_VISIBLE_DEVICES-",
         {"containers": env("CUDA_VISIBLE_DEVICES", "0")}),
        ("scheduler-name-missing", "patch deployment/chat --type=merge --patch",
         {"schedulerName": "default-scheduler", "nodeName": ""}),
    ],
)  # fmt: skip
def test_a_pod_that_a_deployment_makes_is_mended_in_its_template(code: str, fix: str, spec: dict[str, Any]) -> None:
    """What is wrong with a pod comes back with the next one, if its owner is not changed."""
    server = healthy(queue=False)
    pod = made.pod("chat-abc-1", at=None if "schedulerName" in spec else 3, **spec)
    pod["metadata"]["labels"] = {"pod-template-hash": "abc"}
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "chat-abc", "controller": True}]
    server.lists[made.PODS].append(pod)
    (finding,) = diagnosed(server).findings
    assert (finding.code, f"kubectl --namespace team-a {fix}" in finding.fix) == (code, True)


def test_a_runtime_that_does_not_fit_is_doubtful() -> None:
    """A condition beside Ready that is not True is a warning."""
    server = healthy()
    status = server.lists[made.MIG_NODES][0]["status"]
    status["conditions"].append({"type": "ContainerRuntime", "status": "Unknown", "reason": "Doubtful", "message": "m"})
    (finding,) = diagnosed(server).findings
    assert (finding.code, finding.value) == ("agent-doubtful", "Unknown: Doubtful: m")
