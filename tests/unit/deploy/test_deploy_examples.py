"""The examples are pods that a real user would write, and ask for slices that exist."""

from collections import Counter
from pathlib import Path

import pytest

from allocator import request
from allocator.mig import gpu_models
from tests.unit.deploy import manifests

A100 = gpu_models.find("a100-40gb")
GPUS = 8


def asked(template: manifests.Manifest) -> Counter[str]:
    """Slices by profile, over the containers of one pod."""
    containers = [
        request.ContainerRequest(c["name"], {**c["resources"].get("requests", {}), **c["resources"]["limits"]})
        for c in template["spec"]["containers"]
    ]
    return Counter(dict(request.of_containers(containers).counts))


def templates(path: Path) -> list[tuple[int, manifests.Manifest]]:
    """(replicas, template) of each pod that a file makes."""
    found = []
    for document in manifests.documents(path):
        replicas = {c["name"]: c["replicas"] for c in document.get("spec", {}).get("components", [])}
        for part, template in manifests.pod_templates(document):
            found.append((replicas.get(part, document["spec"].get("replicas", 1)), template))
    return found


EXAMPLES = sorted(manifests.EXAMPLES.glob("*.yaml"))  # those in systems/ are tried in test_deploy_systems


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_pods_name_no_scheduler_and_known_profiles(path: Path) -> None:
    """No pod of an example names a scheduler, and all ask only for profiles of the A100-40GB."""
    found = templates(path)
    assert found
    for _replicas, template in found:
        assert "schedulerName" not in template["spec"]
        assert asked(template).keys() <= A100.by_name.keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_pods_with_slices_tolerate_the_taint_of_gpu_nodes(path: Path) -> None:
    """A pod that asks for a slice tolerates nvidia.com/gpu:NoSchedule; one that does not stays off such nodes."""
    for _replicas, template in templates(path):
        keys = [t["key"] for t in template["spec"].get("tolerations", [])]
        assert keys == (["nvidia.com/gpu"] if asked(template) else [])


def test_examples_ask_for_what_the_readme_says() -> None:
    """Kinds, replicas and slices of the examples are those that the table of README.md lists."""
    found = {
        path.stem: (document["kind"], [(replicas, dict(asked(template))) for replicas, template in templates(path)])
        for path in EXAMPLES
        for document in manifests.documents(path)[:1]
    }
    assert found == {
        "triton-1g": ("Deployment", [(14, {"1g.5gb": 1})]),
        "triton-3g": ("Deployment", [(1, {"3g.20gb": 1})]),
        "dynamo-graph": ("DynamoGraphDeployment", [(1, {}), (3, {"2g.10gb": 1})]),
        "batch-7g": ("Job", [(1, {"7g.40gb": 1})]),
        "cannot-fit": ("Pod", [(1, {"7g.40gb": 8, "1g.5gb": 1})]),
    }


def test_what_cannot_fit_is_offered_profile_by_profile() -> None:
    """The pod that cannot fit passes Kubernetes' own count on an empty node of eight GPUs, but not their memory."""
    ((_replicas, template),) = templates(manifests.EXAMPLES / "cannot-fit.yaml")
    wanted = asked(template)
    assert all(number <= GPUS * A100.profile(name).max_instances for name, number in wanted.items())
    slices = sum(number * A100.profile(name).memory_slices for name, number in wanted.items())
    assert slices > GPUS * A100.memory_slices


def test_a_node_holds_the_examples() -> None:
    """All pods that can be placed fit one node of eight GPUs, 64 CPUs and 256 GiB by their requests."""
    cpu = memory = slices = 0.0
    for path in EXAMPLES:
        if path.stem == "cannot-fit":
            continue
        for replicas, template in templates(path):
            for container in template["spec"]["containers"]:
                requests = container["resources"]["requests"]
                cpu += replicas * int(requests["cpu"].removesuffix("m")) / 1000
                memory += replicas * mebibytes(requests["memory"])
            slices += replicas * sum(n * A100.profile(name).memory_slices for name, n in asked(template).items())
    assert cpu <= 16
    assert memory <= 32 * 1024
    assert slices <= GPUS * A100.memory_slices


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_images_are_pinned(path: Path) -> None:
    """No example follows a moving tag."""
    for _replicas, template in templates(path):
        for container in template["spec"]["containers"]:
            _name, _colon, tag = container["image"].rpartition(":")
            assert tag not in ("", "latest")
            assert "/" not in tag


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_no_example_sets_cuda_visible_devices(path: Path) -> None:
    """The slice reaches the container through the device plugin; frameworks fail on MIG UUIDs in that variable."""
    for _replicas, template in templates(path):
        for container in template["spec"]["containers"]:
            assert "CUDA_VISIBLE_DEVICES" not in {variable["name"] for variable in container.get("env", [])}


def mebibytes(quantity: str) -> float:
    for suffix, factor in {"Gi": 1024, "Mi": 1}.items():
        if quantity.endswith(suffix):
            return float(quantity.removesuffix(suffix)) * factor
    raise ValueError(quantity)
