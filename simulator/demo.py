"""The demo: example workloads on an embedded cluster, and a picture of where everything went. Called by the CLI.

Repeatable: the same flags give the same picture. Pods are placed and bound one after the other, random names and ties
follow from the seed, and nothing depends on the clock.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from allocator import errors
from allocator.claims import snapshot
from allocator.claims.ledger import ClaimState, Hold
from allocator.mig import gpu_models
from scheduler import explain, settings
from scheduler.settings import Settings
from simulator.cluster import api, embedded, node_agents, nodes
from simulator.cluster.api import Document
from simulator.cluster.embedded import Embedded, EmbeddedOptions
from simulator.cluster.kube_scheduler.scheduler import SchedulerConfig
from simulator.cluster.node_agents import NodeAgents
from simulator.cluster.nodes import SimulatedNode
from simulator.cluster.running import running
from simulator.picture import Picture, PodRow
from simulator.scenarios import shelf, storyteller
from simulator.scenarios.routes import DemoRoutes
from simulator.scenarios.stage import StoryStage
from simulator.scenarios.storyteller import Storyteller
from simulator.scheduling_mode import DEFAULT_SCHEDULER, SchedulingMode
from simulator.workloads import expand, manifests, translation
from simulator.workloads.expand import Expansion
from simulator.workloads.translation import EXAMPLES_MODEL

EXAMPLES = Path(__file__).parents[1] / "deploy" / "examples"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo is to show. Without `examples` the shipped ones are used, with the profiles of the model."""

    nodes: int = 4
    gpus: int = 8
    model: str = EXAMPLES_MODEL
    seed: int = 0
    examples: Path | None = None
    policy: str | None = None
    extender_port: int | None = None
    api_host: str = "127.0.0.1"
    api_port: int | None = None
    mode: SchedulingMode = SchedulingMode.QUEUE
    scenario: str | None = None  # told instead of applying manifests
    pause_s: float = storyteller.PAUSE_S  # after each step of a scenario


class Demo:
    """A running demo. It tells stories in the queue's mode alone: the extender's pods have no owners that move."""

    def __init__(self, cluster: Embedded, expansion: Expansion, mode: SchedulingMode) -> None:
        self.cluster = cluster
        self.teller: Storyteller | None = None
        self.mode = mode
        self._expansion = expansion
        self.agents = cluster.agents.title()

    async def settled(self) -> None:
        """Until every pod runs or was refused, and every slice is reported."""
        while True:
            await self.cluster.settled()
            if self._is_reported():
                return
            await asyncio.sleep(0.01)

    @property
    def version(self) -> int:
        """A number that grows with every write to the cluster."""
        return self.cluster.server.version

    def stuck(self) -> tuple[str, ...]:
        """The pods, `namespace/name`, that neither run nor were refused, or whose slices are not reported."""
        claims = self.cluster.service.state.inventory.ledger
        unreported = (claim.pod for claim in claims if claim.state is not ClaimState.READY)
        return tuple(sorted({*self.cluster.unsettled(), *unreported}))

    def _is_reported(self) -> bool:
        """Whether the scheduler knows of all that containers have, and has seen all that it promised cut."""
        inventory = self.cluster.service.state.inventory
        known = {
            (gpu.uuid, occupant.placement)
            for node in snapshot.take(inventory).nodes
            for gpu in node.gpus
            for occupant in gpu.occupants
            if occupant.uid
        }
        given = {(gpu, placement) for gpu, places in self.cluster.agents.in_use().items() for placement in places}
        return given <= known and all(claim.state is ClaimState.READY for claim in inventory.ledger)

    def picture(self, *, rested: bool = True) -> Picture:
        """Where everything is now; of a cluster that did not come to rest it names the pods that kept it."""
        node_views = snapshot.take(self.cluster.service.state.inventory).nodes
        slices: dict[str, list[Hold]] = {}
        for node in node_views:
            for gpu in node.gpus:
                for occupant in gpu.occupants:
                    hold = Hold(occupant.container, gpu.uuid, occupant.placement)
                    slices.setdefault(occupant.uid, []).append(hold)
        pods = (stored.document for stored in self.cluster.server.list(api.POD))
        rows = tuple(self._pod(pod, slices) for pod in pods)
        return Picture(
            rows,
            node_views,
            self.agents,
            self.mode,
            rested=rested,
            stuck=() if rested else self.stuck(),
            left_out=tuple(self._expansion.left_out),
            without_pods=tuple(sorted({skipped.kind for skipped in self._expansion.skipped})),
        )

    def _pod(self, pod: Document, slices: dict[str, list[Hold]]) -> PodRow:
        meta, uid = pod["metadata"], pod["metadata"]["uid"]
        phase = "Terminating" if meta.get("deletionTimestamp") else str(pod["status"].get("phase", ""))
        node = str(pod["spec"].get("nodeName", ""))
        reason = ""
        if phase == "Pending":
            reason = self._reason_on_node(node, uid) if node else self._reason(pod)
        elif phase == "Failed":
            reason = str(pod["status"].get("message", ""))
        return PodRow(meta["namespace"], meta["name"], phase, node, reason, tuple(slices.get(uid, ())))

    def _reason_on_node(self, node: str, uid: str) -> str:
        """Why a pod that has a node does not run."""
        if all(node_.name != node for node_ in self.cluster.options.fleet):
            return f"it is bound to node {node}, which there is not"
        return self.cluster.agents.problem(uid) or "its slices are being cut"

    def _reason(self, pod: Document) -> str:
        """Why a pod has no node. Our own words where no node has room; else kube-scheduler's."""
        served = self.cluster.options.scheduler.scheduler_names
        gates = [str(gate.get("name", "")) for gate in pod["spec"].get("schedulingGates") or ()]
        if gates and not self._is_queued(pod):
            return f"it is gated by {', '.join(gates)}: no scheduler looks at it until its gates are removed"
        named = pod["spec"].get("schedulerName")
        if named not in served:
            fix = "leave it out" if DEFAULT_SCHEDULER in served else f"write schedulerName: {served[0]}"
            return f"its schedulerName is {named}, which nothing here serves; {fix}"
        cached = self.cluster.service.state.pods.get(pod["metadata"]["uid"])
        if cached is not None and (cached.request is None or cached.request):
            answer = explain.explain(self.cluster.service.state, cached)
            no_room = len(answer["nodes"]) == len(self.cluster.service.state.inventory.nodes)
            if cached.request is None or no_room or gates:
                return str(answer["reason"])
        conditions = [c for c in pod["status"].get("conditions") or () if c["type"] == "PodScheduled"]
        message = str(conditions[0].get("message", "")) if conditions else "waiting for kube-scheduler"
        return message.partition(" preemption: ")[0]

    def _is_queued(self, pod: Document) -> bool:
        return pod["metadata"]["uid"] in self.cluster.service.state.queue


