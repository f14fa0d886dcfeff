"""What could not be read is said, and never counted as well; what anybody wrote harms nothing."""

import asyncio
import tracemalloc

import pytest

from allocator import errors
from cli.diagnosis import registry
from cli.diagnosis.picture import Look
from cli.diagnosis.reader import MIG_NODES, PictureReader, Scope
from cli.diagnosis.rights import RIGHTS
from cli.diagnosis.text import command, visible
from node_agent.cluster.access import Right
from tests.poisons import POISONS, Poison
from tests.unit.cli.diagnosis import healthy as made
from tests.unit.cli.diagnosis.healthy import SERVICE, diagnosed, healthy, pictured
from tests.unit.deploy import manifests

FORBIDDEN = errors.RefusedError('list: HTTP 403: nodes is forbidden: User "reader" cannot list resource "nodes"')
PATHS = sorted(healthy().lists)
OPTIONAL = [made.POLICY, made.GPU_CLUSTERS, made.GATES, made.GATE_BINDINGS, MIG_NODES]  # kinds that may not be served
NOT_SERVED = errors.NotFoundError("list: HTTP 404: not found")


@pytest.mark.parametrize(
    "error",
    [
        FORBIDDEN,
        errors.UnreachableError("list: HTTP 503: unavailable"),
        errors.TooManyRequestsError("list: HTTP 429: busy"),
    ],
    ids=["forbidden", "no answer", "busy"],
)
@pytest.mark.parametrize("path", PATHS)
def test_a_kind_that_is_not_read_is_not_looked_at(path: str, error: errors.ClusterError) -> None:
    """Whatever list fails, some check says that it could not look, and why, and no fault is invented."""
    server = healthy()
    server.refused[path] = error
    diagnosis = diagnosed(server)
    assert diagnosis.undecided
    assert not {each.code for each in diagnosis.not_looked_at} & set(diagnosis.looked)
    assert all("HTTP" in each.reason for each in diagnosis.not_looked_at)
    assert diagnosis.findings == ()


@pytest.mark.parametrize("path", OPTIONAL)
def test_a_kind_that_is_not_served_leaves_nothing_open(path: str) -> None:
    """Nothing of it can exist: its checks did not look, which alone does not make the verdict open."""
    server = healthy()
    server.refused[path] = NOT_SERVED
    diagnosis = diagnosed(server)
    assert not diagnosis.undecided
    assert diagnosis.not_looked_at or path == made.GATES
    assert {finding.code for finding in diagnosis.findings} <= {"gate-missing"}


def test_a_reader_without_any_right_learns_nothing_and_is_told_so() -> None:
    """No finding and no check that looked, but for those that need nothing."""
    server = healthy()
    server.refused = dict.fromkeys(PATHS, FORBIDDEN)
    diagnosis = diagnosed(server, Look(why_not="no answer"))
    assert diagnosis.findings == ()
    assert set(diagnosis.looked) == {"kubernetes-too-old", "kubernetes-untried", "object-unreadable"}
    assert diagnosis.undecided


def test_a_server_that_does_not_answer_is_an_error() -> None:
    """There is nothing to be said of a cluster that nobody reaches."""
    server = healthy()
    server.refused["/version"] = errors.UnreachableError("GET /version: connection refused")
    with pytest.raises(errors.UnreachableError):
        pictured(server)


def test_rights_of_reviews_that_are_refused_are_not_looked_at() -> None:
    """Whoever may not ask about others' rights is told that."""
    server = healthy()
    server.refused["/apis/authorization.k8s.io/v1/subjectaccessreviews"] = FORBIDDEN
    assert {each.code for each in diagnosed(server).not_looked_at} == {"rights-missing"}


def test_before_kubernetes_1_36_a_missing_gate_is_still_found() -> None:
    """The policy's kind is not served there: the webhook alone decides."""
    server = healthy()
    del server.lists[made.GATES]
    del server.lists[made.GATE_BINDINGS]
    assert "gate-missing" in {finding.code for finding in diagnosed(server).findings}


