"""The manifests are well-formed, fit each other, and ask for no more rights than they need."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from scheduler import settings
from testbed.control_plane import build
from tests.unit.deploy import manifests

# OpenShift 4.18 is Kubernetes 1.31, the oldest that we say we install on.
VERSIONS = ("1.31", "1.36")
# Kinds of an option that needs a newer one (docs/queue.md).
NEWER = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
# Kinds that Kubernetes' own API does not have.
OTHERS = {"Kustomization", "Component", "KubeSchedulerConfiguration", "DynamoGraphDeployment", "Plugin"}
# Those of the Prometheus Operator and of autoscalers: tests/e2e/test_foreign_kinds.py tries them.
OTHERS |= {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject"}
OTHERS |= {"ClusterQueue", "InferenceService", "LocalQueue", "ResourceFlavor", "Route", "SecondaryScheduler"}
# What Pod Security's level `restricted` and OpenShift's restricted-v2 both admit.
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}

DEPLOYMENT = manifests.one(manifests.DEPLOY / "kustomize" / "deployment.yaml", "Deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
EXTENDER = POD["initContainers"][0]
KUBE_SCHEDULER = POD["containers"][0]
CONFIG = manifests.one(manifests.KUBE_SCHEDULER_CONFIG, "KubeSchedulerConfiguration")


def relative(path: Path) -> str:
    return str(path.relative_to(manifests.DEPLOY))


def default(name: str) -> Any:
    return settings.Settings.model_fields[name].default


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", manifests.files(), ids=relative)
def test_objects_follow_the_schema_of_kubernetes(path: Path, version: str) -> None:
    """Every object is valid, without an unknown field, for the oldest and the tested Kubernetes."""
    found = manifests.documents(path)
    assert found
    for document in found:
        served = document["kind"] not in NEWER or version == VERSIONS[-1]
        if document["kind"] not in OTHERS and served:
            kubernetes_validate.validate(document, version, strict=True)
        for _part, template in manifests.pod_templates(document):
            wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
            kubernetes_validate.validate(wrapped, version, strict=True)


@pytest.mark.parametrize("path", manifests.files(), ids=relative)
def test_pods_are_hardened(path: Path) -> None:
    """No container may gain privileges, keep capabilities or leave the default seccomp profile, nor mount the host."""
    for document in manifests.documents(path):
        if document["kind"] == "DaemonSet":
            continue  # the node agent alone needs more: test_deploy_agent.py says what
        for part, template in manifests.pod_templates(document):
            pod = template["spec"]
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, part
            assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), part
            for volume in pod.get("volumes", []):
                assert volume.keys() - {"name"} <= VOLUMES, part
            for container in manifests.containers(pod):
                security = container["securityContext"]
                assert security["allowPrivilegeEscalation"] is False, container["name"]
                assert security["capabilities"] == {"drop": ["ALL"]}, container["name"]
                assert "runAsUser" not in security, container["name"]


def test_the_scheduler_runs_unprivileged_on_a_read_only_file_system() -> None:
    """Both containers of the scheduler run as a user that is not root and cannot write to their image."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in manifests.containers(POD))


def test_the_extender_starts_before_kube_scheduler_and_ends_after_it() -> None:
    """The extender is a sidecar that has to be ready first: no filter call meets an empty picture of the cluster."""
    assert EXTENDER["restartPolicy"] == "Always"
    assert EXTENDER["startupProbe"]["httpGet"]["path"] == "/readyz"


def test_one_scheduler_at_a_time() -> None:
    """The old pod is gone before the new one starts, and a lease keeps a stray one from scheduling."""
    assert DEPLOYMENT["spec"]["replicas"] == 1
    assert DEPLOYMENT["spec"]["strategy"] == {"type": "Recreate"}
    assert CONFIG["leaderElection"]["leaderElect"] is True


def test_the_next_holder_of_the_lease_waits_for_the_last_bind() -> None:
    """A holder that lost the lease has seen its last bind call end before another may start."""
    election = {key: seconds(value) for key, value in CONFIG["leaderElection"].items() if str(value).endswith("s")}
    call = seconds(CONFIG["extenders"][0]["httpTimeout"])
    assert election["renewDeadline"] + call < election["leaseDuration"]
    assert default("bind_timeout_s") < call


def test_the_next_leader_waits_for_the_last_bind_of_the_one_before() -> None:
    """A replica that lost the lease has seen its last Binding end before another may decide."""
    assert default("lease_renew_deadline_s") + default("bind_timeout_s") < default("lease_duration_s")


def test_a_drain_leaves_a_replica() -> None:
    """The budget of the replicas selects the Deployment's pods and lets one go at a time."""
    folder = manifests.DEPLOY / "options" / "queue-replicas"
    budget = manifests.one(folder / "disruption-budget.yaml", "PodDisruptionBudget")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": DEPLOYMENT["spec"]["selector"]}


def test_shutting_down_fits_the_grace_period() -> None:
    """Binds in flight can be finished before the pod is killed."""
    assert default("shutdown_s") < POD["terminationGracePeriodSeconds"]


def test_ports_are_those_that_the_service_listens_on() -> None:
    """kube-scheduler, probes and Service name the ports that `migsched scheduler` takes by default."""
    address = f"http://{default('extender_host')}:{default('extender_port')}/v1"
    assert CONFIG["extenders"][0]["urlPrefix"] == address
    service = manifests.one(manifests.DEPLOY / "kustomize" / "service.yaml", "Service")
    probes = [EXTENDER[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")]
    assert {*probes, service["spec"]["ports"][0]["targetPort"]} == {default("api_port")}
    assert not default("api_host").startswith("127.")


def test_service_variables_do_not_reach_the_settings() -> None:
    """A Service named migsched would put MIGSCHED_… variables into every container; links are off."""
    assert POD["enableServiceLinks"] is False


def test_the_deployment_finds_what_it_refers_to() -> None:
    """ServiceAccount, ConfigMap and labels that the Deployment and its Service name exist."""
    account = manifests.one(manifests.DEPLOY / "rbac" / "scheduler" / "service-account.yaml", "ServiceAccount")
    assert POD["serviceAccountName"] == account["metadata"]["name"]
    generated = manifests.one(manifests.DEPLOY / "kube-scheduler" / "kustomization.yaml", "Kustomization")
    (source,) = generated["configMapGenerator"]
    (config,) = (v["configMap"]["name"] for v in POD["volumes"] if "configMap" in v)
    assert (config, source["files"]) == (source["name"], ["config.yaml"])
    (mount,) = (m["mountPath"] for m in KUBE_SCHEDULER["volumeMounts"] if m["name"] == "config")
    assert f"--config={mount}/config.yaml" in KUBE_SCHEDULER["args"]
    service = manifests.one(manifests.DEPLOY / "kustomize" / "service.yaml", "Service")
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels
    assert service["spec"]["selector"].items() <= labels


def test_the_image_of_kube_scheduler_is_the_version_under_test() -> None:
    """The kube-scheduler that is deployed is the one that the end-to-end tests and benchmarks run."""
    kustomization = manifests.one(manifests.DEPLOY / "kustomize" / "kustomization.yaml", "Kustomization")
    tags = {image["name"]: image["newTag"] for image in kustomization["images"]}
    assert tags[KUBE_SCHEDULER["image"]] == build.default_version()
    assert EXTENDER["image"] in tags


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