@asynccontextmanager
async def start(options: DemoOptions) -> AsyncIterator[Demo]:
    """The demo, running as long as the block; its scenario is begun, or else the manifests are applied.

    Raises InputError for invalid options.
    """
    fleet = nodes.uniform(options.nodes, options.gpus, options.model, seed=options.seed)
    queue = options.mode is SchedulingMode.QUEUE
    if options.scenario is not None:
        _check_scenario(options, fleet)
    expansion = _expansion(options, fleet) if options.scenario is None else Expansion()
    routes = DemoRoutes()
    config = SchedulerConfig(extender_url="", serial=True, seed=options.seed)
    if queue:
        config = replace(config, scheduler_names=(DEFAULT_SCHEDULER, *config.scheduler_names))
        expansion.pods.sort(key=_in_order)  # the queue's own, so that it does not matter how many have come at once
    wanted = EmbeddedOptions(
        fleet, _settings(options), config, seed=options.seed, extensions=(routes,) if queue else ()
    )
    async with embedded.start(wanted) as cluster:
        demo = Demo(cluster, expansion, options.mode)
        if not queue:
            await cluster.apply(expansion.pods)
            yield demo
            return
        stage = StoryStage(cluster, gpu_models.find(options.model), options.seed)
        scenarios = shelf.playable(fleet, real_agents=isinstance(cluster.agents, NodeAgents))
        demo.teller = routes.teller = Storyteller(stage, demo, scenarios, pause_s=options.pause_s)
        async with running(stage.replica_sets.run(), demo.teller.run()):
            await cluster.apply(expansion.pods)
            if options.scenario is not None:
                demo.teller.begin(options.scenario)
            yield demo


def _check_scenario(options: DemoOptions, fleet: Sequence[SimulatedNode]) -> None:
    if options.mode is not SchedulingMode.QUEUE:
        raise errors.SettingsError("scenario", options.scenario, "leave --mode out: stories are told with the queue")
    if options.examples is not None:
        raise errors.SettingsError("scenario", options.scenario, "leave --examples out: a story has pods of its own")
    shelf.find(str(options.scenario), fleet, real_agents=len(fleet) <= node_agents.MOST_NODES)


def _expansion(options: DemoOptions, fleet: Sequence[SimulatedNode]) -> Expansion:
    documents = [nodes.document(node) for node in fleet]
    expansion = expand.expand(manifests.read(options.examples or EXAMPLES), seed=options.seed, nodes=documents)
    if options.examples is None:
        translation.translate(expansion.pods, gpu_models.find(options.model))
        if options.mode is not SchedulingMode.QUEUE:
            translation.name_scheduler(expansion.pods)
    return expansion


def _settings(options: DemoOptions) -> Settings:
    queue = options.mode is SchedulingMode.QUEUE
    return settings.load(
        extender_port=options.extender_port,
        api_host=options.api_host,
        api_port=options.api_port,
        api_access="open",  # what is simulated is nobody's secret, whoever reaches it
        policy=options.policy,
        queue=queue,
        moves=queue,  # so that the page's Fix works
        nomination_ttl_s=0.0,  # pods are bound one after the other: none needs to be kept from another's node
    )


def _in_order(pod: Document) -> tuple[int, str, str]:
    """The order of the queue for pods that are made together."""
    meta = pod["metadata"]
    return -(pod["spec"].get("priority") or 0), meta.get("namespace", "default"), meta.get("name", "")
