"""Kinds of objects that are not expanded: those that make no pods, and those that change others' pods. Used by expand.

By API group (the core group is the empty one): kinds, or all kinds of the group.
"""

from collections.abc import Mapping

_ALL: frozenset[str] = frozenset()  # every kind of a group
_NO_PODS: Mapping[str, frozenset[str]] = {
    "": frozenset(
        {
            "ConfigMap", "Endpoints", "Event", "Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim",
            "PodTemplate", "Secret", "Service", "ServiceAccount",
        }
    ),
    "admissionregistration.k8s.io": _ALL,
    "apiextensions.k8s.io": _ALL,
    "apiregistration.k8s.io": _ALL,
    "apps": frozenset({"ControllerRevision"}),
    "cert-manager.io": _ALL,
    "coordination.k8s.io": _ALL,
    "discovery.k8s.io": _ALL,
    "gateway.networking.k8s.io": frozenset({"GatewayClass", "GRPCRoute", "HTTPRoute", "ReferenceGrant", "TLSRoute"}),
    "monitoring.coreos.com": frozenset({"PodMonitor", "Probe", "PrometheusRule", "ScrapeConfig", "ServiceMonitor"}),
    "networking.istio.io": _ALL,
    "networking.k8s.io": _ALL,
    "policy": _ALL,
    "rbac.authorization.k8s.io": _ALL,
    "resource.k8s.io": _ALL,
    "route.openshift.io": _ALL,
    "scheduling.k8s.io": _ALL,
    "serving.kserve.io": frozenset(
        {"ClusterServingRuntime", "ClusterStorageContainer", "ServingRuntime", "TrainedModel"}
    ),
    "storage.k8s.io": _ALL,
}  # fmt: skip
_CHANGES: Mapping[tuple[str, str], str] = {
    ("", "LimitRange"): "may add to or refuse pods' resources; it is not looked at here",
    ("", "ResourceQuota"): "may refuse pods; it is not looked at here",
    ("autoscaling", "HorizontalPodAutoscaler"): "changes how many pods another object has; its own replicas are shown",
    ("keda.sh", "ScaledObject"): "changes how many pods another object has; its own replicas are shown",
    ("kustomize.config.k8s.io", "Kustomization"): "is not built here; apply what `kubectl kustomize` prints",
    ("keda.sh", "ScaledJob"): "makes Jobs as events come; they are not expanded here",
    ("nvidia.com", "DynamoGraphDeploymentScalingAdapter"): "changes how many pods a graph has; its own are shown",
}


def makes_no_pods(group: str, kind: str) -> bool:
    """Whether objects of a kind make no pods and change none."""
    kinds = _NO_PODS.get(group)
    return kinds is not None and (kinds is _ALL or kind in kinds) and (group, kind) not in _CHANGES


def why_left_out(group: str, kind: str) -> str:
    """Why the pods of an object of a kind that is not expanded are missing, in words."""
    return _CHANGES.get((group, kind), "is a kind that is not expanded here; if it makes pods, they are missing")
