"""What the accounts of our services have to be allowed, of the roles in deploy/; a test compares. Pure.

Asked by `reader` by SubjectAccessReview. The agent's are those that the agent itself asks for.
"""

from collections.abc import Mapping, Sequence

from allocator.claims import contract
from node_agent.cluster import access
from node_agent.cluster.access import Right

SCHEDULER_ROLE, QUEUE_ROLE, AGENT_ROLE = "migsched-scheduler", "migsched-queue", "migsched-agent"
RIGHTS: Mapping[str, Sequence[Right]] = {  # by the ClusterRole that gives them
    SCHEDULER_ROLE: (
        *(Right(verb, "nodes") for verb in ("list", "watch", "patch")),
        *(Right(verb, "pods") for verb in ("get", "list", "watch")),
        Right("create", "pods", subresource="binding"),
        *(Right(verb, contract.PLURAL, contract.GROUP) for verb in ("list", "watch")),
    ),
    QUEUE_ROLE: (
        Right("patch", "pods"),
        Right("patch", "pods", subresource="status"),
        Right("create", "events"),
    ),
    AGENT_ROLE: access.RIGHTS,
}


def review(account: str, right: Right) -> dict[str, object]:
    """The SubjectAccessReview that asks whether an account (`namespace:name`) has a right."""
    namespace = account.partition(":")[0]
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    attributes = {
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "verb": right.verb,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{account}",
            "groups": groups,
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }
