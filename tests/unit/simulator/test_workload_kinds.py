"""Kinds beyond Kubernetes' everyday ones become the pods that their operators would make; what is not read is named."""

import re
from collections import Counter
from typing import Any

import msgspec
import pytest

from kubeclient.objects import Pod
from scheduler.cache import pods
from simulator.cluster import nodes
from simulator.cluster.api import Document
from simulator.workloads import expand, manifests
from simulator.workloads.expand import Expansion
from simulator.workloads.fields import ManifestError

NODES = [nodes.document(node) for node in nodes.uniform(3, 1)]
SLICE = "{name: main, resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}"
LARGE = "{name: main, resources: {limits: {nvidia.com/mig-3g.20gb: 1}}}"
TEMPLATE = f"{{metadata: {{labels: {{app: web}}}}, spec: {{schedulerName: migsched, containers: [{SLICE}]}}}}"
HEAD = f"{{spec: {{schedulerName: migsched, containers: [{LARGE}]}}}}"


def expanded(text: str, **options: Any) -> Expansion:
    return expand.expand(manifests.parse(text, "test.yaml"), **{"nodes": NODES, **options})


def workload(kind: str, api_version: str, spec: str) -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: web}}\nspec: {{{spec}}}"


def names(expansion: Expansion) -> list[str]:
    return [pod["metadata"]["name"] for pod in expansion.pods]


def asked(expansion: Expansion) -> Counter[str]:
    return Counter(str(pods.request_of(msgspec.convert(pod, Pod))) for pod in expansion.pods)


def left_out(expansion: Expansion) -> dict[str, str]:
    return {left.field: left.why for left in expansion.left_out}


def owner(pod: Document) -> tuple[str, str]:
    reference = pod["metadata"]["ownerReferences"][0]
    return reference["kind"], reference["name"]


def test_replication_controller() -> None:
    """A ReplicationController's pods are named after it, as a ReplicaSet's are."""
    expansion = expanded(workload("ReplicationController", "v1", f"replicas: 2, template: {TEMPLATE}"))
    assert [re.sub(r"-[a-z0-9]{5}$", "", name) for name in names(expansion)] == ["web", "web"]
    assert {owner(pod) for pod in expansion.pods} == {("ReplicationController", "web")}


def test_cron_job_has_the_pods_of_its_next_job() -> None:
    """A CronJob has the pods of the Job that it makes when it is due, and none while suspended, which is said."""
    job = f"jobTemplate: {{spec: {{parallelism: 3, completions: 5, template: {TEMPLATE}}}}}"
    expansion = expanded(workload("CronJob", "batch/v1", f"schedule: '* * * * *', {job}"))
    assert asked(expansion) == {"1g.5gb": 3}
    assert {kind for kind, _ in map(owner, expansion.pods)} == {"Job"}
    assert not expansion.left_out
    suspended = expanded(workload("CronJob", "batch/v1", f"suspend: true, {job}"))
    assert not suspended.pods
    assert "suspended" in left_out(suspended)["spec.suspend"]


