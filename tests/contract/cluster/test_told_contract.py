"""The contract of telling people why a gated pod waits, on every implementation of the scheduler service's port."""

from typing import Any

import pytest

from allocator import errors
from allocator.queueing.queued_pod import GATE
from kubeclient.events import PodEvent
from scheduler.cache.port import COMPONENT, GatedPodMessage
from simulator.cluster.api import EVENT, POD, Document
from tests.contract.cluster.conftest import Ports

GATED = [{"name": GATE}]


def message(pod: Document, **changes: Any) -> GatedPodMessage:
    meta = pod["metadata"]
    said = {"namespace": "default", "name": meta["name"], "uid": meta["uid"], "version": meta["resourceVersion"]}
    return GatedPodMessage(**{**said, "message": "full: no room", **changes})


def scheduled(pod: Document) -> Document:
    (condition,) = (c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled")
    return {key: condition[key] for key in ("type", "status", "reason", "message")}


async def test_an_event_is_about_the_pod_and_from_the_service(ports: Ports) -> None:
    """Type, reason and message are listed, with the pod's UID and the service's name; two alike are two Events."""
    pod = await ports.created(schedulingGates=GATED)
    told = PodEvent("default", ports.name("pod"), pod["metadata"]["uid"], "Normal", "Full", "w" * 2_000)
    await ports.cluster.record_event(told)
    await ports.cluster.record_event(told)
    events = [e for e in (await ports.api.list(EVENT)).items if e["involvedObject"]["uid"] == told.uid]
    assert [(e["type"], e["reason"], e["message"]) for e in events] == [("Normal", "Full", "w" * 1024)] * 2
    assert {e["source"]["component"] for e in events} == {COMPONENT}


async def test_only_the_message_of_the_condition_changes(ports: Ports) -> None:
    """Status and reason stay, which kubectl shows; so do other conditions and the gate."""
    pod = await ports.created(schedulingGates=GATED)
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    other = {"type": "example.com/Other", "status": "True"}
    patch = {"status": {"conditions": [gated, other]}}
    pod = await ports.api.patch_status(POD, ports.name("pod"), patch, "default")
    await ports.cluster.set_pod_condition(message(pod))
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert scheduled(after) == {**gated, "message": "full: no room"}
    assert other["type"] in [c["type"] for c in after["status"]["conditions"]]
    assert after["spec"]["schedulingGates"] == GATED


async def test_another_pod_or_version_is_a_conflict(ports: Ports) -> None:
    """A message for a namesake, or for the pod as it was, changes nothing."""
    before = await ports.created(schedulingGates=GATED)
    pod = await ports.api.patch(POD, ports.name("pod"), {"metadata": {"labels": {"a": "b"}}}, "default")
    for said in (message(pod, uid="another"), message(before)):
        with pytest.raises(errors.ConflictError):
            await ports.cluster.set_pod_condition(said)
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert after["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]
