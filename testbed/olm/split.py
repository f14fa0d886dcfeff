"""Which objects OLM installs, and which an administrator applies beside it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

SYSTEM, AGENTS = "migsched-system", "migsched-agents"  # namespaces
ACCOUNT = "migsched-scheduler"

# Kinds that a bundle of the format registry+v1 may have (operator-registry, pkg/lib/bundle), of those that deploy/ has.
# A Deployment is no object of a bundle but a part of its ClusterServiceVersion.
TAKEN = frozenset(
    {
        "ClusterRole",
        "ConfigMap",
        "CustomResourceDefinition",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
    }
)
_COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True, slots=True)
class Split:
    """`deployment` and `rules` go into the ClusterServiceVersion, `bundled` are files of the bundle."""

    deployment: Document
    rules: list[Document]
    bundled: list[Document]
    beside: list[Document]


def split(objects: Iterable[Document]) -> Split:
    """Sort the objects of deploy/olm.

    Left out are what kube-scheduler needs, which the replicas do not run, and what OLM makes by itself: the scheduler's
    account, and the bindings of its rights.
    """
    kept = [one for one in objects if _label(one) != "kube-scheduler"]
    bound = {one["roleRef"]["name"] for one in kept if _binds_the_scheduler(one)}
    deployment = next(one for one in kept if one["kind"] == "Deployment")
    rules, bundled, beside = list[Document](), list[Document](), list[Document]()
    for one in kept:
        if one["kind"] == "ClusterRole" and one["metadata"]["name"] in bound:
            rules += one["rules"]
        elif _is_the_agents(one):
            beside.append(one)
        elif one is deployment or _made_by_olm(one):
            continue
        elif one["kind"] in TAKEN:
            bundled.append(one)
        else:
            beside.append(one)
    return Split(deployment, rules, bundled, beside)


def _label(one: Document) -> str:
    return str(one["metadata"].get("labels", {}).get(_COMPONENT, ""))


def _is_the_agents(one: Document) -> bool:
    metadata = one["metadata"]
    return _label(one) == "agent" or AGENTS in (metadata.get("namespace"), metadata["name"])


def _binds_the_scheduler(one: Document) -> bool:
    return one["kind"] == "ClusterRoleBinding" and any(subject["name"] == ACCOUNT for subject in one["subjects"])


def _made_by_olm(one: Document) -> bool:
    """The account, the bindings, and the namespace, which is there before the operator."""
    is_namespace = one["kind"] == "Namespace" and one["metadata"]["name"] == SYSTEM
    is_account = one["kind"] == "ServiceAccount" and one["metadata"]["name"] == ACCOUNT
    return is_namespace or is_account or _binds_the_scheduler(one)
