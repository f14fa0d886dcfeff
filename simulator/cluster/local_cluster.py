"""A genuine control plane on this machine with simulated GPU nodes, our service and the unmodified kube-scheduler.

kube-scheduler has its own defaults and binds what our queue releases, or asks our extender, by mode. Genuine are etcd,
kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and migsched's scheduler service with its own RBAC, and
the node agents with theirs, unless there are too many nodes; kubelets and GPUs are simulated. Called by `migsched
cluster`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from allocator.queueing.release import QueueRelease
from kubeclient.kube import Connection
from node_agent.cluster.kube import KubeClient as AgentClient
from scheduler import listen, settings
from scheduler.cache.kube import KubeClient
from scheduler.service import Service
from simulator import planner_tasks
from simulator.cluster import node_agents, nodes, queue_policy
from simulator.cluster.agents import Agents
from simulator.cluster.kube_api import KubeApi
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.node_agents import NodeAgents
from simulator.cluster.running import running
from simulator.scheduling_mode import DEFAULT_SCHEDULER, SchedulingMode
from testbed.control_plane import build, scheduler_config
from testbed.control_plane.control_plane import ControlPlane
from testbed.progress import Progress

SCHEDULER = "system:serviceaccount:migsched-system:migsched-scheduler"
AGENT = "system:serviceaccount:migsched-agents:migsched-agent"
_GROUPS = ("system:serviceaccounts", "system:authenticated")
_DEPLOY = Path(__file__).parents[2] / "deploy"
_OBJECTS = (
    ("--filename", "crd/mignodes.yaml"),
    ("--filename", "kustomize/namespace.yaml"),
    ("--kustomize", "rbac/agent"),
    ("--kustomize", "rbac/scheduler"),
)


@dataclass(frozen=True, slots=True)
class LocalClusterOptions:
    """What the cluster is to be. In `directory` lie its data, logs and credentials; it comes back as it was left."""

    directory: Path
    nodes: int = 4
    gpus: int = 8
    model: str = "a100-40gb"
    seed: int = 0
    policy: str | None = None
    extender_port: int | None = None
    api_port: int | None = None
    job_seconds: float | None = None
    mode: SchedulingMode = SchedulingMode.QUEUE


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A running cluster."""

    control_plane: ControlPlane
    kubectl: Path
    service: Service
    agents: str  # which run: `real`, or stand-ins


@asynccontextmanager
async def start(options: LocalClusterOptions, progress: Progress = lambda _: None) -> AsyncIterator[LocalCluster]:
    """The cluster, running as long as the block. `progress` is told what is being done.

    Raises InputError for invalid options, BuildError or StartError where a program cannot be had or started.
    """
    fleet = nodes.uniform(options.nodes, options.gpus, options.model, seed=options.seed)
    queue = options.mode is SchedulingMode.QUEUE
    chosen = settings.load(
        extender_port=options.extender_port,
        api_host="127.0.0.1",
        api_port=options.api_port,
        policy=options.policy,
        queue=queue,
    )
    listen.check_ports(chosen)
    async with AsyncExitStack() as stack:
        binaries = await asyncio.to_thread(build.ensure_built, progress)
        users = {SCHEDULER: _GROUPS, AGENT: _GROUPS}
        plane = ControlPlane(options.directory, users=users, binaries=binaries)
        progress("starting etcd and kube-apiserver")
        await stack.enter_async_context(plane)
        await asyncio.to_thread(_apply, plane)
        overlay = options.directory / "queue"
        await asyncio.to_thread(_apply_queue if queue else _remove_queue, plane, overlay)
        progress("starting kube-controller-manager")
        await asyncio.to_thread(plane.start_controller_manager)
        agents = await _simulate(stack, plane, fleet, options, progress)
        progress("starting migsched and kube-scheduler")
        service = Service(chosen, await KubeClient.connect(plane.kubeconfig_of(SCHEDULER)), planner_tasks.SIMULATE)
        stack.push_async_callback(service.stop)
        await service.start()
        await service.synced()
        if overlay.exists():  # there are policies, or were
            await asyncio.to_thread(queue_policy.wait_until, plane, gates=queue)
        await stack.enter_async_context(running(service.broken()))
        if queue and chosen.queue_release is not QueueRelease.EXTENDER:
            config = scheduler_config.stock(plane.kubeconfig, (DEFAULT_SCHEDULER, scheduler_config.PROFILE))
        else:
            url, kubeconfig = f"{service.extender_url}/v1", plane.kubeconfig_of(SCHEDULER)
            config = scheduler_config.kube_scheduler_config(url, kubeconfig)
            if queue:
                config["profiles"].append({**config["profiles"][0], "schedulerName": DEFAULT_SCHEDULER})
        server = await asyncio.to_thread(plane.start_scheduler, config)
        stack.push_async_callback(asyncio.to_thread, server.process.stop)
        yield LocalCluster(plane, binaries.kubectl, service, agents)


