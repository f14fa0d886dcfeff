"""What the service answers on the wire, well asked and badly asked: always JSON, always clear, never a traceback."""

import asyncio
from typing import Any

import httpx
import pytest

from allocator.claims import contract
from scheduler import settings
from scheduler.service import Service
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node
from tests.contract.wire.conftest import Wire, add_node, pod

SMALL = {"nvidia.com/mig-1g.5gb": "1"}


async def test_unknown_nodes_and_nodes_without_a_report_are_refused_with_a_reason(wire: Wire) -> None:
    """A name nobody told us, and a node whose agent has not reported, are refused beside nodes that fit."""
    answer = await wire.filter(pod("p", SMALL), "node-1", "never-heard-of", "no-agent")
    assert answer["NodeNames"] == ["node-1"]
    answer = await wire.filter(pod("q", SMALL), "never-heard-of", "no-agent")
    assert answer["FailedAndUnresolvableNodes"] == {
        "never-heard-of": "node not known to migsched yet",
        "no-agent": "no MIG report from the node's agent",
    }


async def test_a_pod_that_asks_nothing_of_ours_passes_untouched(wire: Wire) -> None:
    """Filter returns all nodes, prioritize zeros, and bind writes no placement."""
    document = pod("plain", {"cpu": "1", "nvidia.com/gpu": "1"})
    assert (await wire.filter(document, "node-1", "no-agent"))["NodeNames"] == ["node-1", "no-agent"]
    _, scores = await wire.post("prioritize", {"Pod": document, "Nodes": None, "NodeNames": ["node-1"]})
    assert scores == [{"Host": "node-1", "Score": 0}]
    made = wire.server.create(
        api.POD, {"metadata": {"name": "plain", "namespace": "default"}, "spec": document["spec"]}
    )
    body = {
        "PodName": "plain",
        "PodNamespace": "default",
        "PodUID": made.document["metadata"]["uid"],
        "Node": "no-agent",
    }
    assert await wire.post("bind", body) == (200, {"Error": ""})
    assert not wire.server.get(api.POD, "plain", "default").document["metadata"].get("annotations")


async def test_prioritize_for_one_node(wire: Wire) -> None:
    """A single node is the best one; a node that does not fit gets 0."""
    _, scores = await wire.post("prioritize", {"Pod": pod("p", SMALL), "Nodes": None, "NodeNames": ["node-2"]})
    assert scores == [{"Host": "node-2", "Score": 10}]
    _, scores = await wire.post("prioritize", {"Pod": pod("p", SMALL), "Nodes": None, "NodeNames": ["no-agent"]})
    assert scores == [{"Host": "no-agent", "Score": 0}]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"nvidia.com/mig-9g.99gb": "1"}, "no GPU offers 9g.99gb"),
        ({"nvidia.com/mig-huge": "1"}, "resource name: 'nvidia.com/mig-huge': write nvidia.com/mig-<profile>"),
        ({"nvidia.com/mig-1g.5gb": "-1"}, "container main: nvidia.com/mig-1g.5gb: '-1': ask for a whole number"),
        ({"nvidia.com/mig-1g.5gb": "1.5"}, "'1.5': ask for a whole number"),
        ({"nvidia.com/mig-1g.5gb": "999999999999"}, "ask for at most 128 slices in one pod"),
        ({"nvidia.com/mig-1g.5gb": 10**30}, "ask for a whole number"),
        ({"nvidia.com/mig-7g.40gb": "2"}, "2 × 7g.40gb is more than all its GPUs could hold empty"),
    ],
)
async def test_requests_that_cannot_be_meant_are_refused_in_plain_words(
    wire: Wire, limits: dict[str, Any], words: str
) -> None:
    """A profile nobody offers, a malformed name or quantity: every node is refused with the reason, no error."""
    answer = await wire.filter(pod("odd", limits), "node-1", "node-2")
    assert answer["NodeNames"] == []
    assert answer["Error"] == ""
    assert list(answer["FailedAndUnresolvableNodes"]) == ["node-1", "node-2"]
    assert words in answer["FailedAndUnresolvableNodes"]["node-1"]


