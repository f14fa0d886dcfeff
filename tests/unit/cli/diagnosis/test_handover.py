"""Which changes give a node to migsched, and back; their patches by the published schemas."""

import asyncio
import copy
import json
import shlex
from typing import Any

import jsonschema
import pytest

from allocator import errors
from cli.diagnosis import handover, objects
from cli.diagnosis.checks import operator
from cli.diagnosis.picture import ClusterPicture, Look
from cli.diagnosis.reader import PictureReader, Scope
from kubeclient.objects import Meta
from tests import published_crds
from tests.unit.cli.diagnosis import healthy as made
from tests.unit.cli.diagnosis.healthy import MemoryServer, healthy

FRESH = {**made.named(made.NODE, labels={"nvidia.com/gpu.present": "true"}), "spec": {}, "status": {}}


def read(server: MemoryServer) -> ClusterPicture:
    """What `migsched handover` reads of the node."""
    return asyncio.run(PictureReader(server, Scope(node=made.NODE), Look(), lambda: 0.0).read_node())


def fresh(*policies: Any, clusters: int = 0) -> ClusterPicture:
    """A node that nobody has handed over."""
    server = healthy()
    server.lists[made.NODES] = [FRESH]
    server.lists[made.POLICY] = list(policies)
    server.lists[made.GPU_CLUSTERS] = [made.named("gpu-cluster")] * clusters
    return read(server)


