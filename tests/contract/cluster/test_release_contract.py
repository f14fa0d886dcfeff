"""The contract of releasing a gated pod, on every implementation of the scheduler service's port."""

from typing import Any

import pytest

from allocator import errors
from allocator.queueing.queued_pod import GATE
from scheduler.cache.port import Release
from scheduler.queueing import pinning
from simulator.cluster.api import POD, Document
from tests.contract.cluster.conftest import Ports

KEY = "migsched.io/placement"
GATED = [{"name": GATE}]
ZONE = {"key": "zone", "operator": "In", "values": ["a"]}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def release(pod: Document, node: str = "n1", **changes: Any) -> Release:
    meta = pod["metadata"]
    of_pod: dict[str, Any] = {
        "namespace": "default",
        "name": meta["name"],
        "uid": meta["uid"],
        "version": meta["resourceVersion"],
        "gate": GATE,
        "affinity": pinning.pinned(b"", node),
        "annotations": {KEY: "here"},
    }
    return Release(**{**of_pod, **changes})


def pin(node: str) -> Document:
    return {"key": "metadata.name", "operator": "In", "values": [node]}


async def test_a_release_takes_the_gate_and_pins_and_annotates_at_once(ports: Ports) -> None:
    """After one call the pod has no gate, its node in its affinity, and the annotation."""
    pod = await ports.created(schedulingGates=GATED)
    await ports.cluster.release(release(pod))
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert not after["spec"].get("schedulingGates")
    assert after["spec"]["affinity"]["nodeAffinity"][REQUIRED] == {"nodeSelectorTerms": [{"matchFields": [pin("n1")]}]}
    assert after["metadata"]["annotations"] == {KEY: "here"}


async def test_what_the_pod_asked_of_its_node_stays(ports: Ports) -> None:
    """Each alternative of a required affinity gets the node beside what it asks, and annotations stay."""
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [ZONE]}]}}}
    document = ports.pod(schedulingGates=GATED, affinity=affinity)
    document["metadata"]["annotations"] = {"mine": "1"}
    pod = await ports.api.create(POD, document)
    text = b'{"nodeAffinity":{"%b":{"nodeSelectorTerms":[{"matchExpressions":[%b]}]}}}' % (
        REQUIRED.encode(),
        b'{"key":"zone","operator":"In","values":["a"]}',
    )
    await ports.cluster.release(release(pod, affinity=pinning.pinned(text, "n1")))
    after = await ports.api.get(POD, ports.name("pod"), "default")
    (term,) = after["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [ZONE], "matchFields": [pin("n1")]}
    assert after["metadata"]["annotations"] == {"mine": "1", KEY: "here"}


async def test_a_pod_that_changed_meanwhile_is_a_conflict(ports: Ports) -> None:
    """A release of a version that is not the pod's any more changes nothing."""
    pod = await ports.created(schedulingGates=GATED)
    await ports.api.patch(POD, ports.name("pod"), {"metadata": {"labels": {"a": "b"}}}, "default")
    with pytest.raises(errors.ConflictError):
        await ports.cluster.release(release(pod))
    assert (await ports.api.get(POD, ports.name("pod"), "default"))["spec"]["schedulingGates"] == GATED


async def test_a_namesake_is_a_conflict(ports: Ports) -> None:
    """A release of another pod of that name changes nothing."""
    pod = await ports.created(schedulingGates=GATED)
    with pytest.raises(errors.ConflictError):
        await ports.cluster.release(release(pod, uid="another"))
    assert (await ports.api.get(POD, ports.name("pod"), "default"))["spec"]["schedulingGates"] == GATED


async def test_a_second_release_is_a_conflict(ports: Ports) -> None:
    """Who did not hear of the success is told that the pod is another by now."""
    pod = await ports.created(schedulingGates=GATED)
    await ports.cluster.release(release(pod))
    with pytest.raises(errors.ConflictError):
        await ports.cluster.release(release(pod, node="n2"))
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert "n1" in str(after["spec"]["affinity"])


async def test_a_pod_that_asks_for_nothing_is_let_go_as_it_is(ports: Ports) -> None:
    """A release without affinity and annotations takes the gate and nothing else."""
    pod = await ports.created(schedulingGates=GATED)
    await ports.cluster.release(release(pod, affinity=None, annotations={}))
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert "affinity" not in after["spec"]
    assert not after["spec"].get("schedulingGates")


async def test_a_nomination_names_the_node_and_leaves_the_gate(ports: Ports) -> None:
    """The status names the node, nothing else changes, and the version that is told is the one to release at."""
    pod = await ports.created(schedulingGates=GATED)
    version = await ports.cluster.nominate(release(pod), "n1")
    nominated = await ports.api.get(POD, ports.name("pod"), "default")
    assert nominated["status"]["nominatedNodeName"] == "n1"
    assert (nominated["spec"], version) == (pod["spec"], nominated["metadata"]["resourceVersion"])
    assert version != pod["metadata"]["resourceVersion"]
    await ports.cluster.release(release(pod, version=version, affinity=None))
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert (after["status"]["nominatedNodeName"], after["metadata"]["annotations"]) == ("n1", {KEY: "here"})
    assert not after["spec"].get("schedulingGates")


async def test_a_nomination_of_another_pod_is_a_conflict(ports: Ports) -> None:
    """A namesake, or a pod at another version, is not nominated; one that is gone is NotFoundError."""
    pod = await ports.created(schedulingGates=GATED)
    with pytest.raises(errors.ConflictError):
        await ports.cluster.nominate(release(pod, uid="another"), "n1")
    await ports.api.patch(POD, ports.name("pod"), {"metadata": {"labels": {"a": "b"}}}, "default")
    with pytest.raises(errors.ConflictError):
        await ports.cluster.nominate(release(pod), "n1")
    assert "nominatedNodeName" not in (await ports.api.get(POD, ports.name("pod"), "default"))["status"]
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.nominate(release(pod, name=ports.name("absent")), "n1")


async def test_a_deletion_checks_the_uid(ports: Ports) -> None:
    """Another pod of that name is not deleted, and one that is gone is NotFoundError."""
    pod = await ports.created()
    with pytest.raises(errors.ConflictError):
        await ports.cluster.delete_pod("default", ports.name("pod"), "another")
    await ports.cluster.delete_pod("default", ports.name("pod"), pod["metadata"]["uid"])
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.delete_pod("default", ports.name("absent"), "")
