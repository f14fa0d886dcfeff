"""deploy/chart as Helm renders it: the same objects as the kustomizations, and values that make no sense refused."""

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import kubernetes_schemas
from tests.e2e.helm import Document, Helm
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

AGENT_OPTIONS = {
    "agent-host-driver": {"hostDriver": True},
    "agent-operator-toolkit": {"operatorToolkit": True},
    "agent-operator-client": {"operatorClient": True},
    "agent-operator-labels": {"operatorLabels": True},
}
NETWORK = {"networkPolicy": {"agents": True}}
WEBHOOK = {"admission": "webhook", "webhook": {"certificate": "secret"}}
SERVICE_CA = {"admission": "webhook", "webhook": {"certificate": "service-ca"}}
QUEUE = ("options/queue", "options/queue-replicas")
WITH_MOVES = ("options/queue", "options/moves", "options/queue-replicas")
LOCK = {"apiLock": {"enabled": True}}
WITH_LOCK = ("options/queue", "options/api-lock", "options/queue-replicas")
WITH_WEBHOOK = ("options/queue", "options/queue-webhook", "options/queue-replicas")


@dataclass(frozen=True)
class Pair:
    """Values of the chart, and the overlay that makes the same objects."""

    name: str
    values: Document
    resources: tuple[str, ...] = ("kustomize", "agent")
    components: tuple[str, ...] = ()
    left_out: frozenset[str] = field(default_factory=frozenset)  # of the overlay's objects, beside ALWAYS_LEFT_OUT


ALWAYS_LEFT_OUT = {"Namespace/migsched-system": "helm install --create-namespace makes it, before the release"}
WITHOUT_KUBE_SCHEDULER = frozenset(  # the overlay keeps them beside replicas that run no kube-scheduler
    {
        "ConfigMap/migsched-kube-scheduler",
        "ClusterRoleBinding/migsched-scheduler-as-kube-scheduler",
        "ClusterRoleBinding/migsched-scheduler-as-volume-scheduler",
        "RoleBinding/migsched-scheduler-authentication-reader",
        "RoleBinding/migsched-scheduler-lease",
        "Role/migsched-scheduler-lease",
    }
)
UNNAMED = {"mode": "extender", "extender": {"unnamedPods": "off"}}
OPENSHIFT = {"openshift": {"enabled": True}}
PAIRS = [
    Pair("queue", {}, components=QUEUE, left_out=WITHOUT_KUBE_SCHEDULER),
    Pair("queue-webhook", {"queue": WEBHOOK}, components=WITH_WEBHOOK, left_out=WITHOUT_KUBE_SCHEDULER),
    Pair("queue-moves", {"queue": {"moves": True}}, components=WITH_MOVES, left_out=WITHOUT_KUBE_SCHEDULER),
    Pair("queue-lock", LOCK, components=WITH_LOCK, left_out=WITHOUT_KUBE_SCHEDULER),
    Pair("extender", UNNAMED),
    Pair("extender-lock", {**UNNAMED, **LOCK}, components=("options/api-lock",)),
    Pair("extender-warn", {"mode": "extender"}, ("kustomize", "agent", "admission/warn")),
    Pair(
        "extender-deny",
        {"mode": "extender", "extender": {"unnamedPods": "deny"}},
        ("kustomize", "agent", "admission/deny"),
    ),
    Pair("openshift-extender", {**UNNAMED, **OPENSHIFT}, ("openshift", "openshift-agent")),
    Pair(
        "openshift-queue",
        {"queue": SERVICE_CA, **OPENSHIFT},
        ("openshift", "openshift-agent"),
        WITH_WEBHOOK,
        WITHOUT_KUBE_SCHEDULER,
    ),
    *(
        Pair(name, {**UNNAMED, "agent": option}, components=(f"options/{name}",))
        for name, option in AGENT_OPTIONS.items()
    ),
    Pair("agent-network-policy", {**UNNAMED, **NETWORK}, components=("options/agent-network-policy",)),
    Pair(
        "agent-with-all",
        {**UNNAMED, **NETWORK, "agent": {name: True for option in AGENT_OPTIONS.values() for name in option}},
        components=(*(f"options/{name}" for name in AGENT_OPTIONS), "options/agent-network-policy"),
    ),
]
# Labels that Helm's users expect on a chart's objects.
HELM_LABELS = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}
# Annotations of the chart alone: the CRD outlives the release, and a changed configuration restarts kube-scheduler,
# for which kustomize changes the ConfigMap's name.
HELM_ANNOTATIONS = {"helm.sh/resource-policy", "checksum/kube-scheduler"}
# Annotations that ask for a certificate: the chart keeps the one of the source that is chosen.
CERTIFICATES = {
    "cert-manager.io/inject-ca-from",
    "service.beta.openshift.io/inject-cabundle",
    "service.beta.openshift.io/serving-cert-secret-name",
}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_chart_renders_what_the_kustomizations_build(
    helm: Helm, binaries: build.Binaries, pair: Pair, tmp_path: Path
) -> None:
    """Object for object the chart and the overlay of the same mode are the same, but for the differences listed."""
    built = {key: compared(document) for key, document in by_name(overlay(binaries, pair, tmp_path)).items()}
    rendered = {key: compared(document) for key, document in by_name(helm.template(pair.values)).items()}
    assert rendered.keys() == built.keys() - ALWAYS_LEFT_OUT.keys() - pair.left_out
    assert pair.left_out <= built.keys()
    for key, document in rendered.items():
        assert document == built[key], key


