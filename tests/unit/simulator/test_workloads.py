"""Manifests become the pods that their controllers would make, or an error that names the place."""

import re
from pathlib import Path

import msgspec
import pytest

from kubeclient.objects import Pod
from scheduler.cache import pods
from simulator.cluster.api import Document
from simulator.workloads import expand, manifests
from simulator.workloads.expand import Expansion
from simulator.workloads.fields import ManifestError

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
TEMPLATE = """
    metadata: {labels: {app: web}, annotations: {migsched.io/movable: "true"}}
    spec:
      schedulerName: migsched
      containers:
      - {name: main, resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}
"""


def expanded(text: str, **options: object) -> Expansion:
    return expand.expand(manifests.parse(text, "test.yaml"), **options)  # type: ignore[arg-type]  # test options


def workload(kind: str, api_version: str, spec: str) -> str:
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{spec}\n  template:{TEMPLATE}"


def requests(pods_made: list[Document]) -> list[str]:
    return [str(pods.request_of(msgspec.convert(pod, Pod))) for pod in pods_made]


def names(expansion: Expansion) -> list[str]:
    return [pod["metadata"]["name"] for pod in expansion.pods]


def test_deployment_becomes_its_replica_sets_pods() -> None:
    """A Deployment's pods are named after a ReplicaSet, carry its hash, and keep the template's metadata and spec."""
    expansion = expanded(workload("Deployment", "apps/v1", "  replicas: 3"))
    assert len(set(names(expansion))) == 3
    for pod in expansion.pods:
        meta = pod["metadata"]
        replica_set = meta["ownerReferences"][0]
        assert replica_set["kind"] == "ReplicaSet"
        assert re.fullmatch(r"web-[a-z0-9]{8,10}", replica_set["name"])
        assert re.fullmatch(re.escape(replica_set["name"]) + "-[a-z0-9]{5}", meta["name"])
        assert meta["labels"] == {"app": "web", "pod-template-hash": replica_set["name"].removeprefix("web-")}
        assert meta["annotations"] == {"migsched.io/movable": "true"}
        assert pod["spec"]["schedulerName"] == "migsched"
    assert requests(expansion.pods) == ["1g.5gb"] * 3
    assert len({pod["metadata"]["ownerReferences"][0]["uid"] for pod in expansion.pods}) == 1


def test_replica_set_and_bare_pod() -> None:
    """A ReplicaSet's pods are named after it; a pod is itself, one replica is the default."""
    expansion = expanded(workload("ReplicaSet", "apps/v1", "  paused: false"))
    assert [re.sub(r"-[a-z0-9]{5}$", "", name) for name in names(expansion)] == ["web"]
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: alone, namespace: team}\nspec: {containers: [{name: a}]}"
    (alone,) = expanded(text).pods
    assert (alone["metadata"]["name"], alone["metadata"]["namespace"]) == ("alone", "team")
    assert "ownerReferences" not in alone["metadata"]


def test_stateful_set_counts_its_pods() -> None:
    """A StatefulSet's pods have stable names from its first ordinal on."""
    expansion = expanded(workload("StatefulSet", "apps/v1", "  replicas: 2\n  ordinals: {start: 5}"))
    assert names(expansion) == ["web-5", "web-6"]
    assert expansion.pods[1]["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "web-6"


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ("  suspend: false", 1),
        ("  parallelism: 4", 4),
        ("  parallelism: 4\n  completions: 2", 2),
        ("  completions: 9", 1),
        ("  parallelism: 4\n  suspend: true", 0),
    ],
)
def test_job_runs_so_many_pods_at_once(spec: str, number: int) -> None:
    """A Job has as many pods as run in parallel, no more than are to complete, none while suspended."""
    expansion = expanded(workload("Job", "batch/v1", spec))
    assert len(expansion.pods) == number
    assert all(pod["metadata"]["ownerReferences"][0]["kind"] == "Job" for pod in expansion.pods)


