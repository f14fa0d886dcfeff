"""The queue's admission on the genuine API server: who gets the gate, and what the scheduler may do to pods."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from allocator import errors
from allocator.claims import contract
from allocator.queueing.queued_pod import GATE
from kubeclient import kube
from scheduler import settings
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Release
from scheduler.queueing import pinning
from scheduler.service import Service
from simulator.cluster import queue_policy
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from testbed.control_plane import build, certificates
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed, policy_gate
from tests.e2e.deployed import SCHEDULER, SLICE
from tests.gated_pods import CASES

pytestmark = pytest.mark.e2e

Document = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
FOREIGN = "kueue.x-k8s.io/admission"
ZONES = [[{"key": "zone", "operator": "In", "values": [zone]}] for zone in ("a", "b")]
NO_GATE = [{"$patch": "delete", "name": GATE}]
OURS = "migsched-queue-release"
EITHER = "the scheduler may"  # two policies are about the status of a gated pod
PODS = "/api/v1/namespaces/default/pods"


def required(*terms: Document) -> Document:
    """A required node affinity."""
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


def at(node: str, expressions: list[Document] | None = None) -> Document:
    """A term that names a node."""
    term: Document = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {**term, "matchExpressions": expressions} if expressions else term


def release(spec: Document | None = None, **metadata: Any) -> Document:
    """A patch that takes the gate, and does more."""
    return {"metadata": metadata, "spec": {"schedulingGates": NO_GATE, **(spec or {})}}


@dataclass(frozen=True)
class Attempt:
    """A patch of one of the pods, and who refuses it: a part of what the API server says; nobody, if empty."""

    does: str
    patch: Document
    refused_by: str = ""
    pod: str = "gated"
    subresource: str = ""


TWO_TERMS = required(*({"matchExpressions": zone} for zone in ZONES))
PREFERS = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": at("n1")}]}}
PLACED = {contract.PLACEMENT_ANNOTATION: "here"}

ALLOWED = (
    Attempt("takes the gate", release()),
    Attempt("takes the gate, pins and promises", release({"affinity": required(at("n1"))}, annotations=PLACED)),
    Attempt("pins to either of two nodes", release({"affinity": required(at("n1"), at("n2"))}, annotations=PLACED)),
    Attempt("pins each alternative", release({"affinity": required(*(at("n1", z) for z in ZONES))}), pod="zoned"),
    Attempt("leaves the gates of others", release(), pod="foreign"),
    Attempt("nominates", {"status": {"nominatedNodeName": "n1"}}, subresource="status"),
    Attempt(
        "says why it waits",
        {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}},
        subresource="status",
    ),
)

REFUSED = (
    Attempt("labels", release(labels={"a": "b"}), OURS),
    Attempt("another annotation", release(annotations={"mine": "b"}), OURS),
    Attempt("an annotation changed", release(annotations={"kept": "other"}), OURS),
    Attempt("an annotation removed", release(annotations={"kept": None}), OURS),
    Attempt("a finalizer", release(finalizers=["example.com/stays"]), OURS),
    Attempt(
        "an owner",
        release(ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]),
        OURS,
    ),
    Attempt("a pin without a release", {"spec": {"affinity": required(at("n1"))}}, OURS),
    Attempt("a promise without a release", {"metadata": {"annotations": PLACED}}, OURS),
    Attempt(
        "the gate of somebody else",
        {"spec": {"schedulingGates": [{"$patch": "delete", "name": FOREIGN}]}},
        OURS,
        "foreign",
    ),
    Attempt(
        "both gates", release({"schedulingGates": [*NO_GATE, {"$patch": "delete", "name": FOREIGN}]}), OURS, "foreign"
    ),
    Attempt("a toleration", release({"tolerations": [{"key": "any", "operator": "Exists"}]}), OURS),
    Attempt("a node selector", release({"nodeSelector": {"zone": "a"}}), OURS),
    Attempt("an image", release({"containers": [{"name": "main", "image": "other"}]}), OURS),
    Attempt("a deadline", release({"activeDeadlineSeconds": 1}), OURS),
    Attempt("a preferred affinity", release({"affinity": PREFERS}), OURS),
    Attempt("a zone", release({"affinity": required({"matchExpressions": ZONES[0]})}), OURS),
    Attempt("a zone more", release({"affinity": required(*(at("n1", [*z, *ZONES[0]]) for z in ZONES))}), OURS, "zoned"),
    Attempt("an alternative less", release({"affinity": required(at("n1", ZONES[0]))}), "", "zoned"),
    Attempt(
        "an alternative more", release({"affinity": required(*(at("n1", z) for z in ZONES), at("n2"))}), "", "zoned"
    ),
    Attempt("what it asked dropped", release({"affinity": required(at("n1"), at("n1"))}), "", "zoned"),
    Attempt("a promise to a pod that is not gated", {"metadata": {"annotations": PLACED}}, "migsched-", "free"),
    Attempt("labels of a pod that is not gated", {"metadata": {"labels": {"a": "b"}}}, OURS, "free"),
    Attempt("a toleration of one", {"spec": {"tolerations": [{"key": "any", "operator": "Exists"}]}}, OURS, "free"),
    Attempt("a phase", {"status": {"phase": "Failed"}}, EITHER, subresource="status"),
    Attempt("Ready", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, EITHER, subresource="status"),
    Attempt("labels by the status", {"metadata": {"labels": {"a": "b"}}}, EITHER, subresource="status"),
    Attempt("a promise by the status", {"metadata": {"annotations": PLACED}}, "migsched-", subresource="status"),
    Attempt("more resources", release(), "cannot patch resource", subresource="resize"),
    Attempt("a container of its own", release(), "cannot patch resource", subresource="ephemeralcontainers"),
)


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with what deploy/ ships for the queue, in force, and pods to try it on."""
    with ControlPlane(tmp_path_factory.mktemp("gated"), binaries=binaries, users=deployed.USERS) as started:
        policy_gate.require(started)
        deployed.apply_options(started, "queue")
        queue_policy.wait_until(started, gates=True)
        gated = [{"name": GATE}]
        specs: dict[str, Document] = {
            "gated": {"schedulingGates": gated},
            "zoned": {"schedulingGates": gated, "affinity": TWO_TERMS},
            "foreign": {"schedulingGates": [*gated, {"name": FOREIGN}]},
            "free": {"schedulerName": "nobody"},
        }
        for name, spec in specs.items():
            document = deployed.pod(name, **spec)
            document["metadata"]["annotations"] = {"kept": "as it is"}
            deployed.create(started, document)
        yield started


