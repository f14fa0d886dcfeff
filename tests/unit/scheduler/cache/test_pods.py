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


def test_equal_labels_are_kept_once() -> None:
    """Pods of one owner share their labels in memory; pods without any have none."""
    one, other = (pods.labels_of(pod(labels={"app": "chat"})) for _ in range(2))
    assert one is other
    assert one == {"app": "chat"}
    assert pods.labels_of(pod()) == {}