def merged(document: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        result = {**result, key: merged(result.get(key), value)}
        if value is None:
            del result[key]
    return result


def labels_after(picture: ClusterPicture, *, back: bool = False) -> dict[str, str]:
    """The node's labels once all patches are sent."""
    node = picture.nodes.items[0]
    labels: dict[str, str] = dict(node.labels)
    for step in (handover.back if back else handover.forward)(picture, node):
        if step.patch is not None and step.path.startswith("/api/v1/nodes/"):
            labels = merged({"metadata": {"labels": labels}}, step.patch)["metadata"]["labels"]
    return labels


def test_a_fresh_node_is_handed_over_in_order() -> None:
    """The policy comes first, then the drain, then NVIDIA's managers go, then the agent comes, then the node opens."""
    picture = fresh({**made.named("cluster-policy"), "spec": {"mig": {"strategy": "single"}}})
    steps = list(handover.forward(picture, picture.nodes.items[0]))
    assert [shlex.split(step.command)[1] for step in steps] == ["patch", "drain", "label", "label", "wait", "uncordon"]
    assert labels_after(picture).items() >= {**made.OPERATOR_LABELS, "migsched.io/agent": "true"}.items()


def test_a_node_that_is_handed_over_needs_no_change() -> None:
    """What is set already is left out, so that the command can be repeated."""
    picture = read(healthy())
    assert [step for step in handover.forward(picture, picture.nodes.items[0]) if step.patch is not None] == []


def test_the_way_back_ends_where_the_operator_began() -> None:
    """The agent's label goes, and the operator's two components are wanted again."""
    after = labels_after(read(healthy()), back=True)
    assert "migsched.io/agent" not in after
    assert {after[label] for label in made.OPERATOR_LABELS} == {"true"}


def test_under_gpu_cluster_the_dra_driver_is_kept_off_and_let_back() -> None:
    """GPUCluster sweeps the labels of ClusterPolicy's components: its own label is set in their place."""
    picture = fresh(clusters=1)
    after = labels_after(picture)
    assert after[operator.DRA_LABEL] == "false"
    assert not set(made.OPERATOR_LABELS) & set(after)
    server = healthy()
    server.lists[made.NODES] = [{**FRESH, "metadata": {**FRESH["metadata"], "labels": after}}]
    server.lists[made.GPU_CLUSTERS] = [made.named("gpu-cluster")]
    assert labels_after(read(server), back=True) == {"nvidia.com/gpu.present": "true"}


def test_pods_that_use_the_gpus_are_named() -> None:
    """Slices and whole GPUs count, pods that are over or elsewhere do not."""
    server = healthy()
    whole = made.pod("whole", at=None, containers=[{"name": "c", "resources": {"limits": {"nvidia.com/gpu": 1}}}])
    over = {**made.pod("over"), "status": {"phase": "Succeeded"}}
    server.lists[made.PODS] += [whole, over, made.pod("elsewhere", on="gpu-2")]
    assert handover.users(read(server), made.NODE) == ["team-a/triton", "team-a/whole"]


def test_variables_of_the_validator_are_kept() -> None:
    """A merge patch replaces a list, so it repeats what the policy has."""
    spec = objects.ClusterPolicySpec(
        mig=objects.MigStrategy("mixed"),
        validator=objects.Validator(
            objects.CudaValidator((objects.EnvVar("A", "1"), objects.EnvVar("WITH_WORKLOAD", "true")))
        ),
    )
    patch = handover.policy_patch(objects.ClusterPolicy(Meta("p"), spec))
    env = [{"name": "A", "value": "1"}, {"name": "WITH_WORKLOAD", "value": "false"}]
    assert patch == {"validator": {"cuda": {"env": env}}}


def patches() -> list[dict[str, Any]]:
    """What `handover`, and fixes of `doctor`, write into a ClusterPolicy."""
    picture = fresh({**made.named("cluster-policy"), "spec": {}})
    of_handover = [
        dict(step.patch or {}) for step in handover.forward(picture, picture.nodes.items[0]) if "policies" in step.path
    ]
    broken = healthy()
    broken.lists[made.POLICY] = [{**made.named("cluster-policy"), "spec": {}}]
    broken.lists[made.NODES] = [made.node(**{"nvidia.com/cuda.driver-version.major": "440"})]
    words = [shlex.split(finding.fix) for finding in made.diagnosed(broken).findings]
    of_doctor = [json.loads(fix[-1]) for fix in words if fix[1:3] == ["patch", "clusterpolicy"]]
    assert len(of_doctor) == 3
    return of_handover + of_doctor


def test_patches_of_the_policy_are_what_its_published_schema_takes() -> None:
    """Every patch, merged into a policy, is taken by the CRD of GPU Operator 26.7, unknown fields refused."""
    schema = published_crds.closed(published_crds.spec_schema("clusterpolicies.nvidia.com"))
    least: dict[str, Any] = {name: {} for name in schema["required"]}
    assert not list(jsonschema.Draft7Validator(schema).iter_errors({**least, "operator": {}}))
    for patch in patches():
        spec = merged(copy.deepcopy(least), patch["spec"])
        assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(spec)] == []
    wrong = merged(copy.deepcopy(least), {"mig": {"strategie": "mixed"}})
    assert list(jsonschema.Draft7Validator(schema).iter_errors(wrong)), "the schema refuses a slip"


def test_the_fields_that_the_doctor_reads_are_those_of_the_published_schema() -> None:
    """Each field of a ClusterPolicy that is read exists in GPU Operator 26.7."""
    schema = published_crds.spec_schema("clusterpolicies.nvidia.com")
    of_spec = {field.encode_name for field in objects_fields(objects.ClusterPolicySpec)}
    assert of_spec <= set(schema["properties"])
    for switch in ("devicePlugin", "migManager", "toolkit", "cdi"):
        assert "enabled" in schema["properties"][switch]["properties"]


def objects_fields(type_: Any) -> Any:
    """The fields of a struct as JSON has them."""
    import msgspec

    return msgspec.structs.fields(type_)


@pytest.mark.parametrize("kind", [made.POLICY, made.PODS], ids=["ClusterPolicies", "pods"])
def test_what_may_not_be_read_is_not_guessed(kind: str) -> None:
    """A look that is refused has its reason, so that the command can refuse to go on."""
    server = healthy()
    server.refused[kind] = errors.RefusedError(f"list {kind}: HTTP 403: forbidden")
    picture = read(server)
    assert "403" in (picture.cluster_policies.why_not or picture.pods.why_not)