def test_indexed_job_numbers_its_pods() -> None:
    """An indexed Job's pods carry their index in name and annotation."""
    expansion = expanded(workload("Job", "batch/v1", "  parallelism: 2\n  completions: 2\n  completionMode: Indexed"))
    assert [re.sub(r"-[a-z0-9]{5}$", "", name) for name in names(expansion)] == ["web-0", "web-1"]
    assert expansion.pods[1]["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "1"


def test_dynamo_graph_v1beta1() -> None:
    """Each component of a graph becomes a Deployment of its own, labelled as the operator does."""
    expansion = expand.expand(manifests.read(EXAMPLES / "dynamo-graph.yaml"))
    assert [name.rsplit("-", 2)[0] for name in names(expansion)] == ["qwen-frontend", *["qwen-vllmworker"] * 3]
    assert requests(expansion.pods) == ["nothing", *["2g.10gb"] * 3]
    labels = expansion.pods[1]["metadata"]["labels"]
    assert labels["nvidia.com/dynamo-graph-deployment-name"] == "qwen"
    assert labels["nvidia.com/dynamo-component"] == "VllmWorker"
    assert labels["nvidia.com/dynamo-component-type"] == "worker"


def test_dynamo_graph_v1alpha1() -> None:
    """The older version counts `gpu` of a `gpuType`, takes custom resources, and has its container's fields apart."""
    expansion = expanded(
        """
        apiVersion: nvidia.com/v1alpha1
        kind: DynamoGraphDeployment
        metadata: {name: old}
        spec:
          services:
            Frontend: {componentType: frontend, replicas: 1}
            Worker:
              replicas: 2
              resources: {limits: {cpu: 2, gpu: "1", gpuType: nvidia.com/mig-3g.20gb}}
              extraPodMetadata: {labels: {team: a}}
              extraPodSpec: {schedulerName: migsched, mainContainer: {image: worker:1}}
            Custom:
              resources: {limits: {custom: {nvidia.com/mig-1g.5gb: "2"}}}
        """
    )
    assert requests(expansion.pods) == ["nothing", "3g.20gb", "3g.20gb", "2 × 1g.5gb"]
    worker = expansion.pods[1]
    assert worker["metadata"]["labels"]["team"] == "a"
    assert worker["spec"]["schedulerName"] == "migsched"
    assert worker["spec"]["containers"][0]["image"] == "worker:1"


def test_other_kinds_are_listed_as_skipped() -> None:
    """What makes no pods, or what we do not know, is named with its place."""
    expansion = expand.expand(manifests.read(EXAMPLES / "triton-1g.yaml"))
    (skipped,) = expansion.skipped
    assert (skipped.kind, skipped.name, skipped.place) == ("Service", "triton-1g", "triton-1g.yaml: document 2")
    assert len(expansion.pods) == 14


def test_lists_are_opened_and_empty_documents_passed_over() -> None:
    """A v1 List counts as its items; comments between documents count as nothing."""
    item = "{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {containers: [{name: a}]}}"
    expansion = expanded(f"---\n# nothing\n---\napiVersion: v1\nkind: List\nitems: [{item % 'x'}, {item % 'y'}]\n")
    assert names(expansion) == ["x", "y"]


def test_same_seed_gives_the_same_pods() -> None:
    """Names follow from the seed."""
    text = workload("Deployment", "apps/v1", "  replicas: 2")
    assert names(expanded(text, seed=3)) == names(expanded(text, seed=3)) != names(expanded(text, seed=4))


def test_many_pods_of_one_workload_have_different_names() -> None:
    """Among thousands of pods two random names would be the same by chance; they are not."""
    expansion = expanded(workload("Deployment", "apps/v1", "  replicas: 20000"))
    assert len(set(names(expansion))) == 20_000


def test_namespace_is_the_manifests_or_the_given_one() -> None:
    """A manifest's own namespace wins over the one given for all."""
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a%s}\nspec: {containers: [{name: a}]}"
    both = expanded(f"{text % ', namespace: own'}\n---\n{text % '2'}", namespace="given")
    assert [pod["metadata"]["namespace"] for pod in both.pods] == ["own", "given"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "test.yaml"),
        ("just text", "test.yaml: document 1"),
        ("[1, 2]", "test.yaml: document 1"),
        ("kind: Pod", "test.yaml: document 1: apiVersion"),
        ("apiVersion: v1\nkind: Pod", "test.yaml: document 1: metadata"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "test.yaml: document 1: metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}", "test.yaml: document 1: metadata.name"),
        ("---\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}", "test.yaml: document 2: spec"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}", "spec.containers"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [a]}", "spec.containers"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{}]}", "spec.containers[0].name"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: 1}}]}",
            "spec.containers[0].resources.limits",
        ),
        (workload("Deployment", "apps/v1", "  replicas: -1"), "spec.replicas"),
        (workload("Deployment", "apps/v1", "  replicas: many"), "spec.replicas"),
        (workload("Deployment", "apps/v1", "  replicas: 1000000000"), "spec.replicas"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {}", "spec.template"),
        (
            "apiVersion: nvidia.com/v1beta1\nkind: DynamoGraphDeployment\nmetadata: {name: a}\n"
            "spec: {components: [{}]}",
            "spec.components[0].podTemplate",
        ),
        (
            "apiVersion: nvidia.com/v1beta1\nkind: DynamoGraphDeployment\nmetadata: {name: a}\n"
            "spec: {components: [{name: w, podTemplate: {spec: {containers: [{name: worker}]}}}]}",
            "spec.components[0].podTemplate.spec.containers",
        ),
        ("apiVersion: nvidia.com/v9\nkind: DynamoGraphDeployment\nmetadata: {name: a}\nspec: {}", "apiVersion"),
    ],
)
def test_errors_name_file_document_and_field(text: str, where: str) -> None:
    """Bad input says where it stands and what would do."""
    with pytest.raises(ManifestError) as caught:
        expanded(text)
    assert caught.value.field.endswith(where)
    assert caught.value.field.startswith("test.yaml")
    assert caught.value.fix


def test_two_pods_of_one_name_are_refused() -> None:
    """Manifests that would make two pods of one name are refused before anything is created."""
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}"
    with pytest.raises(ManifestError, match="default/a"):
        expanded(f"{text}\n---\n{text}")


def test_files_that_are_not_there_name_their_path(tmp_path: Path) -> None:
    """A missing file, one that is no text, and a folder without manifests each name themselves."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml", "empty"):
        with pytest.raises(ManifestError, match=name):
            manifests.read(tmp_path / name)
