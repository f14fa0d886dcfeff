"""What is read from pods beside what they ask for: whose they are, and their labels."""

from typing import Any

import msgspec
import pytest

from kubeclient.objects import Pod
from scheduler.cache import pods


def pod(**metadata: Any) -> Pod:
    """A pod with this metadata."""
    return msgspec.convert({"metadata": {"name": "p", **metadata}}, Pod)


HASH = {"pod-template-hash": "7d9f"}


@pytest.mark.parametrize(
    ("owners", "labels", "service"),
    [
        ([], None, ""),
        (None, None, ""),
        ([{"kind": "Node", "name": "n"}], None, ""),
        ([{"kind": "StatefulSet", "name": "db", "controller": True}], None, "StatefulSet/db"),
        ([{"kind": "ReplicaSet", "name": "chat-7d9f", "controller": True}], HASH, "Deployment/chat"),
        ([{"kind": "ReplicaSet", "name": "chat-7d9f", "controller": True}], None, "ReplicaSet/chat-7d9f"),
        ([{"kind": "ReplicaSet", "name": "mine", "controller": True}], HASH, "ReplicaSet/mine"),
        ([{"kind": "Job", "name": "x"}, {"kind": "LeaderWorkerSet", "name": "y", "controller": True}], None,
         "LeaderWorkerSet/y"),
    ],
)  # fmt: skip
def test_a_pod_belongs_to_its_controller(owners: Any, labels: Any, service: str) -> None:
    """The controller counts, and the Deployment above a ReplicaSet whose name carries the template's hash."""
    assert pods.service_of(pod(ownerReferences=owners, labels=labels)) == service


def on_node(labels: dict[str, str]) -> Pod:
    """A pod on a node with these labels."""
    return msgspec.convert({"metadata": {"name": "p", "labels": labels}, "spec": {"nodeName": "n"}}, Pod)


def test_equal_labels_are_kept_once() -> None:
    """Pods of one owner share their labels in memory; pods without any have none."""
    one, other = (pods.labels_of(on_node({"app": "chat", "tier": ""})) for _ in range(2))
    assert one is not None
    assert one is other
    assert one.mapping() == {"app": "chat", "tier": ""}
    without = pods.labels_of(on_node({}))
    assert without is not None
    assert without.mapping() == {}


@pytest.mark.parametrize(
    "labels", [{f"label-{number}": "" for number in range(65)}, {f"label-{number}": "v" * 200 for number in range(40)}]
)
def test_labels_that_are_too_many_are_not_known(labels: dict[str, str]) -> None:
    """Of a pod with more labels, or longer ones, than pods have, none are kept; nor of one that is on no node."""
    assert pods.labels_of(on_node(labels)) is None
    assert pods.labels_of(pod(labels={"app": "chat"})) is None


def test_an_owner_with_an_impossible_name_is_none() -> None:
    """The API server does not check how long an owner's name is; no object has one of a thousand characters."""
    assert pods.service_of(pod(ownerReferences=[{"kind": "Job", "name": "x" * 1000, "controller": True}])) == ""


@pytest.mark.parametrize("quantity", ["0", 0])
def test_nothing_asked_for_is_nothing_of_ours(quantity: str | int) -> None:
    """A resource asked for 0 times, spelled in whatever way, makes no MIG pod."""
    resources = {"limits": {"nvidia.com/mig-1g.5gb": quantity, "nvidia.com/mig-odd": quantity}}
    asked = msgspec.convert(
        {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}}, Pod
    )
    assert not pods.is_ours(asked)
    assert not pods.request_of(asked)