async def _simulate(
    stack: AsyncExitStack,
    plane: ControlPlane,
    fleet: tuple[nodes.SimulatedNode, ...],
    options: LocalClusterOptions,
    progress: Progress,
) -> str:
    """Nodes, kubelets and agents, the agents with the rights that the deployed ones have. Says which run."""
    as_kubelets = await _connect(stack, plane.kubeconfig)
    progress(f"making {len(fleet)} simulated nodes")
    await nodes.create(as_kubelets, fleet)
    agents = await _make_agents(stack, plane.kubeconfig_of(AGENT), fleet, options.directory)
    kubelets = Kubelets(as_kubelets, fleet, agents, job_seconds=options.job_seconds)
    await stack.enter_async_context(running(agents.run(), kubelets.run()))
    progress(f"starting node agents: {agents.title()}")
    await agents.ready()
    return agents.title()


async def _make_agents(
    stack: AsyncExitStack, kubeconfig: Path, fleet: tuple[nodes.SimulatedNode, ...], directory: Path
) -> NodeAgents | Agents:
    if len(fleet) > node_agents.MOST_NODES:
        return Agents(await _connect(stack, kubeconfig), fleet)
    ports = {}
    for node in fleet:
        ports[node.name] = await AgentClient.connect(kubeconfig)
        stack.push_async_callback(ports[node.name].close)
    return NodeAgents(fleet, lambda node: ports[node.name], directory / "nodes")


async def _connect(stack: AsyncExitStack, kubeconfig: Path) -> KubeApi:
    connection = await Connection.connect(kubeconfig)
    stack.push_async_callback(connection.close)
    return KubeApi(connection)


def _apply(plane: ControlPlane) -> None:
    """What an administrator applies: the CRD and who may do what."""
    for flag, path in _OBJECTS:
        plane.kubectl("apply", "--server-side", "--validate=strict", f"{flag}={_DEPLOY / path}")
    plane.kubectl("wait", "--for=condition=Established", "crd/mignodes.migsched.io")


def _apply_queue(plane: ControlPlane, overlay: Path) -> None:
    """What an administrator adds who wants the queue: the policies that gate pods and hold us to our rights."""
    overlay.mkdir(exist_ok=True)
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(_DEPLOY / "admission" / "placement", overlay)],
        "components": [os.path.relpath(_DEPLOY / "options" / "queue", overlay)],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    plane.kubectl("apply", "--server-side", "--validate=strict", f"--kustomize={overlay}")


def _remove_queue(plane: ControlPlane, overlay: Path) -> None:
    """Take the policies away from a cluster that comes back in another mode: nobody would open their gate."""
    if overlay.exists():
        plane.kubectl("delete", "--ignore-not-found", f"--kustomize={overlay}")


async def until_stopped(cluster: LocalCluster, stop: asyncio.Event, every_s: float = 1.0) -> str:
    """Until told to stop. Returns the name of a program that ended by itself, should one."""
    while not stop.is_set():
        for process in cluster.control_plane.children:
            if not process.running:
                return process.name
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await stop.wait()
    return ""
