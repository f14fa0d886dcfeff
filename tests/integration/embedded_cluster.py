"""An embedded cluster for tests, and the checks that everything on it is legal."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from allocator.placement import fitting
from config import logs
from kubeclient.objects import Pod
from scheduler import settings
from scheduler.cache import pods
from simulator.cluster import api, embedded, nodes
from simulator.cluster.api import Document
from simulator.cluster.embedded import Embedded, EmbeddedOptions
from simulator.cluster.kube_scheduler.scheduler import SchedulerConfig
from tests.waiting import eventually

MODEL = "a100-40gb"


@asynccontextmanager
async def cluster(
    node_count: int, gpus: int, model: str = MODEL, *, changes: Mapping[str, Any] | None = None, **config: Any
) -> AsyncIterator[Embedded]:
    """A running embedded cluster on free ports, with `changes` of the settings. Whatever a test did to it, it ends in
    agreement.
    """
    logs.configure("json", "error")
    own: dict[str, Any] = {
        "extender_port": 0,
        "api_host": "127.0.0.1",
        "api_port": 0,
        "shutdown_s": 0.05,
        "requeue_interval_s": 0.05,
    }
    chosen = settings.load(**own, **(changes or {}))
    config = {"initial_backoff_s": 0.02, "max_backoff_s": 0.1, **config}
    options = EmbeddedOptions(
        nodes.uniform(node_count, gpus, model), chosen, SchedulerConfig(extender_url="", **config)
    )
    async with embedded.start(options) as running:
        yield running
        await check(running)


def documents(world: Embedded) -> list[Document]:
    """All pods, by name."""
    return [one.document for one in world.server.list(api.POD)]


def running_pods(world: Embedded) -> list[str]:
    """Names of the pods that run."""
    return [one["metadata"]["name"] for one in documents(world) if one["status"]["phase"] == "Running"]


def pending_pods(world: Embedded) -> list[Document]:
    """Pods without a node."""
    return [one for one in documents(world) if not one["spec"].get("nodeName")]


def condition(pod: Document) -> str:
    """What a pod's PodScheduled condition says."""
    return "".join(c.get("message", "") for c in pod["status"].get("conditions", ()) if c["type"] == "PodScheduled")


async def settled(world: Embedded) -> None:
    """Wait until everything is placed, cut and reported, or refused."""
    await eventually(lambda: world.is_settled() and _ready(world), "the cluster comes to rest", seconds=60)


def _ready(world: Embedded) -> bool:
    return all(claim.state.value == "ready" for claim in world.service.state.inventory.ledger)


def promised(world: Embedded) -> dict[str, list[tuple[str, Placement]]]:
    """(pod, placement) by GPU, as annotations say; fails on a promise that is not what its pod asks for."""
    models = {gpu.uuid: (node.name, gpu.model) for node in world.options.fleet for gpu in node.gpus}
    found: dict[str, list[tuple[str, Placement]]] = {uuid: [] for uuid in models}
    for document in documents(world):
        pod = msgspec.convert(document, Pod)
        promises = pods.promises_of(pod)
        if not pod.spec.node_name:
            assert not promises, f"{pod.metadata.name} is promised slices but has no node"
            continue
        asked = sorted((slot.container, slot.profile) for slot in pods.request_of(pod).slots)
        assert sorted((one.container, one.profile) for one in promises) == asked
        for one in promises:
            node, model = models[one.gpu]
            assert node == pod.spec.node_name, f"{pod.metadata.name} is promised a GPU of another node"
            found[one.gpu].append((pod.metadata.name, gpu_models.find(model).placement(one.profile, one.start)))
    return found


async def check(world: Embedded) -> None:
    """No slot has two owners, what containers have is cut, and it is what the scheduler's books say."""
    await eventually(lambda: claimed(world) == given(world), "the books and the kubelets agree")
    hardware = world.agents.hardware()
    for gpu, placements in world.agents.in_use().items():
        geometry.compiled(gpu_models.find(_model(world, gpu))).state_of(placements)
        assert set(placements) <= set(hardware[gpu]), f"{gpu}: what is given is not cut"
    world.service.state.inventory.check()


def claimed(world: Embedded) -> list[tuple[str, Placement]]:
    """(GPU, placement) of every claim of the scheduler."""
    return sorted((hold.gpu, hold.placement) for claim in world.service.state.inventory.ledger for hold in claim.holds)


def given(world: Embedded) -> list[tuple[str, Placement]]:
    """(GPU, placement) of all that containers have."""
    return sorted((gpu, placement) for gpu, places in world.agents.in_use().items() for placement in places)


def could_be_placed(world: Embedded, pod: Document) -> list[str]:
    """Nodes with room for a pod, judged from what containers have."""
    in_use = world.agents.in_use()
    counts = dict(pods.request_of(msgspec.convert(pod, Pod)).counts)
    return [
        node.name
        for node in world.options.fleet
        if fitting.fits([_state(gpu.model, in_use[gpu.uuid]) for gpu in node.gpus], counts)
    ]


def _state(model: str, placements: Sequence[Placement]) -> fitting.GpuState:
    compiled = geometry.compiled(gpu_models.find(model))
    return compiled, compiled.state_of(placements)


def _model(world: Embedded, uuid: str) -> str:
    return next(gpu.model for node in world.options.fleet for gpu in node.gpus if gpu.uuid == uuid)