def overlay(binaries: build.Binaries, pair: Pair, folder: Path) -> list[Document]:
    """What kustomize builds."""

    def relative(name: str) -> str:
        return os.path.relpath(manifests.DEPLOY / name, folder)

    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(name) for name in pair.resources],
        "components": [relative(name) for name in pair.components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    plane = ControlPlane(folder / "unused", binaries=binaries)  # for its kubectl alone
    (folder / "unused").mkdir()
    return list(yaml.safe_load_all(plane.kubectl("kustomize", str(folder)).stdout))


def by_name(documents: list[Document]) -> dict[str, Document]:
    """Objects by kind and name, that of a ConfigMap without the hash that kustomize gives it."""
    named = {f"{d['kind']}/{config_name(d['metadata']['name'])}": d for d in documents}
    assert len(named) == len(documents)
    return named


def config_name(name: str) -> str:
    prefix = "migsched-kube-scheduler"
    return prefix if name.startswith(f"{prefix}-") else name


def compared(document: Document) -> Document:
    """An object without what may differ."""
    document = copy.deepcopy(document)
    for metadata in metadatas(document):
        for name, ignored in (("labels", HELM_LABELS), ("annotations", HELM_ANNOTATIONS | CERTIFICATES)):
            left = {key: value for key, value in metadata.get(name, {}).items() if key not in ignored}
            metadata.pop(name, None)
            if left:
                metadata[name] = left
    document["metadata"]["name"] = config_name(document["metadata"]["name"])
    for _part, template in manifests.pod_templates(document):
        spec = template["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            for name in ("env", "volumeMounts"):
                if name in container:
                    container[name] = sorted(container[name], key=lambda entry: str(entry["name"]))
        spec["volumes"] = sorted(spec["volumes"], key=lambda volume: str(volume["name"]))
        for volume in spec["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["name"] = config_name(volume["configMap"]["name"])
    return document


def metadatas(document: Document) -> Iterator[Document]:
    yield document["metadata"]
    for _part, template in manifests.pod_templates(document):
        metadata: Any = template["metadata"]
        yield metadata


MONITORING = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")
SWITCHES: dict[str, Document] = {
    "queue": {},
    "queue-generated": {"queue": {"admission": "webhook"}},
    "queue-cert-manager": {"queue": {"admission": "webhook", "webhook": {"certificate": "cert-manager"}}},
    "queue-none": {"queue": {"admission": "none"}, "scheduler": {"replicas": 1}},
    "extender-mutate": {"mode": "extender", "extender": {"unnamedPods": "mutate"}},
    "standalone": {"mode": "standalone"},
    "simulate": {"simulate": {"enabled": True}},
    "locked": {
        **LOCK,
        "monitoring": {"serviceMonitor": {"enabled": True, "tokenSecret": "prometheus"}},
        "openshift": {"enabled": True, "route": {"enabled": True, "host": "migsched.example.com"}},
    },
    "no-agent": {"agent": {"enabled": False}, "crds": {"install": False}, "networkPolicy": {"enabled": False}},
    "all": {
        "image": {
            "repository": "registry.example.com/migsched",
            "schedulerDigest": f"sha256:{'0' * 64}",
            "agentDigest": f"sha256:{'1' * 64}",
        },
        "imagePullSecrets": [{"name": "registry"}],
        "commonLabels": {"team": "gpu"},
        "scheduler": {
            "settings": {"queue_order": "fair", "queue_patience_s": 604800, "queue_events": False},
            "podAnnotations": {"a": "b"},
            "podLabels": {"a": "b"},
            "nodeSelector": {"a": "b"},
            "affinity": {"nodeAffinity": {}},
            "serviceAccountAnnotations": {"a": "b"},
        },
        "agent": {
            "settings": {"inject": "runtime", "observer": True},
            "podAnnotations": {"a": "b"},
            "podLabels": {"a": "b"},
            "nodeSelector": {"a": "b"},
            "maxUnavailable": "10%",
            "serviceAccountAnnotations": {"a": "b"},
        },
        "service": {"annotations": {"a": "b"}},
        "networkPolicy": {"agents": True, "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        "priorityClasses": {"create": True},
        "monitoring": {name: {"enabled": True} for name in MONITORING},
        "openshift": {"enabled": True, "route": {"enabled": True, "host": "migsched.example.com"}},
    },
}
OTHERS = {
    "CustomResourceDefinition",
    "ServiceMonitor",
    "PodMonitor",
    "PrometheusRule",
    "Route",
    "Issuer",
    "Certificate",
}
NEWER = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
VERSIONS = tuple(f"1.{minor}" for minor in range(31, 38))


def test_every_switch_renders_objects_that_kubernetes_knows(helm: Helm) -> None:
    """With each switch every object is valid, without an unknown field, for each Kubernetes from 1.31 to 1.37."""
    rendered = {json.dumps(document): document for values in SWITCHES.values() for document in helm.template(values)}
    known = [document for document in rendered.values() if document["kind"] not in OTHERS]
    assert len({document["kind"] for document in known}) > 15
    wrong = [
        f"{version}: {problem}"
        for document in known
        for version in (VERSIONS[-2:] if document["kind"] in NEWER else VERSIONS)
        for problem in kubernetes_schemas.problems(document, version)
    ]
    assert wrong == []
    assert kubernetes_schemas.problems({**known[0], "spek": {}}, VERSIONS[0])


def test_values_reach_the_objects(helm: Helm) -> None:
    """Image, settings, labels, pull secrets, priorities and peers are where they belong."""
    objects = by_name(helm.template(SWITCHES["all"]))
    assert all(document["metadata"]["labels"]["team"] == "gpu" for document in objects.values())
    for key, prefix, image in (
        ("Deployment/migsched-scheduler", "MIGSCHED_", f"migsched-scheduler@sha256:{'0' * 64}"),
        ("DaemonSet/migsched-agent", "MIGSCHED_AGENT_", f"migsched-agent@sha256:{'1' * 64}"),
    ):
        template = objects[key]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container["image"] == f"registry.example.com/{image}"
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        assert template["spec"]["priorityClassName"] in {"migsched-scheduler", "migsched-agent"}
        assert template["metadata"]["labels"].items() >= {"a": "b", "app.kubernetes.io/name": "migsched"}.items()
        assert template["metadata"]["annotations"]["a"] == "b"
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert all(variable.startswith(prefix) for variable in variables)
        values = {"MIGSCHED_QUEUE_PATIENCE_S": "604800", "MIGSCHED_QUEUE_EVENTS": "false"}
        assert prefix != "MIGSCHED_" or variables.items() >= values.items()
    (service,) = objects["Deployment/migsched-scheduler"]["spec"]["template"]["spec"]["containers"]
    (hosts,) = (variable["value"] for variable in service["env"] if variable["name"] == "MIGSCHED_API_HOSTS")
    assert hosts.split(",")[-1] == "migsched.example.com"
    for policy in ("migsched-scheduler", "migsched-agent"):
        assert len(objects[f"NetworkPolicy/{policy}"]["spec"]["ingress"][0]["from"]) == 2


def test_another_namespace_is_named_everywhere(helm: Helm) -> None:
    """In other namespaces no object, policy or argument names the usual ones."""
    namespaces = {"agent": {"namespace": {"name": "gpu-agents"}}}
    for mode in ("extender", "standalone"):
        text = yaml.safe_dump_all(helm.template({"mode": mode, **namespaces}, namespace="gpus"))
        assert "migsched-system" not in text
        assert "migsched-agents" not in text
        assert "system:serviceaccount:gpus:migsched-scheduler" in text


def test_simulated_agents_have_no_privilege(helm: Helm) -> None:
    """An agent of simulated GPUs opens no device: it is not privileged, and mounts neither /dev nor a driver."""
    agent = by_name(helm.template(SWITCHES["simulate"]))["DaemonSet/migsched-agent"]["spec"]["template"]["spec"]
    (container,) = agent["containers"]
    assert container["command"] == ["migsched", "agent", "--simulate", "a100-40gb:8"]
    assert "privileged" not in container["securityContext"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"dev", "driver"} & {volume["name"] for volume in agent["volumes"]}
    assert {volume["name"] for volume in agent["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}


def test_whoever_reaches_a_locked_api_speaks_tls_to_it(helm: Helm) -> None:
    """With the lock the Route and Prometheus ask the Service's port over TLS, and Prometheus shows a token."""
    objects = by_name(helm.template(SWITCHES["locked"]))
    (port,) = objects["Service/migsched"]["spec"]["ports"]
    route = objects["Route/migsched"]["spec"]
    (scraped,) = objects["ServiceMonitor/migsched-scheduler"]["spec"]["endpoints"]
    assert port["name"] == route["port"]["targetPort"] == scraped["port"] == "https"
    assert route["tls"]["termination"] == "reencrypt"
    assert scraped["scheme"] == "https"
    assert scraped["tlsConfig"]["serverName"] == "migsched.migsched-system.svc"
    assert scraped["authorization"] == {"credentials": {"name": "prometheus", "key": "token"}}


def test_rules_and_dashboards_are_those_of_the_repository(helm: Helm) -> None:
    """The chart's PrometheusRules are deploy/monitoring's, with the address of the docs; each dashboard is whole."""
    docs = "https://docs.example.com"
    rules = {"enabled": True, "docsUrl": docs}
    objects = by_name(helm.template({"monitoring": {"prometheusRule": rules, "dashboards": {"enabled": True}}}))
    for path in (manifests.DEPLOY / "monitoring" / "rules").glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("https://example.invalid/migsched", docs)
        rule = yaml.safe_load(text)
        assert compared(objects[f"PrometheusRule/{rule['metadata']['name']}"]) == compared(rule)
    told = [d["data"] for key, d in objects.items() if key.startswith("ConfigMap/migsched-dashboard-")]
    there = (manifests.DEPLOY / "monitoring" / "dashboards").glob("*.json")
    assert sorted(map(str, told)) == sorted(str({path.name: path.read_text(encoding="utf-8")}) for path in there)


def test_the_gate_is_given_as_the_cluster_can(helm: Helm) -> None:
    """A policy where MutatingAdmissionPolicy is served as v1, by its version or by what it says; else a webhook."""

    def kinds(*arguments: str) -> set[str]:
        return {document["kind"] for document in helm.template({}, *arguments)}

    served = "--api-versions=v1/Pod,admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
    assert "MutatingAdmissionPolicy" in kinds("--kube-version=1.36.0")
    assert "MutatingAdmissionPolicy" in kinds("--kube-version=1.36.0", served)
    for arguments in (("--kube-version=1.35.4",), ("--kube-version=1.36.0", "--api-versions=v1/Pod")):
        assert {"MutatingWebhookConfiguration", "Secret"} <= kinds(*arguments)
        assert "MutatingAdmissionPolicy" not in kinds(*arguments)


def test_lint_has_nothing_to_say(helm: Helm) -> None:
    """`helm lint --strict` finds nothing but that there is no icon."""
    done = helm.run("lint", "--strict", str(manifests.CHART))
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == [
        "[INFO] Chart.yaml: icon is recommended"
    ]
