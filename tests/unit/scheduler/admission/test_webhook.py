"""The webhook that gives pods the queue's gate: its rule, its answers to whatever is sent, its certificate."""

import asyncio
import base64
import json
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

from allocator import errors
from scheduler import certificate, settings
from scheduler.admission.webhook import PATH, Webhook
from scheduler.service import Service
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from testbed.control_plane import certificates
from tests.gated_pods import CASES
from tests.unit.deploy import manifests

MAX_BODY = 64 * 1024
SCHEDULERS = frozenset({"default-scheduler", "migsched"})


def review(pod: Any) -> bytes:
    request = {"uid": "u-1", "operation": "CREATE", "object": pod}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


async def asked(body: bytes, path: str = PATH, method: str = "POST") -> tuple[int, Any]:
    """Status and answer of a call."""
    parts = [body[at : at + 4096] for at in range(0, len(body), 4096)] or [b""]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    await Webhook(SCHEDULERS, max_body=MAX_BODY)({"type": "http", "path": path, "method": method}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("case", CASES)
async def test_pods_get_the_gate_by_the_rule(case: str) -> None:
    """Each pod of the table comes out with the gates that the table says, and is always allowed."""
    pod, gates = CASES[case]
    status, answer = await asked(review(pod))
    response = answer["response"]
    assert (status, answer["kind"], response["uid"], response["allowed"]) == (200, "AdmissionReview", "u-1", True)
    now = [gate["name"] for gate in pod["spec"].get("schedulingGates", ())]
    for step in json.loads(base64.b64decode(response["patch"])) if "patch" in response else ():
        assert response["patchType"] == "JSONPatch"
        assert step["op"] == "add"
        appends = step["path"] == "/spec/schedulingGates/-"
        assert appends == bool(now)
        now += [step["value"]["name"]] if appends else [gate["name"] for gate in step["value"]]
    assert sorted(now) == sorted(gates)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "must be an AdmissionReview"),
        (b"{", "must be an AdmissionReview"),
        (b"\xff\xfe", "must be an AdmissionReview"),
        (b"[" * 30_000, "must be an AdmissionReview"),
        (b"{}", "must be an AdmissionReview"),
        (b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u"}}', "v1beta1"),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"Pod","request":{"uid":"u"}}', "v1 Pod"),
        (review({"spec": {"containers": "none"}}), "must be an AdmissionReview"),
        (review({"spec": {"containers": [{"resources": {"limits": [1]}}]}}), "must be an AdmissionReview"),
    ],
    ids=range(9),
)
async def test_a_body_that_is_no_question_is_told_so(body: bytes, says: str) -> None:
    """400, and what would do: an API server shows it to who creates the pod."""
    status, answer = await asked(body)
    assert status == 400
    assert says in answer["detail"]


async def test_deep_parts_that_do_not_matter_are_no_hindrance() -> None:
    """A pod whose managedFields nest deeper than any reader goes is judged by the rest."""
    pod, _ = CASES["asks for a slice"]
    deep = review(pod).replace(b'"metadata": {', b'"metadata": {"managedFields": ' + b"[" * 2000 + b"]" * 2000 + b", ")
    status, answer = await asked(deep)
    assert status == 200
    assert "patch" in answer["response"]


async def test_a_question_without_an_object_changes_nothing() -> None:
    """Such as a deletion, which the shipped configuration never sends."""
    _, answer = await asked(review(None))
    assert answer["response"] == {"uid": "u-1", "allowed": True}


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY, 400), (MAX_BODY + 1, 413), (10 * MAX_BODY, 413)])
async def test_bodies_are_bounded(size: int, status: int) -> None:
    """Beyond the bound nothing is held in memory, and the answer says so."""
    got, answer = await asked(b" " * size)
    assert got == status
    assert answer["detail"]


async def test_there_is_one_path_and_one_method() -> None:
    """All else is told what is there."""
    assert (await asked(b"", "/"))[0] == 404
    status, answer = await asked(b"", method="GET")
    assert status == 405
    assert PATH in answer["detail"]


