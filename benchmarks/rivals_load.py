"""What the rivals benchmark puts on an API server: ResourceSlices as NVIDIA's DRA driver publishes them, the
DeviceClasses that serve plain `nvidia.com/mig-…` by them, and a watch of bindings that may never be complete.

No driver runs. The slices are made as its generator makes them for Kubernetes 1.35 and later, with DynamicMIG on: one
slice with a set of shared counters for each GPU of the node, then a slice per GPU with a device for each placement.
Such GPUs offer partitions only. The source of the form: kubernetes-sigs/dra-driver-nvidia-gpu, August 2026.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Profile
from benchmarks.scheduler_load import GPUS_PER_NODE, MODEL, NAMESPACE, PODS
from kubeclient.changes import ChangeType
from kubeclient.kube import MERGE_PATCH, Connection
from scheduler.cache.kube import PATHS
from scheduler.cache.port import WatchedKind

DRIVER = "gpu.nvidia.com"
_GROUP = "resource.k8s.io/v1"
_SLICES = f"/apis/{_GROUP}/resourceslices"
_CLAIMS = f"/apis/{_GROUP}/namespaces/{NAMESPACE}/resourceclaims"
_ALLOCATABLE = {"cpu": "128", "memory": "1024Gi", "pods": "500"}

Document = dict[str, Any]


def device_classes() -> list[Document]:
    """A class for each profile, by which pods that name its resource get a device."""
    return [
        {
            "apiVersion": _GROUP,
            "kind": "DeviceClass",
            "metadata": {"name": f"mig-{_plain(profile)}"},
            "spec": {
                "extendedResourceName": profile.resource,
                "selectors": [
                    {
                        "cel": {
                            "expression": f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'mig' "
                            f"&& device.attributes['{DRIVER}'].profile == '{profile.name}'"
                        }
                    }
                ],
            },
        }
        for profile in gpu_models.find(MODEL).profiles
    ]


def resource_slices(node: str) -> list[Document]:
    """The slices of a node with empty GPUs in MIG mode."""
    catalogue = gpu_models.find(MODEL)
    counters = [{"name": _counter_set(gpu), "counters": _whole(catalogue)} for gpu in range(GPUS_PER_NODE)]
    devices = [_devices(catalogue, node, gpu) for gpu in range(GPUS_PER_NODE)]
    parts: list[Document] = [{"sharedCounters": counters}, *({"devices": there} for there in devices)]
    pool = {"name": node, "generation": 1, "resourceSliceCount": len(parts)}
    return [
        {
            "apiVersion": _GROUP,
            "kind": "ResourceSlice",
            "metadata": {"name": f"{number:05d}-{node}-{DRIVER}"},
            "spec": {"driver": DRIVER, "nodeName": node, "pool": pool, **part},
        }
        for number, part in enumerate(parts)
    ]


def _devices(catalogue: Catalogue, node: str, gpu: int) -> list[Document]:
    devices = []
    for profile in catalogue.profiles:
        for start in profile.starts:
            taken = {f"memory-slice-{start + n}": {"value": "1"} for n in range(profile.memory_slices)}
            devices.append(
                {
                    "name": f"gpu-{gpu}-mig-{_plain(profile)}-{profile.profile_id}-{start}",
                    "attributes": _attributes(profile, node, gpu),
                    "capacity": {_camel(name): amount for name, amount in _amounts(profile).items()},
                    "consumesCounters": [
                        {"counterSet": _counter_set(gpu), "counters": {**_amounts(profile), **taken}},
                    ],
                }
            )
    return sorted(devices, key=lambda device: str(device["name"]))


def _attributes(profile: Profile, node: str, gpu: int) -> Document:
    return {
        "type": {"string": "mig"},
        "profile": {"string": profile.name},
        "parentUUID": {"string": f"GPU-{node}-{gpu}"},
        "parentIndex": {"int": gpu},
        "parentMinor": {"int": gpu},
        "productName": {"string": "NVIDIA A100-SXM4-40GB"},
        "brand": {"string": "Nvidia"},
        "architecture": {"string": "Ampere"},
        "cudaComputeCapability": {"version": "8.0.0"},
        "driverVersion": {"version": "580.65.6"},
        "cudaDriverVersion": {"version": "13.0.0"},
        "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{gpu:02x}"},
        "resource.kubernetes.io/pciBusID": {"string": f"0000:{gpu:02x}:00.0"},
    }


def _amounts(profile: Profile) -> dict[str, Document]:
    engines = profile.engines
    numbers = {
        "multiprocessors": profile.sm or 0,
        "copy-engines": profile.copy_engines or 0,
        "decoders": engines.dec if engines else 0,
        "encoders": engines.enc if engines else 0,
        "jpeg-engines": engines.jpeg if engines else 0,
        "ofa-engines": engines.ofa if engines else 0,
    }
    return {
        **{name: {"value": str(number)} for name, number in numbers.items()},
        "memory": {"value": f"{profile.memory_mib or 0}Mi"},
    }


def _whole(catalogue: Catalogue) -> dict[str, Document]:
    """The counters of a GPU: what its largest profile takes, and its memory slices."""
    largest = max(catalogue.profiles, key=lambda profile: (profile.compute_slices, profile.memory_slices))
    slices = {f"memory-slice-{number}": {"value": "1"} for number in range(catalogue.memory_slices)}
    return {**_amounts(largest), **slices}


def _camel(name: str) -> str:
    """A counter's name as that of a capacity."""
    first, *others = name.split("-")
    return first + "".join(word.capitalize() for word in others)


