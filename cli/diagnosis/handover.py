"""Which changes give a node's GPUs to migsched, or back to NVIDIA's device plugin. Pure; asked by `migsched handover`.

What is set already is left out. A change has a command that can be pasted, and the patch that does the same; a step
without a patch is the operator's own: what may be evicted, and when a node is open again. Labels: GPU Operator's node
labelling controller, which keeps values that are not empty. GPUCluster sweeps the labels of ClusterPolicy's components,
so they are not set where it serves nodes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from cli.diagnosis import objects
from cli.diagnosis.checks import operator
from cli.diagnosis.picture import AGENT_LABEL, ClusterPicture, PicturedNode
from cli.diagnosis.text import command
from node_agent.cluster import coexistence

Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HandoverStep:
    """One step. `path` and `patch` (a JSON merge patch) are what `--apply` sends; without a patch it is left out."""

    title: str
    command: str
    path: str = ""
    patch: Patch | None = None


def users(picture: ClusterPicture, node: str) -> list[str]:
    """Pods that use the node's GPUs or slices, by `namespace/name`: before a change of hands they have to go."""
    return sorted(pod.title for pod in picture.pods if pod.node == node and pod.uses_gpus and not pod.over)


def forward(picture: ClusterPicture, node: PicturedNode) -> Iterator[HandoverStep]:
    """Give a node to migsched."""
    for policy in picture.cluster_policies:
        patch = policy_patch(policy)
        if patch:
            path = f"/apis/nvidia.com/v1/clusterpolicies/{policy.metadata.name}"
            said = operator.patch_policy(policy.metadata.name, _json({"spec": patch}))
            yield HandoverStep(
                "name resources after profiles; no workload in the validator", said, path, {"spec": patch}
            )
    yield _drain(node)
    labels = {operator.DRA_LABEL: "false"} if tuple(picture.gpu_clusters) else coexistence.OPERATOR_LABELS
    yield from _labelled(node, "keep NVIDIA's own managers of GPUs off the node", labels)
    yield from _labelled(node, "start migsched's agent", {AGENT_LABEL: "true"})
    yield HandoverStep("see it ready", command("kubectl", "wait", "--for=condition=Ready", f"mignode/{node.name}"))
    yield HandoverStep("open the node", command("kubectl", "uncordon", node.name))


def back(picture: ClusterPicture, node: PicturedNode) -> Iterator[HandoverStep]:
    """Give a node back to the GPU Operator. The ClusterPolicy stays as it is: other nodes go by it."""
    yield _drain(node)
    yield from _labelled(node, "end migsched's agent", {AGENT_LABEL: None})
    selector = ("--selector=app.kubernetes.io/component=agent", f"--field-selector=spec.nodeName={node.name}")
    wait = command("kubectl", "--namespace", picture.agent_namespace, "wait", "--for=delete", "pod", *selector)
    yield HandoverStep("wait until it is gone", wait)
    wanted: dict[str, str | None] = dict.fromkeys(coexistence.OPERATOR_LABELS, "true")
    if tuple(picture.gpu_clusters):
        wanted = {operator.DRA_LABEL: None}
    yield from _labelled(node, "let NVIDIA's managers of GPUs come back", wanted)
    yield HandoverStep("forget its report", command("kubectl", "delete", "mignode", node.name, "--ignore-not-found"))
    yield HandoverStep("open the node", command("kubectl", "uncordon", node.name))


def policy_patch(policy: objects.ClusterPolicy) -> dict[str, Any]:
    """What a ClusterPolicy's spec lacks. Lists are whole in a merge patch, so variables that are there are kept."""
    patch: dict[str, Any] = {}
    if policy.spec.mig is None or policy.spec.mig.strategy != "mixed":
        patch["mig"] = {"strategy": "mixed"}
    cuda = policy.spec.validator and policy.spec.validator.cuda
    variables = (cuda and cuda.env) or ()
    if not any(env.name == operator.WORKLOAD and env.value == "false" for env in variables):
        kept = [{"name": env.name, "value": env.value or ""} for env in variables if env.name != operator.WORKLOAD]
        patch["validator"] = {"cuda": {"env": [*kept, {"name": operator.WORKLOAD, "value": "false"}]}}
    return patch


def _drain(node: PicturedNode) -> HandoverStep:
    words = ("kubectl", "drain", node.name, "--ignore-daemonsets", "--delete-emptydir-data")
    return HandoverStep("move pods away", command(*words))


def _labelled(node: PicturedNode, title: str, wanted: Mapping[str, str | None]) -> Iterator[HandoverStep]:
    """Set the labels that are otherwise; None takes one away."""
    wrong = {key: value for key, value in wanted.items() if node.labels.get(key) != value}
    if wrong:
        words = (f"{key}-" if value is None else f"{key}={value}" for key, value in wrong.items())
        patch = {"metadata": {"labels": wrong}}
        yield HandoverStep(title, operator.label_node(node.name, *words), f"/api/v1/nodes/{node.name}", patch)


def _json(value: Patch) -> str:
    return msgspec.json.encode(value).decode()
