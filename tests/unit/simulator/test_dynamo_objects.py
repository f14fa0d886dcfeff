"""What the stand-in for Dynamo's operator makes of graphs of both versions."""

from typing import Any

import pytest

from simulator.workloads import dynamo_objects, manifests
from simulator.workloads.fields import ManifestError
from tests.unit.deploy.manifests import EXAMPLES

V1ALPHA1 = """
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {name: old}
spec:
  services:
    Worker:
      componentType: worker
      replicas: 2
      envs: [{name: DYN_SYSTEM_PORT, value: "9090"}]
      livenessProbe: {httpGet: {path: /alive, port: 9090}}
      resources: {limits: {gpu: "1", gpuType: nvidia.com/mig-1g.5gb}}
      extraPodSpec:
        mainContainer: {image: runtime, command: [python3, -m, dynamo.vllm]}
"""


def made(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Objects by kind and name."""
    (graph,) = manifests.parse(text, "graph.yaml")
    return {(one["kind"], one["metadata"]["name"]): one for one in dynamo_objects.objects(graph, "apps")}


def test_each_component_becomes_a_deployment_and_a_service_that_discovery_finds() -> None:
    """Selectors, labels and ports fit each other, and all pods run under the account that may discover."""
    objects = made((EXAMPLES / "dynamo-graph.yaml").read_text(encoding="utf-8"))
    for name, port, replicas in (("qwen-frontend", 8000, 1), ("qwen-vllmworker", 9090, 3)):
        deployment, service = objects["Deployment", name], objects["Service", name]
        template = deployment["spec"]["template"]
        assert deployment["spec"]["replicas"] == replicas
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert service["metadata"]["labels"]["nvidia.com/dynamo-discovery-enabled"] == "true"
        assert [entry["port"] for entry in service["spec"]["ports"]] == [port]
        assert template["spec"]["serviceAccountName"] == "qwen-k8s-service-discovery"
        assert template["spec"]["containers"][0]["readinessProbe"]["httpGet"] == {"path": "/health", "port": port}
        assert "schedulerName" not in template["spec"]
    (subject,) = objects["RoleBinding", "qwen-k8s-service-discovery"]["subjects"]
    assert (subject["name"], subject["namespace"]) == ("qwen-k8s-service-discovery", "apps")


def test_what_a_graph_says_itself_is_kept() -> None:
    """Variables, probes and slices of a v1alpha1 service reach its container; the operator's defaults do not win."""
    deployment = made(V1ALPHA1)["Deployment", "old-worker"]
    (main,) = deployment["spec"]["template"]["spec"]["containers"]
    assert main["livenessProbe"] == {"httpGet": {"path": "/alive", "port": 9090}}
    assert [variable["name"] for variable in main["env"]].count("DYN_SYSTEM_PORT") == 1
    assert main["resources"]["limits"] == {"nvidia.com/mig-1g.5gb": "1"}
    assert main["command"] == ["python3", "-m", "dynamo.vllm"]


def test_a_component_of_several_nodes_is_refused() -> None:
    """The stand-in makes no LeaderWorkerSet, and says so with the field."""
    with pytest.raises(ManifestError, match="multinode"):
        made(V1ALPHA1.replace("replicas: 2", "replicas: 1\n      multinode: {nodeCount: 2}"))
