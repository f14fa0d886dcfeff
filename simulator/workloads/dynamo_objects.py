"""What Dynamo's operator makes of a graph, without Grove, as objects for an API server. Used where graphs really run.

A Deployment and a Service per component, and one ServiceAccount whose rights are those of discovery by Kubernetes:
EndpointSlices with the operator's labels, and one DynamoWorkerMetadata per worker. `dynamo` reads the graph. It is a
stand-in: no webhook, no status, no /dev/shm, no component of several nodes.
"""

import copy
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import dynamo
from simulator.workloads.dynamo import Component
from simulator.workloads.manifests import Manifest
from simulator.workloads.templates import NameGenerator
from simulator.workloads.work import Work

HTTP_PORT = 8000
SYSTEM_PORT = 9090  # of workers: health and metrics
FRONTEND = "frontend"
WORKER_METADATA: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"dynamoworkermetadatas.{dynamo.GROUP}"},
    "spec": {
        "group": dynamo.GROUP,
        "scope": "Namespaced",
        "names": {"kind": "DynamoWorkerMetadata", "plural": "dynamoworkermetadatas"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}

_DISCOVERY_LABELS = {
    f"{dynamo.GROUP}/dynamo-discovery-backend": "kubernetes",
    f"{dynamo.GROUP}/dynamo-discovery-enabled": "true",
}


def account(graph: str) -> str:
    """The name of the ServiceAccount of a graph's pods."""
    return f"{graph}-k8s-service-discovery"


def objects(manifest: Manifest, namespace: str) -> list[Document]:
    """Everything for one graph, in the order in which it is to be applied.

    Raises ManifestError for a graph that cannot be read, and for a component of several nodes.
    """
    work = Work(manifest, namespace, NameGenerator())
    made = _discovery(work.name, namespace)
    for component in dynamo.components(work):
        if component.nodes > 1:
            raise (component.place / "multinode").error(component.nodes, "is not made here; leave it out")
        made += [_service(work.name, namespace, component), _deployment(work.name, namespace, component)]
    return made


def component_name(graph: str, component: str) -> str:
    """The name of a component's Deployment and Service."""
    return f"{graph}-{component.lower()}"


def _discovery(graph: str, namespace: str) -> list[Document]:
    metadata = {"name": account(graph), "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "pods", "services"], "verbs": ["get", "list", "watch"]},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["get", "list", "watch"],
                },
                {
                    "apiGroups": [dynamo.GROUP],
                    "resources": ["dynamoworkermetadatas"],
                    "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                },
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": account(graph)},
            "subjects": [{"kind": "ServiceAccount", "name": account(graph), "namespace": namespace}],
        },
    ]


def _service(graph: str, namespace: str, component: Component) -> Document:
    frontend = component.kind == FRONTEND
    port = {"name": "http", "port": HTTP_PORT} if frontend else {"name": "system", "port": SYSTEM_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": component_name(graph, component.name),
            "namespace": namespace,
            "labels": {**component.labels(graph), **_DISCOVERY_LABELS},
        },
        "spec": {"selector": component.labels(graph), "ports": [port]},
    }


def _deployment(graph: str, namespace: str, component: Component) -> Document:
    labels = component.labels(graph)
    template = copy.deepcopy(component.template)
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    spec = template["spec"]
    spec.setdefault("serviceAccountName", account(graph))
    _complete(_main(spec), component)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": component_name(graph, component.name), "namespace": namespace, "labels": labels},
        "spec": {"replicas": component.replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def _main(spec: Document) -> dict[str, Any]:
    """The container that the operator completes; `dynamo` has checked that it is there."""
    named = [container for container in spec["containers"] if container["name"] == "main"]
    found: dict[str, Any] = (named or spec["containers"])[0]
    return found


def _complete(main: dict[str, Any], component: Component) -> None:
    """Add what the operator adds to the main container; what it has wins."""
    frontend = component.kind == FRONTEND
    port = HTTP_PORT if frontend else SYSTEM_PORT
    if frontend and not main.get("command") and not main.get("args"):
        main["command"] = ["python3", "-m", "dynamo.frontend"]
    main.setdefault("ports", [{"name": "http" if frontend else "system", "containerPort": port}])
    for probe, path, period_s in (("livenessProbe", "/live", 5), ("readinessProbe", "/health", 2)):
        main.setdefault(
            probe, {"httpGet": {"path": path, "port": port}, "periodSeconds": period_s, "timeoutSeconds": 5}
        )
    main.setdefault(
        "startupProbe",
        {"httpGet": {"path": "/live", "port": port}, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 300},
    )
    own = main.get("env", [])
    named = {variable["name"] for variable in own}
    main["env"] = [*own, *(variable for variable in _environment(frontend=frontend) if variable["name"] not in named)]


def _environment(*, frontend: bool) -> list[Document]:
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_UID": "metadata.uid"}
    fields["POD_IP"] = "status.podIP"
    fixed = {"DYN_DISCOVERY_BACKEND": "kubernetes"}
    if frontend:
        fixed["DYN_HTTP_PORT"] = str(HTTP_PORT)
    else:
        fixed["DYN_SYSTEM_PORT"] = str(SYSTEM_PORT)
        fixed["DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS"] = '["generate"]'  # else never healthy
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
        *({"name": name, "value": value} for name, value in fixed.items()),
    ]
