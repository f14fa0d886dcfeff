"""Dynamo graphs (nvidia.com, DynamoGraphDeployment) as the operator makes pods of them, without Grove. Used by expand.

v1beta1 has a list of components with pod templates, v1alpha1 a mapping of services with a pod spec of its own. The
operator makes a Deployment per component, named graph-component, and of a component of several nodes
(`multinode.nodeCount`) a LeaderWorkerSet per replica. The container that it completes is called `main`, or what
`mainContainerNameOverride` says.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from allocator.mig.profile import WHOLE_GPU
from simulator.cluster.api import Document
from simulator.workloads import fields, leader_workers, replicated
from simulator.workloads.fields import FieldPlace
from simulator.workloads.work import FieldTable, Work

KIND = "DynamoGraphDeployment"
GROUP = "nvidia.com"
_MAIN = "main"
_DEFAULT_NODES = 2  # `multinode` without a nodeCount

_AUTOSCALED = "hands replicas to an autoscaler; the replicas written here are shown"
_SERVICES_OF_GPU = "shares GPUs through DRA and adds containers; it is not expanded here"
_GRAPH = FieldTable(
    read=frozenset({"components", "services"}),
    harmless=frozenset(
        {"annotations", "backendFramework", "env", "envs", "labels", "priorityClassName", "pvcs", "restart"}
    ),
    left_out={
        "experimental": "holds previews that may change pods; it is not read here",
        "providerOverride": "is for Grove, which is not stood in for",
        "topologyConstraint": "is for Grove, which is not stood in for: the pods may be kept together",
    },
)
_SHARED_LEFT_OUT = {
    "autoscaling": "is ignored by the operator",
    "experimental": _SERVICES_OF_GPU,
    "failover": _SERVICES_OF_GPU,
    "gpuMemoryService": _SERVICES_OF_GPU,
    "providerOverride": "is for Grove, which is not stood in for",
    "scalingAdapter": _AUTOSCALED,
    "topologyConstraint": "is for Grove, which is not stood in for: the pods may be kept together",
}
_COMPONENT = FieldTable(
    read=frozenset({"mainContainerNameOverride", "multinode", "name", "podTemplate", "replicas", "type"}),
    harmless=frozenset(
        {
            "compilationCache", "dynamoSidecar", "eppConfig", "frontendSidecar", "globalDynamoNamespace",
            "minAvailable", "modelRef", "roles", "runtimeVersionOverride", "sharedMemorySize",
        }
    ),
    left_out=_SHARED_LEFT_OUT,
)  # fmt: skip
_SERVICE = FieldTable(
    read=frozenset(
        {"annotations", "componentType", "extraPodMetadata", "extraPodSpec", "labels", "mainContainerNameOverride",
         "multinode", "replicas", "resources"}
    ),
    harmless=frozenset(
        {
            "dynamoNamespace", "envFromSecret", "envs", "eppConfig", "globalDynamoNamespace", "ingress",
            "livenessProbe", "minAvailable", "modelRef", "readinessProbe", "serviceName", "sharedMemory",
            "subComponentType", "volumeMounts",
        }
    ),
    left_out={
        **_SHARED_LEFT_OUT,
        "checkpoint": "restores pods from a checkpoint; it is not read here",
        "frontendSidecar": "adds a container; it asks for no slice",
    },
)  # fmt: skip
_RESOURCES = FieldTable(
    read=frozenset({"limits", "requests"}), left_out={"claims": "asks for devices through DRA; it is not read here"}
)
_AMOUNTS = FieldTable(read=frozenset({"cpu", "custom", "gpu", "gpuType", "memory"}))


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a graph: how many replicas, of how many pods each, of which template."""

    name: str
    kind: str
    replicas: int
    nodes: int
    template: dict[str, Any]
    place: FieldPlace

    def labels(self, graph: str) -> dict[str, str]:
        """The labels that the operator puts on its pods."""
        return {
            "nvidia.com/dynamo-graph-deployment-name": graph,
            "nvidia.com/dynamo-component": self.name,
            "nvidia.com/dynamo-component-type": self.kind,
        }


def graph(work: Work) -> Iterator[Document]:
    """The pods of all components."""
    for component in components(work):
        name, labels = f"{work.name}-{component.name.lower()}", component.labels(work.name)
        template, at = component.template, component.place
        if component.nodes == 1:
            yield from replicated.of_deployment(work, name, template, at, component.replicas, labels)
            continue
        for replica in range(component.replicas):
            of_all = template, at
            yield from leader_workers.group_pods(work, f"{name}-{replica}", 0, component.nodes, of_all, of_all, labels)