@pytest.fixture
async def scheduler(cluster: ControlPlane) -> AsyncIterator[kube.Connection]:
    """A connection under the scheduler's own account."""
    connection = await kube.Connection.connect(cluster.kubeconfig_of(SCHEDULER))
    yield connection
    await connection.close()


async def said(connection: kube.Connection, attempt: Attempt) -> str:
    """What the API server says against an attempt, of which nothing is kept; nothing, if it would do it."""
    path = "/".join(part for part in (PODS, attempt.pod, attempt.subresource) if part)
    try:
        await connection.request(
            "PATCH",
            path,
            body=json.dumps(attempt.patch).encode(),
            query={"dryRun": "All"},
            content_type=kube.STRATEGIC_MERGE_PATCH,
        )
    except errors.RefusedError as error:
        return str(error)
    return ""


async def test_the_scheduler_may_release_and_nothing_else(scheduler: kube.Connection) -> None:
    """Under its own account: gate off, node in the affinity, promise; of a status what kube-scheduler writes; and none
    of 29 other attempts.
    """
    probe = REFUSED[0]
    while not await said(scheduler, probe):  # the policy is in force soon
        pass
    assert {attempt.does: await said(scheduler, attempt) for attempt in ALLOWED} == dict.fromkeys(
        (attempt.does for attempt in ALLOWED), ""
    )
    answers = {attempt.does: await said(scheduler, attempt) for attempt in REFUSED}
    assert [attempt.does for attempt in REFUSED if not answers[attempt.does]] == []
    assert {a.does: answers[a.does] for a in REFUSED if a.refused_by not in answers[a.does]} == {}


