"""PodDevices: which devices a kubelet has given to which containers. Pure; held by `device_manager` and `fake_agent`.

As the kubelet's device manager keeps them: what an ordinary init container had is given to the containers after it
first, a sidecar keeps its own, PodResources lists no ordinary init container, and a file remembers all of it for the
kubelet's next start, with the names of pods left out.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from allocator import errors
from kubeclient.objects import Container, Pod
from simulator.cluster import quantity

Key = tuple[str, str]  # container and resource


@dataclass(frozen=True, slots=True)
class Need:
    """What one container asks for of one resource, in the order in which a kubelet gives."""

    container: str
    resource: str
    number: int
    keeps: bool  # it runs as long as its pod: what it has is given to nobody after it


@dataclass(slots=True)
class HeldByPod:
    """What one pod has. Without a name it is known from an earlier start of the kubelet alone."""

    namespace: str = ""
    name: str = ""
    devices: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    init: set[str] = field(default_factory=set)  # ordinary init containers


def needs(pod: Pod, resources: Collection[str]) -> Iterator[Need]:
    """All that a pod asks for of these resources: init containers first, then the others, each in the pod's order.

    A resource asked for 0 times needs nothing.
    """
    for container in pod.spec.init_containers or ():
        yield from _of(container, resources, keeps=container.restart_policy == "Always")
    for container in pod.spec.containers:
        yield from _of(container, resources, keeps=True)


def _of(container: Container, resources: Collection[str], *, keeps: bool) -> Iterator[Need]:
    limits = (container.resources.limits if container.resources else None) or {}
    for resource in sorted(limits.keys() & set(resources)):
        number = int(quantity.parse(limits[resource], resource))
        if number > 0:
            yield Need(container.name, resource, number, keeps)


class PodDevices:
    """All pods of one kubelet, by UID."""

    def __init__(self) -> None:
        self.pods: dict[str, HeldByPod] = {}

    def admit(self, pod: Pod) -> None:
        """A pod is being given devices."""
        held = self.pods.setdefault(pod.metadata.uid, HeldByPod())
        held.namespace, held.name = pod.metadata.namespace, pod.metadata.name
        held.init = {c.name for c in pod.spec.init_containers or () if c.restart_policy != "Always"}

    def give(self, uid: str, need: Need, ids: Sequence[str]) -> None:
        """A container has got devices."""
        self.pods[uid].devices[need.container, need.resource] = tuple(ids)

    def has(self, uid: str, need: Need) -> bool:
        """Whether a container has what it needs: a kubelet that was started again asks for nothing twice."""
        return (need.container, need.resource) in self.pods[uid].devices

    def reusable(self, uid: str, need: Need) -> list[str]:
        """What ordinary init containers before it had, and no container that goes on running was given."""
        held = self.pods[uid]
        of_resource = {key[0]: ids for key, ids in held.devices.items() if key[1] == need.resource}
        kept = {id_ for container, ids in of_resource.items() if container not in held.init for id_ in ids}
        had = (id_ for container, ids in of_resource.items() if container in held.init for id_ in ids)
        return [id_ for id_ in dict.fromkeys(had) if id_ not in kept][: need.number]

    def release(self, uid: str) -> bool:
        """A pod is over. Returns whether it had anything."""
        return self.pods.pop(uid, None) is not None

    def taken(self) -> set[str]:
        """All ids that somebody has."""
        return {id_ for held in self.pods.values() for ids in held.devices.values() for id_ in ids}

    def listed(self) -> Iterator[tuple[HeldByPod, str, Mapping[str, Sequence[str]]]]:
        """What PodResources tells: pod, container and its ids by resource; no ordinary init containers."""
        for held in self.pods.values():
            containers: dict[str, dict[str, Sequence[str]]] = {}
            for (container, resource), ids in held.devices.items():
                if held.name and container not in held.init:
                    containers.setdefault(container, {})[resource] = ids
            for container, by_resource in containers.items():
                yield held, container, by_resource

    def checkpoint(self) -> bytes:
        """The kubelet's file. Its checksum is the kubelet's own affair."""
        entries = [
            {
                "PodUID": uid,
                "ContainerName": container,
                "ResourceName": resource,
                "DeviceIDs": {"-1": list(ids)},
                "AllocResp": "",
            }
            for uid, held in self.pods.items()
            for (container, resource), ids in held.devices.items()
        ]
        return msgspec.json.encode({"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {}}, "Checksum": 0})

    def restore(self, checkpoint: bytes) -> None:
        """What such a file says. Raises InputError for another one."""
        try:
            data: dict[str, Any] = msgspec.json.decode(checkpoint)["Data"]
            for entry in data["PodDeviceEntries"] or ():
                ids = [id_ for ids in (entry["DeviceIDs"] or {}).values() for id_ in ids]
                held = self.pods.setdefault(entry["PodUID"], HeldByPod())
                held.devices[entry["ContainerName"], entry["ResourceName"]] = tuple(ids)
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise errors.InputError("kubelet checkpoint", checkpoint[:80], "remove it: it is damaged") from error