@pytest.mark.parametrize("verb", ["filter", "prioritize", "bind", "preempt"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"[]",
        b"null",
        b'{"Pod": 1}',
        b'{"Pod": {"metadata": {"name": 5}}, "PodName": 5}',
        b'{"PodName": "x", "PodNamespace": [], "PodUID": {}, "Node": null, "Pod": []}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: body[:12].decode(errors="replace"),
)
async def test_a_body_that_is_no_call_gets_a_clear_400(wire: Wire, verb: str, body: bytes) -> None:
    """Truncated, non-JSON or wrongly typed bodies: 400, JSON that says what is wrong, and the service goes on."""
    status, answer = await wire.post(verb, body)
    assert status == 400
    assert answer["Error"].startswith("request body: ")
    assert "Traceback" not in answer["Error"]
    assert (await wire.filter(pod("after", SMALL), "node-1"))["NodeNames"] == ["node-1"]


async def test_an_oversized_body_is_refused_before_it_is_read(wire: Wire) -> None:
    """100 MB are answered 413, naming the setting, declared or streamed."""
    chunk = b"x" * 2**20

    async def stream() -> Any:
        for _ in range(100):
            yield chunk

    url = f"{wire.service.extender_url}/v1/filter"
    declared = await wire.client.post(url, content=chunk * 100)
    streamed = await wire.client.post(url, content=stream())
    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert "raise max_body_mib" in answer.json()["Error"]


async def test_unknown_verbs_and_methods(wire: Wire) -> None:
    """An unknown verb is 404, a GET of a verb 405, and the answer says what there is."""
    status, answer = await wire.post("dance", {})
    assert status == 404
    assert "the extender answers POST to /v1/filter" in answer["Error"]
    wrong = await wire.client.get(f"{wire.service.extender_url}/v1/filter")
    assert wrong.status_code == 405
    assert wrong.headers["Allow"] == "POST"


@pytest.mark.parametrize("verb", ["filter", "prioritize"])
@pytest.mark.parametrize("item", [1, {}, {"metadata": {}}, {"metadata": {"name": 5}}])
async def test_a_node_object_without_a_name_gets_a_clear_400(wire: Wire, verb: str, item: Any) -> None:
    """Where whole nodes are sent, each must have a name."""
    status, answer = await wire.post(verb, {"Pod": pod("p", SMALL), "Nodes": {"items": [item]}, "NodeNames": None})
    assert status == 400
    assert answer["Error"].startswith("request body: ")


@pytest.mark.parametrize("verb", ["filter", "prioritize", "preempt"])
async def test_a_pod_without_a_uid_is_refused(wire: Wire, verb: str) -> None:
    """What is known of pods goes by their UIDs: one pod without must not be answered with another's request."""
    status, answer = await wire.post(verb, {"Pod": pod("p", SMALL, uid=""), "NodeNames": ["node-1"]})
    assert status == 400
    assert "Pod.metadata.uid" in answer["Error"]
    assert not wire.service.state.pods


async def test_unicode_names_are_names_like_any_other(wire: Wire) -> None:
    """Non-ASCII pod and node names come back unharmed."""
    answer = await wire.filter(pod("pöd-日本", SMALL), "nöde-✓")
    assert answer["FailedAndUnresolvableNodes"] == {"nöde-✓": "node not known to migsched yet"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "null",
        '{"version":2,"slices":[]}',
        '{"version":1,"slices":[{"container":"main","gpu":"GPU-x","profile":"1g.5gb","start":-1}]}',
        '{"version":1,"slices":[{"container":"main","gpu":"node-1-gpu-0","profile":"7g.40gb","start":0}]}',
        '{"version":1,"slices":"<script>alert(1)</script>"}',
        "[" * 30_000,
        "\u202e" * 1000,
    ],
)
async def test_a_hostile_annotation_takes_no_room(wire: Wire, text: str) -> None:
    """A pod bound past us with a wild annotation is logged, holds nothing, and stops nobody."""
    document = pod("bypass", SMALL, annotations={contract.PLACEMENT_ANNOTATION: text})
    document["spec"]["nodeName"] = "node-1"
    del document["metadata"]["uid"]
    wire.server.create(api.POD, document)
    await settled(wire, lambda: any(p.name == "bypass" for p in wire.service.state.pods.values()))
    assert len(wire.service.state.inventory.ledger) == 0
    assert (await wire.filter(pod("whole", {"nvidia.com/mig-7g.40gb": "1"}), "node-1"))["NodeNames"] == ["node-1"]


