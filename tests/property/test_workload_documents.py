"""Manifests of any content: pods, or an error that names field, value and fix, and never more pods than allowed."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from allocator import errors
from simulator.cluster import nodes
from simulator.workloads import expand, manifests
from simulator.workloads.expand import Expansion

MOST = 50
NODES = [nodes.document(node) for node in nodes.uniform(2, 1)]
KINDS = [
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("v1", "List"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
    ("nvidia.com/v1alpha1", "DynamoGraphDeployment"),
    ("nvidia.com/v1beta1", "DynamoGraphDeployment"),
    ("ray.io/v1", "RayCluster"),
    ("ray.io/v1", "RayJob"),
    ("ray.io/v1", "RayService"),
    ("serving.kserve.io/v1beta1", "InferenceService"),
    ("example.com/v1", "Unknown"),
]
FIELDS = [
    "affinity", "completions", "components", "containers", "explainer", "extraPodMetadata", "extraPodSpec", "gpu",
    "gpuType", "groupName", "headGroupSpec", "initContainers", "items", "jobTemplate", "labels", "leaderTemplate",
    "leaderWorkerTemplate", "limits", "mainContainer", "mainContainerNameOverride", "metadata", "minReplicas", "model",
    "multinode", "name", "namespace", "nodeAffinity", "nodeCount", "nodeSelector", "numOfHosts", "ordinals",
    "parallelism", "pipelineParallelSize", "podTemplate", "predictor", "rayClusterConfig", "rayClusterSpec", "replicas",
    "requests", "resources", "services", "size", "spec", "start", "suspend", "template", "tolerations", "transformer",
    "triton", "unknown", "workerGroupSpecs", "workerSpec", "workerTemplate",
]  # fmt: skip
CONTAINERS = [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": 1}}}]
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 6),
    st.sampled_from([10**5, 10**6, 2**63, 0.5, "0", "1", "main", "a-b", "", "nvidia.com/mig-1g.5gb"]),
)
values = st.recursive(
    scalars | st.sampled_from([TEMPLATE, CONTAINERS, {"spec": {"containers": CONTAINERS}}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)

SPECS: dict[str, dict[str, Any]] = {
    "Pod": TEMPLATE["spec"],  # type: ignore[dict-item]  # of one shape
    "List": {},
    "CronJob": {"jobTemplate": {"spec": {"template": TEMPLATE}}},
    "LeaderWorkerSet": {"replicas": 2, "leaderWorkerTemplate": {"size": 2, "workerTemplate": TEMPLATE}},
    "DynamoGraphDeployment": {
        "components": [{"name": "a", "podTemplate": TEMPLATE, "multinode": {"nodeCount": 2}}],
        "services": {"a": {"resources": {"limits": {"gpu": 1}}, "extraPodSpec": {"mainContainer": {}}}},
    },
    "RayCluster": {
        "headGroupSpec": {"template": TEMPLATE},
        "workerGroupSpecs": [{"groupName": "g", "replicas": 2, "template": TEMPLATE}],
    },
    "InferenceService": {"predictor": {"minReplicas": 2, "model": {}, "workerSpec": {}}},
}
SPECS["RayJob"] = {"rayClusterSpec": SPECS["RayCluster"]}
SPECS["RayService"] = {"rayClusterConfig": SPECS["RayCluster"]}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A manifest of a known shape in which some fields are others, are missing or are more."""
    api_version, kind = draw(st.sampled_from(KINDS))
    spec = SPECS.get(kind, {"replicas": 2, "template": TEMPLATE})
    whole = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}
    for _ in range(draw(st.integers(0, 3))):
        whole = _mutated(draw, whole)
    return whole


def _mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with one part, at any depth, in place of another."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from([*value, draw(st.sampled_from(FIELDS))]))
        return {**value, key: _mutated(draw, value.get(key))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _mutated(draw, value[index]), *value[index + 1 :]]
    return draw(values)


@given(st.lists(documents(), min_size=1, max_size=3), st.booleans())
def test_any_document_makes_pods_or_a_clear_error(made: list[dict[str, Any]], known_nodes: bool) -> None:
    """Nothing is raised but an InputError with field, value and fix; pods are pods, few, and of different names."""
    expanded = _expanded(yaml.safe_dump_all(made), known_nodes=known_nodes)
    if isinstance(expanded, errors.InputError):
        assert (bool(expanded.field), bool(expanded.fix), hasattr(expanded, "value")) == (True, True, True)
        return
    assert len(expanded.pods) <= MOST
    keys = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in expanded.pods]
    assert len(set(keys)) == len(keys)
    assert all(pod["spec"]["containers"] for pod in expanded.pods)
    assert all(left.kind and left.name and left.why and left.place for left in expanded.left_out)
    assert all(isinstance(key, str) for pod in expanded.pods for key in (pod["metadata"]["name"], pod["kind"]))


def _expanded(text: str, *, known_nodes: bool) -> Expansion | errors.InputError:
    try:
        parsed = manifests.parse(text, "any.yaml")
        return expand.expand(parsed, nodes=NODES if known_nodes else None, most=MOST)
    except errors.InputError as error:
        return error