def test_daemon_set_has_a_pod_on_every_node() -> None:
    """A DaemonSet makes one pod per node, pinned to it, whatever its own affinity prefers."""
    expansion = expanded(workload("DaemonSet", "apps/v1", f"template: {TEMPLATE}"))
    pinned = []
    for pod in expansion.pods:
        required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        pinned += required["nodeSelectorTerms"][0]["matchFields"][0]["values"]
    assert pinned == [node["metadata"]["name"] for node in NODES]
    assert {owner(pod) for pod in expansion.pods} == {("DaemonSet", "web")}


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ("nodeSelector: {kubernetes.io/hostname: node-2}", 1),
        ("nodeSelector: {disk: fast}", 0),
        ("tolerations: [{key: gpu, operator: Exists}]", 3),
        ("tolerations: []", 2),
    ],
)
def test_daemon_set_goes_by_selector_and_taints(spec: str, number: int) -> None:
    """Nodes that the template does not select or tolerate get no pod; if none does, that is named with the reason."""
    tainted = [*NODES[:2], {**NODES[2], "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}]
    template = f"{{spec: {{{spec}, containers: [{SLICE}]}}}}"
    expansion = expanded(workload("DaemonSet", "apps/v1", f"template: {template}"), nodes=tainted)
    assert len(expansion.pods) == number
    assert ("no node here suits it" in left_out(expansion).get("spec.template", "")) == (number == 0)


def test_daemon_set_without_known_nodes_is_left_out() -> None:
    """Where no nodes are known, as for a question about capacity, a DaemonSet is named instead of guessed."""
    expansion = expanded(workload("DaemonSet", "apps/v1", f"template: {TEMPLATE}"), nodes=None)
    assert not expansion.pods
    assert "a pod on every node" in left_out(expansion)[""]


def test_leader_worker_set() -> None:
    """Each replica is a leader and size - 1 workers, of templates of their own."""
    both = f"leaderWorkerTemplate: {{size: 3, leaderTemplate: {HEAD}, workerTemplate: {TEMPLATE}}}"
    expansion = expanded(workload("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", f"replicas: 2, {both}"))
    assert names(expansion) == ["web-0", "web-0-1", "web-0-2", "web-1", "web-1-1", "web-1-2"]
    assert asked(expansion) == {"3g.20gb": 2, "1g.5gb": 4}
    assert expansion.pods[2]["metadata"]["labels"]["leaderworkerset.sigs.k8s.io/worker-index"] == "2"
    alike = workload(
        "LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", f"leaderWorkerTemplate: {{workerTemplate: {TEMPLATE}}}"
    )
    assert names(expanded(alike)) == ["web-0"]


@pytest.mark.parametrize(
    ("group", "number"),
    [
        ("replicas: 2", 2),
        ("replicas: 2, numOfHosts: 4", 8),
        ("minReplicas: 3", 3),
        ("replicas: 1, minReplicas: 3", 3),
        ("replicas: 9, maxReplicas: 4", 4),
        ("replicas: 2, maxReplicas: 2147483647", 2),
        ("replicas: 2, suspend: true", 0),
        ("minReplicas: 0", 0),
    ],
)
@pytest.mark.parametrize(
    ("kind", "form"),
    [("RayCluster", "{}"), ("RayJob", "rayClusterSpec: {{{}}}"), ("RayService", "rayClusterConfig: {{{}}}")],
)
def test_ray_cluster(kind: str, form: str, group: str, number: int) -> None:
    """One head, and of each group as many workers as wanted within its bounds, times its hosts."""
    cluster = (
        f"headGroupSpec: {{rayStartParams: {{}}, template: {HEAD}}}, "
        f"workerGroupSpecs: [{{groupName: small, {group}, rayStartParams: {{}}, template: {TEMPLATE}}}]"
    )
    spec = form.format(cluster) if "rayCluster" in form else cluster
    expansion = expanded(workload(kind, "ray.io/v1", spec))
    assert asked(expansion) == Counter({"3g.20gb": 1, "1g.5gb": number})
    assert expansion.pods[0]["metadata"]["labels"]["ray.io/node-type"] == "head"
    assert all(name.startswith("web-small-worker-") for name in names(expansion)[1:])


@pytest.mark.parametrize("format_", ["model", "triton", "huggingface"])
def test_inference_service(format_: str) -> None:
    """A predictor has minReplicas pods; what its model format asks for is asked for by kserve-container."""
    container = "{modelFormat: {name: vllm}, storageUri: 's3://a', resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}"
    predictor = f"{{minReplicas: 2, maxReplicas: 4, schedulerName: migsched, {format_}: {container}}}"
    expansion = expanded(workload("InferenceService", "serving.kserve.io/v1beta1", f"predictor: {predictor}"))
    assert asked(expansion) == {"1g.5gb": 2}
    assert all(name.startswith("web-predictor-") for name in names(expansion))
    spec = expansion.pods[0]["spec"]
    assert (spec["schedulerName"], spec["containers"][0]["name"]) == ("migsched", "kserve-container")
    assert "modelFormat" not in spec["containers"][0]
    assert not expansion.left_out


def test_inference_service_of_several_parts() -> None:
    """Transformer, own containers, workers of several nodes, and scale to zero."""
    spec = (
        f"predictor: {{model: {{resources: {{limits: {{nvidia.com/mig-3g.20gb: 1}}}}}}, "
        f"workerSpec: {{pipelineParallelSize: 3, containers: [{SLICE}]}}}}, "
        "transformer: {containers: [{name: kserve-container}]}"
    )
    expansion = expanded(workload("InferenceService", "serving.kserve.io/v1beta1", spec))
    assert asked(expansion) == {"3g.20gb": 1, "1g.5gb": 2, "nothing": 1}
    zero = "predictor: {minReplicas: 0, model: {}}"
    expansion = expanded(workload("InferenceService", "serving.kserve.io/v1beta1", zero))
    assert not expansion.pods
    assert "until a request comes" in left_out(expansion)["spec.predictor.minReplicas"]


def graph(version: str, components: str) -> str:
    return workload("DynamoGraphDeployment", f"nvidia.com/{version}", components)


@pytest.mark.parametrize(("count", "pods_each"), [("nodeCount: 3", 3), ("", 2), ("nodeCount: 1", 1)])
def test_dynamo_components_of_several_nodes(count: str, pods_each: int) -> None:
    """A component with multinode has nodeCount pods per replica, in both versions of the API."""
    beta = graph("v1beta1", f"components: [{{name: w, replicas: 2, multinode: {{{count}}}, podTemplate: {TEMPLATE}}}]")
    alpha = graph(
        "v1alpha1",
        f"services: {{w: {{replicas: 2, multinode: {{{count}}}, "
        "resources: {limits: {gpu: '1', gpuType: nvidia.com/mig-1g.5gb}}}}",
    )
    for text in (beta, alpha):
        expansion = expanded(text)
        assert asked(expansion) == {"1g.5gb": 2 * pods_each}
        assert not expansion.left_out
        labels = [pod["metadata"]["labels"]["nvidia.com/dynamo-component"] for pod in expansion.pods]
        assert labels == ["w"] * 2 * pods_each


def test_dynamo_resources_of_the_main_container_are_merged() -> None:
    """What extraPodSpec.mainContainer asks for counts; where the service asks for the same itself, that wins."""
    extra = (
        "extraPodSpec: {mainContainer: {resources: {limits: {nvidia.com/mig-1g.5gb: 1, cpu: 2}, requests: {cpu: 1}}}}"
    )
    (pod,) = expanded(graph("v1alpha1", f"services: {{w: {{{extra}, resources: {{limits: {{cpu: 4}}}}}}}}")).pods
    assert pod["spec"]["containers"][0]["resources"] == {
        "limits": {"nvidia.com/mig-1g.5gb": 1, "cpu": 4},
        "requests": {"cpu": 1},
    }


def test_dynamo_main_container_of_another_name() -> None:
    """mainContainerNameOverride names the container that must be there; a wrong one is refused with that name."""
    template = f"{{spec: {{containers: [{SLICE.replace('main', 'engine')}]}}}}"
    component = f"{{name: w, mainContainerNameOverride: engine, podTemplate: {template}}}"
    assert asked(expanded(graph("v1beta1", f"components: [{component}]"))) == {"1g.5gb": 1}
    with pytest.raises(ManifestError, match="'motor'"):
        expanded(graph("v1beta1", f"components: [{component.replace('Override: engine', 'Override: motor')}]"))
    alpha = graph("v1alpha1", "services: {w: {mainContainerNameOverride: engine}}")
    assert expanded(alpha).pods[0]["spec"]["containers"][0]["name"] == "engine"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (workload("Deployment", "apps/v1", f"fleet: 3, template: {TEMPLATE}"), "spec.fleet"),
        (workload("Deployment", "apps/v1", f"template: {{spec: {{resourceClaims: [{{}}], containers: [{SLICE}]}}}}"),
         "spec.template.spec.resourceClaims"),
        (workload("Deployment", "apps/v1", f"template: {{spec: {{nodeSelectr: {{}}, containers: [{SLICE}]}}}}"),
         "spec.template.spec.nodeSelectr"),
        (graph("v1beta1", f"components: [{{name: w, scalingAdapter: {{}}, podTemplate: {TEMPLATE}}}]"),
         "spec.components[0].scalingAdapter"),
        (graph("v1alpha1", "services: {w: {gpuMemoryService: {enabled: true}}}"), "spec.services.w.gpuMemoryService"),
        (graph("v1alpha1", "services: {w: {resources: {limits: {tpu: 1}}}}"), "spec.services.w.resources.limits.tpu"),
        (workload("InferenceService", "serving.kserve.io/v1beta1", "predictor: {model: {}, router: {}}"),
         "spec.predictor.spec.router"),
        (workload("PodCliqueSet", "grove.io/v1alpha1", "replicas: 2"), ""),
        (workload("ScaledObject", "keda.sh/v1alpha1", ""), ""),
        (workload("InferenceService", "serving.kserve.io/v1alpha2", "default: {}"), "apiVersion"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(text: str, field: str) -> None:
    """An unknown kind, and a field that may change pods and is not read, is left out by kind, name, field and why."""
    (left,) = expanded(text).left_out
    assert (left.field, left.name, left.place) == (field, "web", "test.yaml: document 1")
    assert left.kind in text
    assert left.why
    assert left.why in str(left)


def test_kinds_without_pods_are_not_left_out() -> None:
    """A Service makes no pods and is no loss; it is listed apart."""
    expansion = expanded(
        "\n---\n".join(
            workload(kind, version, "")
            for kind, version in [("Service", "v1"), ("Role", "rbac.authorization.k8s.io/v1")]
        )
    )
    assert [skipped.kind for skipped in expansion.skipped] == ["Service", "Role"]
    assert not expansion.left_out


@pytest.mark.parametrize(
    "spec",
    [
        "replicas: 100000, leaderWorkerTemplate: {size: 100000, workerTemplate: %s}",
        "replicas: 11, leaderWorkerTemplate: {size: 1, workerTemplate: %s}",
    ],
)
def test_the_pods_of_all_manifests_are_bounded(spec: str) -> None:
    """Numbers that are multiplied do not make more pods than are allowed in all."""
    with pytest.raises(ManifestError, match="more than 10 pods"):
        expanded(workload("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", spec % TEMPLATE), most=10)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("a: &a [*a]", "is too large"),
        ("a: " + "[" * 100 + "]" * 100, "is nested too deeply"),
        ("a: " + "[" * 60_000 + "]" * 60_000, "is nested too deeply"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
        ), "is too large"),
        ("1: 2", "must be texts"),
        ("{[1, 2]: 3}", "is not YAML"),
    ],
)  # fmt: skip
def test_documents_that_are_no_json_are_refused(text: str, fix: str) -> None:
    """A document that refers to itself, grows by its references or has keys that are no texts is refused at once."""
    with pytest.raises(ManifestError, match=fix):
        expanded(text)