def test_options_make_a_deployment_of_two_that_admission_takes(cluster: ControlPlane, tmp_path: Path) -> None:
    """The queue with webhook and replicas is what the API server takes, and its pod meets `restricted`."""
    objects = deployed.built_with(cluster, "queue", "queue-webhook", "queue-replicas")
    assert not [one for one in objects if one["kind"].startswith("MutatingAdmissionPolicy")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    strict = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--filename=-",
        "--field-manager=tried",
        "--force-conflicts",
    ]
    assert cluster.kubectl(*strict, standard_input=text).stderr == ""
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 2
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert "initContainers" not in template["spec"]
    assert container["command"] == ["migsched", "scheduler"]
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "MIGSCHED_API_ACCESS": "open",
        "MIGSCHED_QUEUE": "true",
        "MIGSCHED_LEADER_ELECTION": "true",
        "MIGSCHED_WEBHOOK_CERT": "/etc/migsched/webhook/tls.crt",
        "MIGSCHED_WEBHOOK_KEY": "/etc/migsched/webhook/tls.key",
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        one["name"] for one in template["spec"]["volumes"]
    }
    metadata = {**template["metadata"], "name": "admitted", "namespace": "migsched-system"}
    deployed.create(cluster, {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}, "--dry-run=server")


async def test_the_service_releases_under_its_own_account(cluster: ControlPlane) -> None:
    """What the service sends is what the policies let pass, with its placement."""
    deployed.create(cluster, deployed.pod("mine", resources=SLICE))
    client = await KubeClient.connect(cluster.kubeconfig_of(SCHEDULER))
    try:
        meta = (await client.get_pod("default", "mine")).metadata
        pin = pinning.pinned(b"", "n1")
        await client.release(Release("default", "mine", meta.uid, meta.resource_version, GATE, pin, PLACED))
        pod = await client.get_pod("default", "mine")
    finally:
        await client.close()
    assert pod.metadata.annotations == PLACED
    assert not pod.spec.scheduling_gates


async def gates_by_case(connection: kube.Connection) -> dict[str, list[str]]:
    """The gates that each pod of the table would have, by name."""
    gates = {}
    for case, (pod, _) in CASES.items():
        answer = await connection.request("POST", PODS, body=json.dumps(pod).encode(), query={"dryRun": "All"})
        gates[case] = sorted(gate["name"] for gate in json.loads(answer)["spec"].get("schedulingGates", ()))
    return gates


async def test_policy_and_webhook_gate_the_same_pods(cluster: ControlPlane, tmp_path: Path) -> None:
    """Each pod of the table has the gates that the table says, by the policy, and by the webhook in its stead."""
    expected = {case: sorted(gates) for case, (_, gates) in CASES.items()}
    asks = CASES["asks for a slice"][0]
    admin = await kube.Connection.connect(cluster.kubeconfig)
    try:
        assert await gates_by_case(admin) == expected
        kinds = "mutatingadmissionpolicybinding,mutatingadmissionpolicy"
        await asyncio.to_thread(cluster.kubectl, "delete", kinds, "migsched-queue")
        await deployed.soon(lambda: deployed.gates_of(cluster, asks) == [], "no policy any more")
        async with webhook(cluster, tmp_path):
            await deployed.soon(lambda: deployed.gates_of(cluster, asks) == [GATE], "the webhook in force")
            assert await gates_by_case(admin) == expected
        with pytest.raises(errors.ClusterError, match=r"gate\.migsched\.io"):  # while it is away they cannot be created
            await admin.request("POST", PODS, body=json.dumps(asks).encode(), query={"dryRun": "All"})
        idle = CASES["asks for nothing"][0]
        await admin.request("POST", PODS, body=json.dumps(idle).encode(), query={"dryRun": "All"})
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def webhook(cluster: ControlPlane, directory: Path) -> AsyncIterator[None]:
    """The service's webhook, and the shipped configuration with its address in place of a Service's name."""
    (directory / "pki").mkdir()
    made = certificates.ensure(directory / "pki")
    chosen = settings.load(
        extender_port=0,
        api_port=0,
        api_host="127.0.0.1",
        webhook_host="127.0.0.1",
        webhook_port=0,
        webhook_cert=made.serving,
        webhook_key=made.serving_key,
    )
    service = Service(chosen, MemoryCluster(MemoryServer()))
    await service.start()
    await asyncio.to_thread(cluster.apply, [deployed.webhook_at(service.webhook_url, made.authority)])
    yield
    await service.stop()