def components(work: Work) -> Iterator[Component]:
    """The components of a graph of either version. Raises ManifestError."""
    spec, at = work.spec, work.at / "spec"
    work.check(_GRAPH, spec, at)
    if work.manifest.api_version == f"{GROUP}/v1beta1":
        for index, component in enumerate(fields.sequence(spec, "components", at, required=True)):
            yield _component(work, component, at / "components" / index)
    elif work.manifest.api_version == f"{GROUP}/v1alpha1":
        services, here = fields.mapping(spec, "services", at, required=True), at / "services"
        for name in services:
            yield _service(work, name, fields.mapping(services, name, here, required=True), here / name)
    else:
        fix = f"use {GROUP}/v1beta1 or {GROUP}/v1alpha1"
        raise (work.at / "apiVersion").error(work.manifest.api_version, fix)


def _component(work: Work, component: dict[str, Any], at: FieldPlace) -> Component:
    work.check(_COMPONENT, component, at)
    template, here = work.template(component, at, "podTemplate"), at / "podTemplate.spec"
    spec = fields.mapping(template, "spec", at / "podTemplate", required=True)
    main = _main_name(component, at)
    names = [container.get("name") for container in fields.sequence(spec, "containers", here, required=True)]
    if main not in names:
        raise (here / "containers").error(names, f"one container must be named {main!r}")
    return Component(
        name=fields.text(component, "name", at),
        kind=str(component.get("type") or "worker"),
        replicas=work.count(component, "replicas", at),
        nodes=_nodes(work, component, at),
        template=template,
        place=at / "podTemplate",
    )


def _service(work: Work, name: str, service: dict[str, Any], at: FieldPlace) -> Component:
    work.check(_SERVICE, service, at)
    spec, here = copy.deepcopy(fields.mapping(service, "extraPodSpec", at)), at / "extraPodSpec"
    container = fields.mapping(spec, "mainContainer", here)
    spec.pop("mainContainer", None)
    own = _own_resources(work, service, at)
    extra = fields.mapping(container, "resources", here / "mainContainer")
    resources = {
        what: {**fields.mapping(extra, what, here / "mainContainer.resources"), **own[what]}
        for what in ("limits", "requests")
    }
    probes: dict[str, Any] = {name: service[name] for name in ("livenessProbe", "readinessProbe") if name in service}
    main = {
        **probes,
        **container,
        **_environment(service, container, at),
        "name": _main_name(service, at),
        "resources": {what: amounts for what, amounts in resources.items() if amounts},
    }
    spec["containers"] = [main, *fields.sequence(spec, "containers", here)]
    return Component(
        name=name,
        kind=str(service.get("componentType") or "worker"),
        replicas=work.count(service, "replicas", at),
        nodes=_nodes(work, service, at),
        template={"metadata": _metadata(service, at), "spec": spec},
        place=at,
    )


def _environment(service: Mapping[str, Any], container: Mapping[str, Any], at: FieldPlace) -> dict[str, Any]:
    """The variables of a v1alpha1 service's main container, where it has any: the service's own come first."""
    own, extra = (
        fields.sequence(service, "envs", at),
        fields.sequence(container, "env", at / "extraPodSpec.mainContainer"),
    )
    return {"env": [*own, *extra]} if own or extra else {}


def _metadata(service: Mapping[str, Any], at: FieldPlace) -> dict[str, Any]:
    """Labels and annotations of a service's pods: its own, and those of its extraPodMetadata."""
    extra = fields.mapping(service, "extraPodMetadata", at)
    return {
        what: {**fields.mapping(service, what, at), **fields.mapping(extra, what, at / "extraPodMetadata")}
        for what in ("labels", "annotations")
    }


def _main_name(component: Mapping[str, Any], at: FieldPlace) -> str:
    if component.get("mainContainerNameOverride") is None:
        return _MAIN
    return fields.text(component, "mainContainerNameOverride", at)


def _nodes(work: Work, component: Mapping[str, Any], at: FieldPlace) -> int:
    """Pods of one replica."""
    if component.get("multinode") is None:
        return 1
    multinode = fields.mapping(component, "multinode", at)
    return work.count(multinode, "nodeCount", at / "multinode", default=_DEFAULT_NODES, least=1)


def _own_resources(work: Work, service: Mapping[str, Any], at: FieldPlace) -> dict[str, dict[str, Any]]:
    """A v1alpha1 service's own limits and requests; they win over those of its extraPodSpec."""
    resources, here = fields.mapping(service, "resources", at), at / "resources"
    work.check(_RESOURCES, resources, here)
    return {what: _amounts(work, fields.mapping(resources, what, here), here / what) for what in ("limits", "requests")}


def _amounts(work: Work, resources: dict[str, Any], at: FieldPlace) -> dict[str, Any]:
    """Quantities by resource name: `gpu` counts `gpuType`, `custom` names its own."""
    work.check(_AMOUNTS, resources, at)
    amounts: dict[str, Any] = {name: resources[name] for name in ("cpu", "memory") if name in resources}
    amounts |= fields.mapping(resources, "custom", at)
    if resources.get("gpu"):
        amounts[str(resources.get("gpuType") or WHOLE_GPU)] = resources["gpu"]  # v1alpha1 means whole GPUs by default
    return amounts
