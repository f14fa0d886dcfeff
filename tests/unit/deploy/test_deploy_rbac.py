"""Each account may do exactly what its program does."""

from pathlib import Path

from scheduler import settings
from scheduler.cache import port
from tests.unit.deploy import manifests

Right = tuple[str, str, str]  # API group, resource, verb

RBAC = manifests.DEPLOY / "rbac"
QUEUE_RBAC = manifests.DEPLOY / "options" / "queue" / "rbac.yaml"
REPLICAS_RBAC = manifests.DEPLOY / "options" / "queue-replicas" / "rbac.yaml"
MOVES_RBAC = manifests.DEPLOY / "options" / "moves" / "rbac.yaml"
LABELS = manifests.DEPLOY / "options" / "agent-operator-labels"
API_LOCK = manifests.DEPLOY / "options" / "api-lock"

# Method of the scheduler's port to Kubernetes → what it needs. `list` and `watch` serve every kind.
SCHEDULER: dict[str, set[Right]] = {
    "list": {("", "pods", "list"), ("", "nodes", "list"), ("migsched.io", "mignodes", "list")},
    "watch": {("", "pods", "watch"), ("", "nodes", "watch"), ("migsched.io", "mignodes", "watch")},
    "get_pod": {("", "pods", "get")},
    "disruption_budgets": {("policy", "poddisruptionbudgets", "list")},
    "bind": {("", "pods/binding", "create")},
    "annotate_node": {("", "nodes", "patch")},
    "close": set(),
}

QUEUE: dict[str, set[Right]] = {
    "release": {("", "pods", "patch")},
    "nominate": {("", "pods/status", "patch")},
    "delete_pod": {("", "pods", "delete")},
    "evict": {("", "pods/eviction", "create")},
    "record_event": {("", "events", "create")},
    "set_pod_condition": {("", "pods/status", "patch")},
    "volume_of_claim": {
        ("", "persistentvolumeclaims", "get"),
        ("", "persistentvolumes", "get"),
        ("storage.k8s.io", "storageclasses", "get"),
    },
    "gang_parts": {
        ("scheduling.k8s.io", "podgroups", "get"),
        ("scheduling.x-k8s.io", "podgroups", "get"),
        ("scheduler.grove.io", "podgangs", "get"),
    },
}

REPLICAS: dict[str, set[Right]] = {
    "get_lease": {("coordination.k8s.io", "leases", "get")},
    "create_lease": {("coordination.k8s.io", "leases", "create")},
    "write_lease": {("coordination.k8s.io", "leases", "patch")},
}

MOVES: dict[str, set[Right]] = {
    "follow Repacks": {("migsched.io", "repacks", verb) for verb in ("list", "watch")},
    "follow namespaces": {("", "namespaces", verb) for verb in ("list", "watch")},
    "create_repack": {("migsched.io", "repacks", "create")},
    "approve_repack": {("migsched.io", "repacks", "patch")},
    "delete_repack": {("migsched.io", "repacks", "delete")},
    "write_repack_status": {("migsched.io", "repacks/status", "patch"), ("migsched.io", "repacks", "get")},
}

AGENT: dict[str, set[Right]] = {
    "follow the pods of its node": {("", "pods", verb) for verb in ("list", "watch")},
    "read its node and follow its annotation": {("", "nodes", verb) for verb in ("get", "list", "watch")},
    "have a MigNode": {("migsched.io", "mignodes", verb) for verb in ("get", "create", "patch")},
    "report": {("migsched.io", "mignodes/status", verb) for verb in ("patch", "update")},
    "say what it did": {("", "events", "create")},
}


