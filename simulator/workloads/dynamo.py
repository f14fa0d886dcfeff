"""Dynamo graphs (nvidia.com, DynamoGraphDeployment) as the operator makes pods of them, without Grove. Used by expand.

v1beta1 has a list of components with pod templates, v1alpha1 a mapping of services with a pod spec of its own. The
operator makes a Deployment per component, named graph-component, whose container is called `main`.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.workloads import fields
from simulator.workloads.fields import FieldPlace
from simulator.workloads.manifests import Manifest

KIND = "DynamoGraphDeployment"
GROUP = "nvidia.com"
_MAIN = "main"
_GPU = "nvidia.com/gpu"  # what v1alpha1 means by `gpu` without a `gpuType`


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a graph: how many pods of which template."""

    name: str
    kind: str
    replicas: int
    template: dict[str, Any]
    place: FieldPlace

    def labels(self, graph: str) -> dict[str, str]:
        """The labels that the operator puts on its pods."""
        return {
            "nvidia.com/dynamo-graph-deployment-name": graph,
            "nvidia.com/dynamo-component": self.name,
            "nvidia.com/dynamo-component-type": self.kind,
        }


def components(graph: Manifest, most: int) -> Iterator[Component]:
    """The components of a graph of either version. Raises ManifestError."""
    spec = fields.mapping(graph.body, "spec", graph.place, required=True)
    at = graph.place / "spec"
    if graph.api_version == f"{GROUP}/v1beta1":
        for index, component in enumerate(fields.sequence(spec, "components", at, required=True)):
            yield _component(component, at / "components" / index, most)
    elif graph.api_version == f"{GROUP}/v1alpha1":
        services = fields.mapping(spec, "services", at, required=True)
        for name in services:
            yield _service(name, fields.mapping(services, name, at / "services", required=True), at / "services", most)
    else:
        raise (graph.place / "apiVersion").error(graph.api_version, f"use {GROUP}/v1beta1 or {GROUP}/v1alpha1")


def _component(component: dict[str, Any], at: FieldPlace, most: int) -> Component:
    template = fields.mapping(component, "podTemplate", at, required=True)
    spec = fields.mapping(template, "spec", at / "podTemplate", required=True)
    containers = fields.sequence(spec, "containers", at / "podTemplate.spec", required=True)
    if _MAIN not in [container.get("name") for container in containers]:
        names = [container.get("name") for container in containers]
        raise (at / "podTemplate.spec.containers").error(names, f"one container must be named {_MAIN!r}")
    return Component(
        name=fields.text(component, "name", at),
        kind=str(component.get("type", "worker")),
        replicas=fields.count(component, "replicas", at, default=1, most=most),
        template=template,
        place=at / "podTemplate",
    )


def _service(name: str, service: dict[str, Any], services: FieldPlace, most: int) -> Component:
    at = services / name
    spec = copy.deepcopy(fields.mapping(service, "extraPodSpec", at))
    main = spec.pop("mainContainer", None) or {}
    if not isinstance(main, dict):
        raise (at / "extraPodSpec.mainContainer").error(main, "must be a mapping")
    resources = fields.mapping(service, "resources", at)
    amounts = {
        what: _amounts(fields.mapping(resources, what, at / "resources"), at / "resources" / what)
        for what in ("limits", "requests")
    }
    main = {**main, "name": _MAIN, "resources": {what: amount for what, amount in amounts.items() if amount}}
    spec["containers"] = [main, *fields.sequence(spec, "containers", at / "extraPodSpec")]
    return Component(
        name=name,
        kind=str(service.get("componentType", "worker")),
        replicas=fields.count(service, "replicas", at, default=1, most=most),
        template={"metadata": fields.mapping(service, "extraPodMetadata", at), "spec": spec},
        place=at,
    )


def _amounts(resources: dict[str, Any], at: FieldPlace) -> dict[str, Any]:
    """Quantities by resource name: `gpu` counts `gpuType`, `custom` names its own."""
    amounts: dict[str, Any] = {name: resources[name] for name in ("cpu", "memory") if name in resources}
    amounts |= fields.mapping(resources, "custom", at)
    if resources.get("gpu"):
        amounts[str(resources.get("gpuType") or _GPU)] = resources["gpu"]
    return amounts
