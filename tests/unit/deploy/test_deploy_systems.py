"""deploy/examples/systems: what other systems' objects ask of slices is what the A100-40GB has."""

from collections import Counter

import pytest
import yaml

from allocator.mig import gpu_models
from simulator.workloads import dynamo_objects, expand
from simulator.workloads import manifests as workload_manifests
from tests.unit.deploy import manifests
from tests.unit.deploy.test_deploy_examples import asked

SYSTEMS = manifests.EXAMPLES / "systems"
A100 = gpu_models.find("a100-40gb")
PODS = {  # slices of each pod, by example
    "dynamo-disaggregated": [{}, {"3g.20gb": 1}, {"2g.10gb": 1}, {"2g.10gb": 1}],
    "dynamo-v1alpha1": [{}, {"2g.10gb": 1}, {"2g.10gb": 1}],
    "kserve": [{"1g.5gb": 1}, {"1g.5gb": 1}],
    "kueue": [],
    "quota": [],
    "route": [],
    "several-slices": [{"1g.5gb": 1, "2g.10gb": 1}],
    "triton-autoscaled": [],
    "triton-route": [],
    "vllm": [{"3g.20gb": 1}, {"3g.20gb": 1}],
}


def test_every_system_has_a_row_in_the_readme() -> None:
    """The table lists exactly the files of the folder."""
    readme = (SYSTEMS / "README.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in readme.splitlines() if line.startswith("| `")]
    assert sorted(rows) == [path.name for path in manifests.files(SYSTEMS)]


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_ask_for_these_slices_name_no_scheduler_and_tolerate_gpu_nodes(name: str) -> None:
    """The pods that controllers make of an example ask for what is said here, of profiles that exist."""
    pods = expand.expand(workload_manifests.read(SYSTEMS / f"{name}.yaml")).pods
    assert [dict(asked(pod)) for pod in pods] == PODS[name]
    for pod in pods:
        assert "schedulerName" not in pod["spec"]
        tolerated = [toleration["key"] for toleration in pod["spec"].get("tolerations", ())]
        assert tolerated == (["nvidia.com/gpu"] if asked(pod) else [])
        for container in pod["spec"]["containers"]:
            assert "CUDA_VISIBLE_DEVICES" not in {variable["name"] for variable in container.get("env", ())}


def test_the_ways_from_outside_lead_to_the_front_end_of_the_example_graph() -> None:
    """Route and Ingress name the Service, and its port, that the operator makes for dynamo-graph.yaml."""
    (graph,) = workload_manifests.read(manifests.EXAMPLES / "dynamo-graph.yaml")
    services = {one["metadata"]["name"]: one for one in dynamo_objects.objects(graph, "x") if one["kind"] == "Service"}
    route = manifests.one(SYSTEMS / "route.yaml", "Route")["spec"]
    ingress = manifests.one(SYSTEMS / "route.yaml", "Ingress")["spec"]
    ((path,),) = (rule["http"]["paths"] for rule in ingress["rules"])
    named = [(route["to"]["name"], route["port"]["targetPort"])]
    named.append((path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"]))
    for service, port in named:
        assert port in {entry["name"] for entry in services[service]["spec"]["ports"]}


def test_the_route_to_triton_leads_to_the_example() -> None:
    """It names the Service of triton-1g.yaml and one of its ports, and waits longer than the router's 30 s."""
    service = manifests.one(manifests.EXAMPLES / "triton-1g.yaml", "Service")
    route = manifests.one(SYSTEMS / "triton-route.yaml", "Route")
    assert route["spec"]["to"]["name"] == service["metadata"]["name"]
    assert route["spec"]["port"]["targetPort"] in {port["name"] for port in service["spec"]["ports"]}
    assert route["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"].endswith("m")


def test_a_quota_names_every_profile() -> None:
    """No profile is forgotten, which would be without a limit."""
    (quota,) = manifests.documents(SYSTEMS / "quota.yaml")
    assert quota["spec"]["hard"].keys() == {f"requests.{profile.resource}" for profile in A100.profiles}


def test_kueue_counts_the_memory_slices_that_profiles_take() -> None:
    """Each profile of the GPU is turned into as many memory slices as it covers, and the queue covers their sum."""
    (config,) = (one for one in manifests.documents(SYSTEMS / "kueue.yaml") if one["kind"] == "ConfigMap")
    rows = yaml.safe_load(config["data"]["resources.yaml"])["resources"]["transformations"]
    counts = {row["input"]: row["outputs"]["migsched.io/memory-slices"] for row in rows}
    assert counts == {profile.resource: profile.memory_slices for profile in A100.profiles}
    assert Counter(row["strategy"] for row in rows) == {"Replace": len(A100.profiles)}


def test_the_autoscalers_scale_the_example_no_higher_than_its_own_replicas() -> None:
    """They name the Deployment of triton-1g.yaml, and the monitor selects its pods and a port of theirs."""
    deployment = manifests.one(manifests.EXAMPLES / "triton-1g.yaml", "Deployment")
    documents = {one["kind"]: one["spec"] for one in manifests.documents(SYSTEMS / "triton-autoscaled.yaml")}
    template = deployment["spec"]["template"]
    for kind, most in (("HorizontalPodAutoscaler", "maxReplicas"), ("ScaledObject", "maxReplicaCount")):
        assert documents[kind]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert documents[kind][most] == deployment["spec"]["replicas"]
    monitor = documents["PodMonitor"]
    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports


def test_the_notebooks_choices_are_profiles() -> None:
    """The JupyterHub values of the README offer slices that exist, with the toleration that GPU nodes ask for."""
    readme = (SYSTEMS / "README.md").read_text(encoding="utf-8")
    values = yaml.safe_load(readme.partition("```yaml\n")[2].partition("```")[0])
    choices = [choice["kubespawner_override"] for choice in values["singleuser"]["profileList"]]
    limits = [name for choice in choices for name in choice.get("extra_resource_limits", {})]
    assert limits
    assert set(limits) <= {profile.resource for profile in A100.profiles}
    assert [toleration["key"] for toleration in values["singleuser"]["extraTolerations"]] == ["nvidia.com/gpu"]
