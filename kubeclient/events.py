"""Events about pods, as `kubectl describe pod` shows them. Written by the agent and by the scheduler service."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from kubeclient import timestamps

MAX_MESSAGE = 1024  # characters; the API server refuses more
_NAME = 200  # of a pod's name in its Event's, which has room for 253 characters
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class PodEvent:
    """A Kubernetes Event about a pod. `type` is Normal or Warning. `at` is when it happened, if that is not now."""

    namespace: str
    pod: str
    uid: str
    type: str
    reason: str
    message: str
    at: datetime | None = None


def path_of(event: PodEvent) -> str:
    """Where an Event is created."""
    return f"/api/v1/namespaces/{quote(event.namespace, safe='')}/events"


def body_of(event: PodEvent, component: str, host: str = "") -> bytes:
    """The v1.Event, as told by a component on a host; under a name of its own."""
    now = datetime.now(UTC)
    stamp = timestamps.stamp(event.at or now)
    body: dict[str, Any] = {
        "metadata": {
            "name": f"{event.pod[:_NAME]}.{int(now.timestamp() * 1e6):x}{next(_numbers):x}",
            "namespace": event.namespace,
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": event.pod,
            "namespace": event.namespace,
            "uid": event.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:MAX_MESSAGE],
        "source": {"component": component, **({"host": host} if host else {})},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
    return msgspec.json.encode(body)