def test_policy_and_webhook_select_alike() -> None:
    """What the API server keeps from either is the same: selectors, conditions, rules, and that a failure refuses."""
    options = manifests.DEPLOY / "options"
    policy = manifests.one(options / "queue" / "gate.yaml", "MutatingAdmissionPolicy")["spec"]
    configured = manifests.one(options / "queue-webhook" / "webhook.yaml", "MutatingWebhookConfiguration")
    (webhook,) = configured["webhooks"]
    constraints = policy["matchConstraints"]
    for field in ("namespaceSelector", "objectSelector"):
        assert webhook[field] == constraints[field]
    assert webhook["rules"] == constraints["resourceRules"]
    for field in ("matchConditions", "failurePolicy", "reinvocationPolicy"):
        assert webhook[field] == policy[field]
    assert webhook["clientConfig"]["service"]["path"] == PATH
    service = manifests.one(options / "queue-webhook" / "service.yaml", "Service")
    assert webhook["clientConfig"]["service"]["name"] == service["metadata"]["name"]
    assert service["spec"]["ports"][0]["targetPort"] == settings.Settings.model_fields["webhook_port"].default
    names = settings.Settings.model_fields["webhook_schedulers"].default
    assert (
        names.split(",")
        == json.loads(policy["matchConditions"][2]["expression"].split(" in ")[1].replace("'", '"'))[1:]
    )


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    """New connections get the new one; files that cannot be read leave the last good one in force."""
    before, after = (certificates.ensure(made(tmp_path / name)) for name in ("before", "after"))
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    install(before, files)
    context = certificate.server_context(*files, setting="webhook", check_s=0)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    await trusts(before, port)
    files[0].write_text("half of one")
    await trusts(before, port)
    install(after, files)
    await trusts(after, port)
    with pytest.raises(ssl.SSLCertVerificationError):
        await trusts(before, port)
    server.close()
    await server.wait_closed()


async def test_the_service_serves_it_over_tls_before_it_knows_the_cluster(tmp_path: Path) -> None:
    """A replica answers API servers from its start on."""
    made_by = certificates.ensure(made(tmp_path / "pki"))
    chosen = settings.load(
        extender_port=0, api_port=0, api_host="127.0.0.1", webhook_port=0, webhook_host="127.0.0.1",
        webhook_cert=made_by.serving, webhook_key=made_by.serving_key,
    )  # fmt: skip
    service = Service(chosen, MemoryCluster(MemoryServer()))
    await service.start()
    trusting = ssl.create_default_context(cafile=made_by.authority)
    port = int(service.webhook_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    body = review(CASES["asks for a slice"][0])
    writer.write(b"POST %b?timeout=5s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
        PATH.encode(), len(body), body
    ))  # fmt: skip
    answer = await reader.read()
    writer.close()
    await service.stop()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"patchType":"JSONPatch"' in answer


@pytest.mark.parametrize("only", ["webhook_cert", "webhook_key"])
async def test_certificate_and_key_belong_together(only: str, tmp_path: Path) -> None:
    """One without the other, or a file that is none, is an error that names the setting."""
    file = tmp_path / "pem"
    file.write_text("none")
    for given in ({only: file}, {"webhook_cert": file, "webhook_key": file}):
        service = Service(
            settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", **given), MemoryCluster(MemoryServer())
        )
        with pytest.raises(errors.SettingsError, match="webhook_cert"):
            await service.start()
        await service.stop()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def install(pair: certificates.Certificates, files: tuple[Path, Path]) -> None:
    for source, target in zip((pair.serving, pair.serving_key), files, strict=True):
        shutil.copyfile(source, target.with_suffix(".new"))
        target.with_suffix(".new").rename(target)


async def trusts(pair: certificates.Certificates, port: int) -> None:
    """Connect, trusting this authority alone."""
    context = ssl.create_default_context(cafile=pair.authority)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.close()