def rights(path: Path, kind: str, name: str) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in manifests.one(path, kind, name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_scheduler_may_do_what_its_port_does() -> None:
    """The role has the rights of the port's methods, each of them and no other."""
    methods = {name for name in vars(port.Cluster) if not name.startswith("_")}
    calls = {name for name in MOVES if not name.startswith("follow ")}
    assert methods == SCHEDULER.keys() | QUEUE.keys() | REPLICAS.keys() | calls
    assert rights(RBAC / "scheduler" / "extender.yaml", "ClusterRole", "migsched-scheduler") == set().union(
        *SCHEDULER.values()
    )


def test_the_queue_needs_a_role_of_its_own() -> None:
    """What it takes to release pods is not in the scheduler's role but in one that is opted into."""
    extra = rights(QUEUE_RBAC, "ClusterRole", "migsched-queue")
    assert extra == set().union(*QUEUE.values())
    binding = manifests.one(QUEUE_RBAC, "ClusterRoleBinding", "migsched-queue")
    account = manifests.one(RBAC / "scheduler" / "extender.yaml", "ClusterRoleBinding", "migsched-scheduler")
    assert binding["subjects"] == account["subjects"]


def test_moves_need_a_role_of_their_own() -> None:
    """What it takes to carry out Repacks is opted into, and neither changes nor approves what people want."""
    assert rights(MOVES_RBAC, "ClusterRole", "migsched-moves") == set().union(*MOVES.values())
    binding = manifests.one(MOVES_RBAC, "ClusterRoleBinding", "migsched-moves")
    account = manifests.one(RBAC / "scheduler" / "extender.yaml", "ClusterRoleBinding", "migsched-scheduler")
    assert binding["subjects"] == account["subjects"]


def test_replicas_may_have_their_lease_and_no_other() -> None:
    """The role is of our namespace, and names the lease that the settings name wherever that is possible."""
    role = manifests.one(REPLICAS_RBAC, "Role", "migsched-queue-lease")
    assert rights(REPLICAS_RBAC, "Role", "migsched-queue-lease") == set().union(*REPLICAS.values())
    fields = settings.Settings.model_fields
    assert role["metadata"]["namespace"] == fields["lease_namespace"].default
    named = [rule.get("resourceNames") for rule in role["rules"] if rule["verbs"] != ["create"]]
    assert named == [[fields["lease_name"].default]]
    binding = manifests.one(REPLICAS_RBAC, "RoleBinding", "migsched-queue-lease")
    account = manifests.one(RBAC / "scheduler" / "extender.yaml", "ClusterRoleBinding", "migsched-scheduler")
    assert (binding["roleRef"]["name"], binding["subjects"]) == (role["metadata"]["name"], account["subjects"])


def test_the_agent_may_do_what_it_needs() -> None:
    """The role has the rights in the table and no other: none that could change another node."""
    assert rights(RBAC / "agent" / "agent.yaml", "ClusterRole", "migsched-agent") == set().union(*AGENT.values())


def test_keeping_labels_needs_a_role_of_its_own() -> None:
    """What it takes to follow and label nodes is not in the agent's own role but in one that is opted into."""
    extra = rights(LABELS / "rbac.yaml", "ClusterRole", "migsched-agent-operator-labels")
    assert extra == {("", "nodes", verb) for verb in ("list", "watch", "patch")}
    (binding,) = (one for one in manifests.documents(LABELS / "rbac.yaml") if one["kind"] == "ClusterRoleBinding")
    assert binding["subjects"] == manifests.one(RBAC / "agent" / "agent.yaml", "ClusterRoleBinding")["subjects"]


def test_every_binding_gives_an_existing_role_to_an_existing_account() -> None:
    """Roles and accounts that bindings name are in the same folder, or are those that Kubernetes ships."""
    shipped = {"system:kube-scheduler", "system:volume-scheduler", "extension-apiserver-authentication-reader"}
    for folder in (RBAC / "scheduler", RBAC / "agent"):
        found = [d for path in manifests.files(folder) for d in manifests.documents(path)]
        roles = {d["metadata"]["name"] for d in found if d["kind"] in ("Role", "ClusterRole")}
        accounts = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in found if d["kind"] == "ServiceAccount"}
        bindings = [d for d in found if d["kind"] in ("RoleBinding", "ClusterRoleBinding")]
        assert bindings
        for binding in bindings:
            assert binding["roleRef"]["name"] in roles | shipped
            for subject in binding["subjects"]:
                assert (subject["namespace"], subject["name"]) in accounts


def test_the_lease_that_may_be_taken_is_the_one_configured() -> None:
    """kube-scheduler may update the lease that its configuration names, and no other."""
    path = RBAC / "scheduler" / "kube-scheduler.yaml"
    role = manifests.one(path, "Role", "migsched-scheduler-lease")
    election = manifests.one(manifests.KUBE_SCHEDULER_CONFIG, "KubeSchedulerConfiguration")["leaderElection"]
    named = [name for rule in role["rules"] for name in rule.get("resourceNames", [])]
    assert named == [election["resourceName"]]
    assert role["metadata"]["namespace"] == election["resourceNamespace"]


def test_no_role_reads_secrets_or_uses_wildcards() -> None:
    """Nothing that we ship can read a Secret, escalate, or names everything."""
    for path in (*manifests.files(RBAC), LABELS / "rbac.yaml", API_LOCK / "rbac.yaml"):
        for document in manifests.documents(path):
            for rule in document.get("rules", []):
                assert not {"*", "secrets", "serviceaccounts/token"} & {*rule["resources"], *rule["apiGroups"]}
                assert not {"*", "escalate", "bind", "impersonate"} & {*rule["verbs"]}
