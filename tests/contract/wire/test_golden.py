"""Exchanges recorded from kube-scheduler 1.36.4, replayed against the service."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.cluster import api
from tests.contract.wire.conftest import Wire

GOLDEN = Path(__file__).parent / "golden"
MODES = ("names", "nodes")


def golden(name: str) -> tuple[Any, Any]:
    """Request and reply of a recorded exchange."""
    exchange = json.loads((GOLDEN / f"{name}.json").read_text())
    return exchange["request"], exchange["reply"]


def names_in(reply: Any) -> list[str]:
    """The node names of a filter reply, in either form."""
    if reply["NodeNames"] is not None:
        return list(reply["NodeNames"])
    return [one["metadata"]["name"] for one in reply["Nodes"]["items"]]


@pytest.mark.parametrize("mode", MODES)
async def test_filter_answers_in_the_form_it_was_asked_in(wire: Wire, mode: str) -> None:
    """With nodeCacheCapable names come back, without it the node objects themselves, unchanged."""
    request, recorded = golden(f"filter-fit-{mode}")
    status, reply = await wire.post("filter", request)
    assert status == 200
    assert set(reply) == set(recorded)
    assert (reply["Nodes"] is None) == (mode == "names")
    assert set(names_in(reply)) == {"node-1", "node-2"}
    if mode == "nodes":
        sent = {one["metadata"]["name"]: one for one in request["Nodes"]["items"]}
        assert all(one == sent[one["metadata"]["name"]] for one in reply["Nodes"]["items"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_refusal_names_every_node(wire: Wire, mode: str) -> None:
    """Where nothing fits, each node asked about is in exactly one of the two maps."""
    request, _ = golden(f"filter-misfit-{mode}")
    request["Pod"]["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/mig-7g.80gb": "1"}}
    request["Pod"]["metadata"]["uid"] = "another"
    _, reply = await wire.post("filter", request)
    assert names_in(reply) == []
    assert reply["FailedNodes"] == {}
    assert reply["FailedAndUnresolvableNodes"] == dict.fromkeys(["node-1", "node-2"], "no GPU offers 7g.80gb")
    assert reply["Error"] == ""


@pytest.mark.parametrize("mode", MODES)
async def test_prioritize_answers_a_bare_array_of_whole_scores(wire: Wire, mode: str) -> None:
    """Every node asked about is scored once, with an int of 0…10: two equal nodes with 10 each."""
    request, recorded = golden(f"prioritize-{mode}")
    status, reply = await wire.post("prioritize", request)
    assert status == 200
    assert {frozenset(one) for one in reply} == {frozenset(one) for one in recorded} == {frozenset(("Host", "Score"))}
    assert sorted(one["Host"] for one in reply) == ["node-1", "node-2"]
    assert sorted(one["Score"] for one in reply) == [10, 10]
    assert all(type(one["Score"]) is int for one in reply)


@pytest.mark.parametrize("mode", MODES)
async def test_bind_writes_node_and_placement_in_one_step(wire: Wire, mode: str) -> None:
    """The recorded Binding binds the pod; the same again is a success, another node is refused."""
    request, recorded = golden(f"bind-{mode}")
    pod = wire.server.create(
        api.POD,
        {
            "metadata": {"name": request["PodName"], "namespace": request["PodNamespace"]},
            "spec": {
                "schedulerName": "migsched",
                "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-3g.20gb": "1"}}}],
            },
        },
    )
    request["PodUID"] = pod.document["metadata"]["uid"]
    assert await wire.post("bind", request) == (200, recorded)
    bound = wire.server.get(api.POD, request["PodName"], request["PodNamespace"]).document
    assert bound["spec"]["nodeName"] == request["Node"]
    assert '"profile":"3g.20gb"' in bound["metadata"]["annotations"]["migsched.io/placement"]
    assert await wire.post("bind", request) == (200, recorded)
    status, reply = await wire.post("bind", request | {"Node": "no-agent"})
    assert (status, reply["Error"]) == (200, f"pod holds slices on {request['Node']}")


@pytest.mark.parametrize("mode", MODES)
async def test_preempt_answers_by_uid_in_both_modes(wire: Wire, mode: str) -> None:
    """A candidate that fits by now, or is empty, needs no victim and is dropped; the reply is always by UID."""
    request, recorded = golden(f"preempt-{mode}")
    status, reply = await wire.post("preempt", request)
    assert status == 200
    assert set(reply) == set(recorded) == {"NodeNameToMetaVictims"}
    victims = request["NodeNameToVictims"] or request["NodeNameToMetaVictims"]
    assert set(reply["NodeNameToMetaVictims"]) <= set(victims)