async def test_a_report_with_overlapping_slices_takes_that_gpu_out_only(wire: Wire) -> None:
    """A MigNode whose first GPU contradicts itself keeps its second GPU usable, and the API says what is wrong."""
    seen = node("torn").gpu("a100-40gb").gpu("a100-40gb").report()
    status = contract.encode_status(seen, agent_version="test", mode="simulated")
    status["gpus"][0]["slices"] = [
        {"profile": "3g.20gb", "start": 0, "size": 4, "state": "idle"},
        {"profile": "1g.5gb", "start": 2, "size": 1, "state": "idle"},
    ]
    add_node(wire.server, "torn", status)
    await settled(wire, lambda: wire.service.state.inventory.report("torn") is not None)
    answer = await wire.filter(pod("p", {"nvidia.com/mig-7g.40gb": "2"}), "torn")
    assert list(answer["FailedAndUnresolvableNodes"]) == ["torn"]
    assert (await wire.filter(pod("q", {"nvidia.com/mig-7g.40gb": "1"}), "torn"))["NodeNames"] == ["torn"]
    torn = next(n for n in (await wire.get("/api/v1/nodes")).json() if n["name"] == "torn")
    assert "1g.5gb@2 does not fit beside the others" in torn["gpus"][0]["problem"]
    assert torn["gpus"][1]["problem"] == ""


async def test_a_report_of_a_future_contract_is_not_guessed_at(wire: Wire) -> None:
    """A MigNode of contract version 2 makes its node unusable, and says to upgrade."""
    seen = node("future").gpu("a100-40gb").report()
    status = contract.encode_status(seen, agent_version="9", mode="managed") | {"contractVersion": 2}
    add_node(wire.server, "future", status)
    await settled(wire, lambda: wire.service.state.inventory.report("future") is not None)
    answer = await wire.filter(pod("p", SMALL), "future")
    reason = "the node agent's MIG report cannot be used; migsched top says why"
    assert answer["FailedAndUnresolvableNodes"] == {"future": reason}
    future = next(n for n in (await wire.get("/api/v1/nodes")).json() if n["name"] == "future")
    assert "status.contractVersion: 2: this migsched reads version 1" in future["problem"]


async def test_verbs_answer_503_until_the_caches_are_synced(server: MemoryServer) -> None:
    """Before the first lists are in, no decision is made: verbs say 503 and /readyz is false; then both turn."""
    cluster = MemoryCluster(server)
    gate = asyncio.Event()
    cluster.faults.add(Fault("list", "pods", hold=gate))
    service = Service(settings.load(extender_port=0, api_port=0, api_host="127.0.0.1"), cluster)
    await service.start()

    async with httpx.AsyncClient(trust_env=False) as client:
        wire = Wire(server, service, client)
        status, answer = await wire.post("filter", {"Pod": pod("p", SMALL), "Nodes": None, "NodeNames": ["node-1"]})
        assert status == 503
        assert "still reading the cluster" in answer["Error"]
        assert (await wire.get("/readyz")).status_code == 503
        assert (await wire.get("/livez")).status_code == 200
        gate.set()
        await service.synced()
        assert (await wire.get("/readyz")).status_code == 200
    await service.stop()


async def test_metrics_name_verbs_claims_and_reasons(wire: Wire) -> None:
    """After a refusal, /metrics counts it by verb, outcome and reason, and shows free slices by model."""
    await wire.filter(pod("p", {"nvidia.com/mig-9g.99gb": "1"}), "node-1")
    text = (await wire.get("/metrics")).text
    assert 'migsched_extender_decisions_total{outcome="misfit",reason="not_offered",verb="filter"} 1.0' in text
    assert 'migsched_free_memory_slices{model="a100-40gb"} 16.0' in text
    assert 'migsched_extender_verb_seconds_count{verb="filter"} 1.0' in text


async def settled(wire: Wire, condition: Any) -> None:
    """Wait until what was written to the cluster has reached the service's state."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