def test_in_a_namespace_alone_the_deployment_is_found() -> None:
    """Who may not list Deployments of the whole cluster sees those of migsched's namespace."""
    server = healthy()
    server.lists["/apis/apps/v1/namespaces/migsched-system/deployments"] = server.lists.pop(made.DEPLOYMENTS)
    server.refused[made.DEPLOYMENTS] = FORBIDDEN
    assert diagnosed(server).findings == ()


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("path", [made.PODS, made.NODES, MIG_NODES])
def test_a_poisoned_object_is_one_finding_at_most_and_hides_no_other(path: str, poison: Poison) -> None:
    """Beside it a fault is found as without it, and what cannot be read is named once."""
    server = healthy()
    server.lists[made.POLICY] = [made.cluster_policy(mig={"strategy": "none"})]
    server.lists[path] = [poison.text, *server.lists[path]]
    found = [finding.code for finding in diagnosed(server).findings]
    assert "mig-strategy" in found
    assert found.count("object-unreadable") == (0 if poison.readable else 1)


def test_text_of_the_cluster_is_cut_and_made_visible() -> None:
    """A message with control characters, and of any length, fits a line of a terminal."""
    server = healthy()
    message = "\x1b[2J\x07line\nline " + "x" * 10_000
    server.lists[MIG_NODES] = [made.mig_node(status="False", reason="NoDriver", message=message)]
    (finding,) = diagnosed(server).findings
    assert finding.value.isprintable()
    assert "\\x1b[2J\\x07line\\nline" in finding.value
    assert len(finding.value) <= 200


def test_a_name_cannot_leave_its_command() -> None:
    """A fix that is pasted runs one command, whatever a name says."""
    assert command("kubectl", "delete", "pod", "x; rm -rf /\n") == "kubectl delete pod 'x; rm -rf /\\n'"
    assert visible("a\u202eb") == "a\\u202eb"


def test_findings_beyond_the_limit_are_counted() -> None:
    """Of each check so many are kept as were asked for."""
    server = healthy()
    server.lists[MIG_NODES] += [made.mig_node(f"gone-{number}", made.gpu(uuid=f"GPU-{number}")) for number in range(9)]
    diagnosis = diagnosed(server, limit=4)
    assert [finding.code for finding in diagnosis.findings] == ["mignode-without-node"] * 4
    assert diagnosis.left_out == {"mignode-without-node": 5}


def test_little_is_kept_of_a_large_cluster() -> None:
    """Of a node with its MigNode, agent and eight other pods less than 16 KiB is kept: 240 MiB of 15,000 nodes."""
    number = 200
    names = [f"gpu-{each}" for each in range(1, number + 1)]
    other = {**made.named("other", "team-b", labels={"l": "v" * 63}), "spec": {}, "status": {"phase": "Running"}}
    server = healthy()
    pictured(server)  # what is kept once for all, such as compiled catalogues
    server.lists[made.NODES] = [made.node(name) for name in names]
    server.lists[MIG_NODES] = [made.mig_node(name, made.gpu(uuid=f"GPU-{name}")) for name in names]
    server.lists[made.PODS] = [made.agent_pod(name) for name in names] + [other] * (8 * number)
    tracemalloc.start()
    reader = PictureReader(server, Scope(), SERVICE, made.NOW.timestamp)
    before = tracemalloc.get_traced_memory()[0]
    picture = asyncio.run(reader.read())
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert registry.diagnose(picture).findings == ()
    assert kept / number < 16 * 1024


def granted(*files: str) -> dict[str, set[Right]]:
    """What the ClusterRoles of deploy/ grant, by role."""
    rights: dict[str, set[Right]] = {}
    for name in files:
        for role in manifests.documents(manifests.DEPLOY / name):
            for rule in role["rules"] if role["kind"] == "ClusterRole" else ():
                for resource in rule["resources"]:
                    main, _, sub = resource.partition("/")
                    of_rule = {Right(verb, main, group, sub) for group in rule["apiGroups"] for verb in rule["verbs"]}
                    rights.setdefault(role["metadata"]["name"], set()).update(of_rule)
    return rights


def test_the_rights_that_are_asked_about_are_granted_by_the_shipped_roles() -> None:
    """No right is missed that deploy/ would not give."""
    roles = granted("rbac/scheduler/extender.yaml", "options/queue/rbac.yaml", "rbac/agent/agent.yaml")
    assert {role: set(rights) - roles[role] for role, rights in RIGHTS.items()} == {role: set() for role in RIGHTS}