def _counter_set(gpu: int) -> str:
    return f"gpu-{gpu}-counter-set"


def _plain(profile: Profile) -> str:
    return profile.name.replace(".", "").replace("+", "-")


async def create_dra_nodes(connection: Connection, names: Iterable[str]) -> None:
    """Nodes without counts of slices, with the ResourceSlices of their GPUs."""
    slots = asyncio.Semaphore(64)

    async def create(name: str) -> None:
        node = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": _ALLOCATABLE, "capacity": _ALLOCATABLE},
        }
        async with slots:
            await connection.request("POST", PATHS[WatchedKind.NODE], body=msgspec.json.encode(node))
            for document in resource_slices(name):
                await connection.request("POST", _SLICES, body=msgspec.json.encode(document))

    await asyncio.gather(*map(create, names))


async def cordon(connection: Connection, names: Iterable[str], *, value: bool) -> None:
    """Nodes take no new pods, or take them again."""
    body = msgspec.json.encode({"spec": {"unschedulable": value or None}})
    for name in names:
        path = f"{PATHS[WatchedKind.NODE]}/{name}"
        await connection.request("PATCH", path, body=body, content_type=MERGE_PATCH)


async def delete_claims(connection: Connection) -> None:
    """Those that kube-scheduler has made for pods that are gone: no controller runs that would."""
    listing = msgspec.json.decode(await connection.request("GET", _CLAIMS))
    freed = msgspec.json.encode({"metadata": {"finalizers": None}})
    for item in listing["items"]:
        path = f"{_CLAIMS}/{item['metadata']['name']}"
        try:
            await connection.request("PATCH", path, body=freed, content_type=MERGE_PATCH)
            await connection.request("DELETE", path)
        except errors.NotFoundError:
            continue


class Bindings:
    """Which of some pods get a node, and when the last of them did."""

    def __init__(self, connection: Connection, names: Iterable[str]) -> None:
        self._connection = connection
        self._names = frozenset(names)
        self.nodes: dict[str, str] = {}
        self.last_at = time.perf_counter()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch from now on."""
        listing = msgspec.json.decode(await self._connection.request("GET", PODS, query={"limit": "1"}))
        self.last_at = time.perf_counter()
        self._task = asyncio.create_task(self._follow(listing["metadata"]["resourceVersion"]))

    async def settle(self, *, limit_s: float, quiet_s: float) -> Mapping[str, str]:
        """The nodes by pod, once all have one, or none has got one for so long, or the time is over."""
        until = time.perf_counter() + limit_s
        while len(self.nodes) < len(self._names):
            now = time.perf_counter()
            if now >= until or now - self.last_at >= quiet_s:
                break
            await asyncio.sleep(0.05)
        if self._task is not None:
            self._task.cancel()
        return self.nodes

    async def _follow(self, version: str) -> None:
        while True:
            async for type_, raw in self._connection.watch_raw(PODS, version):
                if type_ is ChangeType.BOOKMARK:
                    continue
                document = msgspec.json.decode(raw)
                version = document["metadata"]["resourceVersion"]
                name, node = document["metadata"]["name"], document["spec"].get("nodeName", "")
                if node and name in self._names and name not in self.nodes:
                    self.nodes[name] = node
                    self.last_at = time.perf_counter()
