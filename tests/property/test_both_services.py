"""Agent and scheduler together, each late and restarted at any time: what one reports never puts the other wrong."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from allocator.claims import placement_annotation
from allocator.claims.ledger import ClaimState
from allocator.claims.placement_annotation import Promise
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.node_pod import NodePod
from node_agent.gpu import device
from node_agent.slices import states
from scheduler.cache.pods import request_of
from tests.property import both_services
from tests.property.both_services import ApiServer, SchedulerBeside, WatchedNode
from tests.unit.node_agent.agent_on_node import NODE

PROFILES = ("1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb")
ASKS = st.lists(st.sampled_from(PROFILES), max_size=2)
ORDINARY, EDITED, WILD = "ordinary", "edited", "wild"

Draw = st.DataObject

pytestmark = pytest.mark.timeout(600)  # a failure is made small first, which takes minutes


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of steps log nothing."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


class BothMachine(RuleBasedStateMachine):
    """In an ordinary world both services are restarted and the node reboots. In an edited one tenants
    rewrite the placements that both services have seen. In a wild one all that happens, others cut slices and bind
    pods, and the API server goes away.
    """

    @initialize(
        gpus=st.sampled_from(["a100-40gb:1", "a100-40gb:2"]),
        world=st.sampled_from([ORDINARY, EDITED, WILD]),
        checkpoint=st.booleans(),
    )
    def begin(self, gpus: str, world: str, checkpoint: bool) -> None:
        """A node, its agent after a first step, and a scheduler that has heard of it."""
        self.world, self.checkpoint = world, checkpoint
        self.directory = Path(tempfile.mkdtemp())
        self.api = ApiServer()
        self.node = WatchedNode(self.directory, gpus, self.api)
        self.node.checkpoint_readable = checkpoint
        self.scheduler = SchedulerBeside(self.api)
        self.foreign: dict[tuple[str, int], int | None] = {}
        self.promised: dict[str, set[GpuPlacement]] = {}  # to each pod that was bound
        self.unsure: set[str] = set()  # pods that waited while the scheduler could not know what is free
        self.agent_steps()
        self.report_arrives()

    # --- what goes on ------------------------------------------------------------------------------------------------

    @rule(data=st.data(), steps=st.integers(1, 10))
    def life_goes_on(self, data: Draw, steps: int) -> None:
        """Pods come and go, and everybody hears of some of it."""
        for _ in range(steps):
            admitted = [uid for uid in self.node.admitted if uid in self.api.pods]
            possible: list[Callable[[Draw], None]] = [
                self.schedule,
                lambda _: self.agent_steps(),
                lambda _: self.report_arrives(),
                self.agent_hears,
                self.scheduler_hears,
            ]
            if self.waiting():
                possible += [self.admit, self.admit, self.end_unadmitted]
            if admitted:
                possible += [self.kubelet_shows, self.run, self.end, self.delete]
            if any(pod.is_over for pod in self.api.pods.values()):
                possible.append(self.delete_over)
            possible.append(self.list_late if self.node.refreshes else lambda _: self.node.refresh_begins())
            if self.editable():
                possible += [self.edit] * 4
            step = data.draw(st.sampled_from(possible), label="step")
            step(data)
            self.what_must_hold()

    @rule(data=st.data())
    def accident(self, data: Draw) -> None:
        """Something goes wrong."""
        accidents: list[Callable[[Draw], None]] = [lambda _: self.node.list_pods()]
        if self.world != EDITED:
            accidents += [self.agent_restarts, lambda _: self.scheduler.restart(), self.node_reboots]
        if self.world == WILD:
            accidents += [self.api_goes_and_comes, self.cut_foreign, self.destroy_foreign, self.bypass]
            accidents.append(self.checkpoint_goes_and_comes)
        data.draw(st.sampled_from(accidents), label="accident")(data)

    @rule()
    def calm(self) -> None:
        """Everybody hears of everything, twice: then what the scheduler counts as taken is what pods have."""
        self.settle()
        if self.world != WILD:
            self.every_free_slot_is_usable()

    # --- pods --------------------------------------------------------------------------------------------------------

    def schedule(self, data: Draw) -> None:
        """A pod is bound as the scheduler chose, and it may not hear of that; or it does not fit and is given up."""
        pod = self.api.create(data.draw(ASKS, label="main"), data.draw(ASKS, label="init"))
        uid = pod.metadata.uid
        if len(self.api.pods) > 10 or not request_of(pod):
            return self.api.delete(uid)
        placement = self.scheduler.reserve(pod)
        if placement is None:
            return self.api.delete(uid)
        self.api.bind(uid, placement)
        self.promised[uid] = self.scheduler.claimed(uid)
        if data.draw(st.booleans(), label="the reply arrives"):
            self.scheduler.inventory.confirm(uid)
        return None

    def waiting(self) -> list[str]:
        """Bound pods that the kubelet has not admitted."""
        return [
            pod.metadata.uid
            for pod in self.api.bound().items
            if not pod.is_over and pod.metadata.uid not in self.node.admitted
        ]

    def admit(self, data: Draw) -> None:
        """The kubelet admits a pod. What the scheduler promised is kept, if it can be told whose slices there are, and
        the scheduler had heard of all that pods got elsewhere than promised.
        """
        uid = data.draw(st.sampled_from(self.waiting()), label="pod")
        admitted = self.node.admit_pod(uid)
        assert admitted or self.world == WILD or not self.checkpoint or uid in self.unsure, self.node.refused

    def admitted(self, data: Draw) -> str:
        """A pod that the kubelet has admitted."""
        return data.draw(st.sampled_from([uid for uid in self.node.admitted if uid in self.api.pods]), label="pod")

    def kubelet_shows(self, data: Draw) -> None:
        """The API server hears that a pod was admitted, and later again that it runs."""
        uid = self.admitted(data)
        phase = "Running" if self.node.admitted[uid].started else "Pending"
        self.node.admitted[uid].started = True
        self.api.show(uid, phase, started=True)

    def run(self, data: Draw) -> None:
        """A pod's containers use their slices."""
        self.node.run_pod(self.admitted(data))

    def end(self, data: Draw) -> None:
        """A pod's containers end."""
        uid = self.admitted(data)
        self.node.stop_pod(uid)
        self.api.show(uid, data.draw(st.sampled_from(["Succeeded", "Failed"]), label="phase"), started=True)

    def delete(self, data: Draw) -> None:
        """A pod is deleted."""
        uid = self.admitted(data)
        self.node.stop_pod(uid)
        self.api.delete(uid)

    def end_unadmitted(self, data: Draw) -> None:
        """A pod is deleted before the kubelet has seen it.

        Outside the wild world the agent hears of that first: it cannot tell for which pod a promised place is asked.
        """
        self.api.delete(data.draw(st.sampled_from(self.waiting()), label="pod"))
        if self.world != WILD:
            self.node.watch_tells(len(self.api.changes))

    def delete_over(self, data: Draw) -> None:
        """A pod that has ended is deleted."""
        over = [uid for uid, pod in self.api.pods.items() if pod.is_over]
        self.api.delete(data.draw(st.sampled_from(over), label="pod"))

    def editable(self) -> list[NodePod]:
        """Pods whose placement a tenant may rewrite in this world."""
        if self.world == ORDINARY:
            return []
        views, ledger = self.node.watch.views() or {}, self.scheduler.inventory.ledger
        return [
            pod
            for pod in self.api.bound().items
            if self.world == WILD
            or (
                pod.metadata.uid in views
                and (claim := ledger.get(pod.metadata.uid)) is not None
                and claim.state is not ClaimState.RESERVED
            )
        ]

    def edit(self, data: Draw) -> None:
        """A tenant rewrites the placement of a bound pod, keeping to what it asks for or not, or removes it."""
        pod = data.draw(st.sampled_from(self.editable()), label="pod")
        promises = [
            Promise(slot.container, place.gpu, slot.profile, place.placement.start)
            for slot in request_of(pod).slots
            for place in [self.any_place(data, slot.profile)]
        ]
        removed = not promises or data.draw(st.integers(0, 4), label="remove") == 0
        self.api.annotate(pod.metadata.uid, None if removed else placement_annotation.encode(promises))
        if data.draw(st.booleans(), label="heard at once"):
            self.node.watch_tells(len(self.api.changes))
            self.agent_steps()

    def any_place(self, data: Draw, profile: str = "") -> GpuPlacement:
        """Any place of a profile."""
        number = data.draw(st.integers(0, len(self.node.gpus) - 1), label="GPU")
        profile = profile or data.draw(st.sampled_from(PROFILES), label="profile")
        starts = self.node.driver.find(self.node.gpus[number]).catalogue.profile(profile).starts
        return self.node.place(profile, data.draw(st.sampled_from(starts), label="start"), number)

    # --- the services ------------------------------------------------------------------------------------------------

    def agent_steps(self, after: float = 1.0) -> None:
        """The agent makes a step and writes its report."""
        self.api.report = both_services.written(self.node.step(after))

    def agent_hears(self, data: Draw) -> None:
        """The agent's watch tells of some more changes."""
        self.node.watch_tells(data.draw(st.integers(1, 5), label="changes"))

    def list_late(self, _: Draw) -> None:
        """A list of pods reaches the agent, long after it was made."""
        self.node.refresh_ends()

    def scheduler_hears(self, data: Draw) -> None:
        """The scheduler's watch tells of some more changes."""
        self.scheduler.watch_tells(data.draw(st.integers(1, 5), label="changes"))

    def report_arrives(self) -> None:
        """The scheduler hears of the agent's last report."""
        self.scheduler.hear_report()

    # --- accidents ---------------------------------------------------------------------------------------------------

    def agent_restarts(self, _: Draw) -> None:
        """A new agent."""
        self.node.restart()

    def node_reboots(self, _: Draw) -> None:
        """The node reboots, and its agent restores what containers have before anything else happens."""
        self.node.reboot()
        self.foreign.clear()
        self.agent_steps()

    def api_goes_and_comes(self, data: Draw) -> None:
        """The agent reaches the API server no more, or again."""
        self.node.cluster.down = data.draw(st.booleans(), label="down")
        self.node.list_pods()

    def checkpoint_goes_and_comes(self, data: Draw) -> None:
        """The kubelet's checkpoint cannot be read, or can again."""
        self.node.checkpoint_readable = data.draw(st.booleans(), label="readable")

    def cut_foreign(self, data: Draw) -> None:
        """Somebody else cuts a slice."""
        place = self.any_place(data)
        board = self.node.driver.find(place.gpu)
        with suppress(device.DeviceError):
            made = board.create(place.placement.profile, place.placement.start)
            self.foreign[place.gpu, made.gi_id] = board.serial(made.gi_id)

    def destroy_foreign(self, data: Draw) -> None:
        """Its maker destroys it."""
        if self.foreign:
            gpu, gi_id = data.draw(st.sampled_from(sorted(self.foreign)), label="slice")
            self.node.driver.find(gpu).destroy(gi_id)
            del self.foreign[gpu, gi_id]

    def bypass(self, data: Draw) -> None:
        """Another scheduler binds a pod here, with a placement that somebody made up or without one."""
        pod = self.api.create(data.draw(ASKS, label="main"), data.draw(ASKS, label="init"))
        self.api.bind(pod.metadata.uid, None)
        if data.draw(st.booleans(), label="promised"):
            self.edit(data)

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def what_must_hold(self) -> None:
        """At any moment, whoever has heard of what."""
        if not hasattr(self, "scheduler"):
            return
        self.scheduler.inventory.check()
        if both_services.something_is_unheard(self.node, self.scheduler, self.promised):
            self.unsure.update(self.waiting())
        if self.world != WILD:
            self.conflicts_have_a_cause()
        self.nothing_is_shared()
        self.nothing_is_disturbed()

    def conflicts_have_a_cause(self) -> None:
        """No GPU's reports contradict the claims, unless a slice of unknown owner may be one of a pod that has ended,
        or the scheduler had not heard of what a pod got elsewhere than promised.
        """
        conflicts = set(self.scheduler.inventory.conflicts(NODE))
        living = {place for uid in self.node.admitted for place in self.node.places_of_uid(uid)}
        records = self.node.journal.records
        for place, record in records.items():
            if record.owner is None and (not self.checkpoint or place not in living):
                conflicts.discard(place.gpu)
        for uid in self.unsure:
            conflicts -= {place.gpu for place in self.scheduler.claimed(uid)}
        assert not conflicts

    def nothing_is_shared(self) -> None:
        """No two pods have places that overlap."""
        places = {uid: self.node.places_of_uid(uid) for uid in self.node.admitted}
        for one, other in combinations(places, 2):
            assert not both_services.share(places[one], places[other])

    def nothing_is_disturbed(self) -> None:
        """A slice that a container uses stays the very one it was, and what the kubelet gave away is held."""
        for uid, pod in self.node.admitted.items():
            for place, serial in pod.running.items():
                assert self.node.serial(place) == serial
            for place in self.node.places_of_uid(uid):
                assert self.node.journal.records[place].state in states.HELD

    def settle(self) -> None:
        """Nothing is late any more."""
        self.node.cluster.down = False
        self.node.checkpoint_readable = self.checkpoint
        self.node.list_pods()
        while self.node.refreshes:
            self.node.refresh_ends()
        self.node.watch_tells(len(self.api.changes))
        self.scheduler.watch_tells(len(self.api.changes))
        for _ in range(3):
            self.agent_steps(10.0)
            self.report_arrives()

    def every_free_slot_is_usable(self) -> None:
        """What is taken is what living pods have, or were promised and have not got yet; nothing else.

        A GPU that takes no work for want of the checkpoint is left out. A pod that waited while the scheduler could not
        know what is free may have no place, if another one has the promised one.
        """
        unplaced = {pod.uid for pod in self.scheduler.inventory.waiting()}
        mine = set[GpuPlacement]()
        for uid in self.node.admitted:
            mine |= self.node.places_of_uid(uid)
        if self.checkpoint:
            assert all(uid in self.unsure and both_services.share(self.promised[uid], mine) for uid in unplaced)
        for uid in self.waiting():
            claimed = self.scheduler.claimed(uid)
            assert claimed or not self.checkpoint or uid in unplaced
            mine |= claimed
        taken = self.scheduler.taken()
        for gpu in set(self.node.gpus) - set(self.scheduler.inventory.conflicts(NODE)):
            ours = both_services.mask(mine, gpu)
            assert taken[gpu] & ours == ours
            assert taken[gpu] & ~ours & ~self.may_be_somebodys(gpu) == 0

    def may_be_somebodys(self, gpu: str) -> int:
        """Without the kubelet's checkpoint: slices that a living pod's init container may have."""
        if self.checkpoint:
            return 0
        asked = {slot.profile for pod in self.api.bound().items if not pod.is_over for slot in request_of(pod).slots}
        records = self.node.journal.records
        ownerless = {p for p, r in records.items() if r.owner is None and p.placement.profile in asked}
        return both_services.mask(ownerless, gpu)

    def teardown(self) -> None:
        """Once all pods are deleted nothing is taken."""
        if not hasattr(self, "scheduler"):
            return
        self.settle()
        if self.world != WILD:
            self.every_free_slot_is_usable()
        for gpu, gi_id in self.foreign:
            self.node.driver.find(gpu).destroy(gi_id)
        for uid in list(self.api.pods):
            self.node.stop_pod(uid)
            self.api.delete(uid)
        self.settle()
        assert self.scheduler.taken() == dict.fromkeys(self.node.gpus, 0)
        assert not list(self.scheduler.inventory.ledger)
        shutil.rmtree(self.directory)


TestBoth = BothMachine.TestCase
TestBoth.settings = settings(max_examples=3 * settings().max_examples, stateful_step_count=15)
