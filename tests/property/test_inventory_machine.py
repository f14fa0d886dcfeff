"""The inventory through every interleaving of scheduler, watch, agents and accidents, beside a world it cannot see."""

from collections.abc import Callable

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from allocator import errors
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim, ClaimState
from allocator.claims.placement_annotation import Promise
from allocator.claims.refusal import Refusal
from allocator.claims.report import NodeReport, Slice, SliceState
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import fitting
from allocator.placement.misfit import Misfit, Reason
from tests import builders
from tests.property import cluster_truth
from tests.property.cluster_truth import GPUS, NODES, ClusterTruth, TruePod, one_of

COMMON = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb")  # few and large, so that pods meet
PROFILES = (*COMMON, "1g.5gb+me", "7g.40gb", "1g.6gb", "4g.24gb", "9g.99gb")
ASKS = st.lists(st.sampled_from(COMMON), min_size=1, max_size=3) | st.lists(st.sampled_from(PROFILES), max_size=2)
NODE = st.sampled_from(sorted(NODES))
UUID = st.sampled_from(sorted(cluster_truth.CATALOGUES))

Draw = st.DataObject
Pods = list[TruePod]


class InventoryMachine(RuleBasedStateMachine):
    """Honest worlds have truthful agents that cut what is promised, late; in the others anything is written.

    Hypothesis leaves rules out at random to vary what it tries, so each rule here does some ordinary steps first.
    """

    @initialize(honest=st.booleans(), reported=st.sets(NODE, min_size=1))
    def begin(self, honest: bool, reported: set[str]) -> None:
        """A cluster of two nodes, of which one may not have reported yet."""
        self.honest = honest
        self.world = ClusterTruth()
        self.start_scheduler()
        for node in sorted(reported):
            self.observe(self.world.photograph(node))

    @rule(data=st.data(), steps=st.integers(1, 8))
    def life_goes_on(self, data: Draw, steps: int) -> None:
        """Pods come, are bound, get their slices, and end; of each somebody hears sooner or later."""
        pods = self.world.pods
        for _ in range(steps):
            possible: list[tuple[Callable[[Draw, Pods], None], Pods]] = [
                (self.bind, [p for p in pods.values() if not p.node and self.state(p) is ClaimState.RESERVED]),
                (self.agent_cuts, [p for p in self.world.living() if self.world.uncut(p)]),
                (self.agent_frees, [p for p in pods.values() if p.over and self.world.owned(p.uid)]),
                (self.watch_shows_bound, [p for p in pods.values() if p.node and not p.seen_over]),
                (self.watch_stutters, [p for p in pods.values() if self.state(p) is ClaimState.RELEASING]),
                (self.watch_shows_over, [p for p in pods.values() if p.over and not p.seen_over]),
                (self.pod_is_over, [p for p in pods.values() if not p.over and p.node]),
                (self.late_reply, [p for p in pods.values() if p.node]),
                (self.ask_again, [p for p in pods.values() if self.claim(p)]),
            ]
            steps_now = [step for step, concerned in possible if concerned]
            often = [self.schedule, self.agent_reports, *steps_now[:2]]
            step = data.draw(st.sampled_from([*often, *often, *steps_now]), label="step")
            note(step.__name__)
            step(data, dict(possible).get(step, []))
            self.what_must_always_hold()

    @rule(data=st.data(), steps=st.integers(1, 8))
    def accident(self, data: Draw, steps: int) -> None:
        """After some time something goes wrong."""
        self.life_goes_on(data, steps)
        accidents = [self.node_reboots, self.report_is_deleted, self.scheduler_dies]
        if not self.honest:
            accidents += [self.stranger_cuts, self.agent_reports_nonsense, self.report_cannot_be_read]
            accidents += [self.stranger_binds]
        step = data.draw(st.sampled_from(accidents), label="accident")
        note(step.__name__)
        step(data)

    # --- the scheduler ------------------------------------------------------------------------------------------

    def start_scheduler(self) -> None:
        """A scheduler process that knows nothing but the names of the nodes."""
        self.inventory = Inventory()
        self.inventory.nodes = set(NODES)
        self.ended: dict[str, Claim] = {}  # of pods that it was told to be over before a report showed them
        self.told: set[str] = set()  # pods that this process knows to be bound

    def adopt(self, pod: TruePod) -> Refusal | None:
        """The watch shows a bound pod."""
        self.told.add(pod.uid)
        return self.inventory.adopt(pod.bound())

    def claim(self, pod: TruePod) -> Claim | None:
        """A pod's claim."""
        return self.inventory.ledger.get(pod.uid)

    def state(self, pod: TruePod) -> ClaimState | None:
        """The state of a pod's claim."""
        claim = self.claim(pod)
        return claim.state if claim else None

    def schedule(self, data: Draw, _: Pods) -> None:
        """A new pod is reserved on a node exactly if it fits beside claims and report, and on slots free in both."""
        pod, node = self.world.create(data.draw(ASKS, label="asks")), data.draw(NODE, label="node")
        rows = cluster_truth.expected_rows(self.inventory, node, self.ended)
        answer = self.inventory.reserve(pod.uid, builders.NAMESPACE, pod.name, pod.request, node)
        fits = bool(rows) and fitting.fits(list(rows.values()), dict(pod.request.counts))
        assert isinstance(answer, Claim) == fits
        if isinstance(answer, Misfit):
            assert answer.reason is cluster_truth.expected_reason(self.inventory, pod.request, node, self.ended)
            assert self.claim(pod) is None
            return
        assert (answer.uid, answer.node, answer.state) == (pod.uid, node, ClaimState.RESERVED)
        assert [(h.container, h.placement.profile) for h in answer.holds] == [
            (slot.container, slot.profile) for slot in pod.request.slots
        ]
        seen = self.inventory.report(node)
        assert seen is not None
        for hold in answer.holds:
            gpu = seen.by_uuid()[hold.gpu]
            shown = {*cluster_truth.taken_in(gpu)} - cluster_truth.going(gpu, self.ended)
            assert not any(hold.placement.overlaps(placement) for _, placement in shown)

    def ask_again(self, data: Draw, holding: Pods) -> None:
        """A pod that has a claim gets the same answer again on its node, and none elsewhere."""
        pod, node = one_of(data, holding), data.draw(NODE, label="node")
        known = self.claim(pod)
        answer = self.inventory.reserve(pod.uid, builders.NAMESPACE, pod.name, pod.request, node)
        assert known is not None
        assert answer == (known if known.node == node else Misfit(Reason.BOUND_ELSEWHERE, str(pod.request)))

    def bind(self, data: Draw, reserved: Pods) -> None:
        """A reserved pod's Binding succeeds, succeeds and nobody tells, or is refused."""
        pod = one_of(data, reserved)
        claim = self.claim(pod)
        assert claim is not None
        outcome = data.draw(st.sampled_from(["confirmed", "reply lost", "refused"]), label="outcome")
        if outcome == "refused" or pod.over:
            self.inventory.refuse(pod.uid)
            assert self.claim(pod) is None
            return
        self.world.bind(pod, claim.node, builders.bound_as(claim).promises)
        if outcome == "confirmed":
            self.inventory.confirm(pod.uid)
            assert self.state(pod) is ClaimState.BOUND
            self.told.add(pod.uid)

    def late_reply(self, data: Draw, bound: Pods) -> None:
        """A confirmation that comes when the pod's claim is gone or past it raises and changes nothing."""
        pod = one_of(data, bound)
        before = self.claim(pod)
        if before is None or before.state is ClaimState.RELEASING:
            with pytest.raises(errors.LedgerError):
                self.inventory.confirm(pod.uid)
            assert self.claim(pod) == before
        elif before.node == pod.node:
            self.inventory.confirm(pod.uid)

    # --- the watch ----------------------------------------------------------------------------------------------

    def watch_shows_bound(self, data: Draw, bound: Pods) -> None:
        """A pod seen bound has a claim on its node, or waits and the reason is told."""
        pod = one_of(data, bound)
        refusal = self.adopt(pod)
        claim = self.claim(pod)
        assert (refusal is None) == (claim is not None and claim.node == pod.node)
        assert (refusal is not None) == (pod.uid in {waiting.uid for waiting in self.inventory.waiting()})

    def watch_stutters(self, data: Draw, releasing: Pods) -> None:
        """A pod that is over is shown bound once more: nothing changes."""
        pod = one_of(data, releasing)
        assert self.inventory.adopt(pod.bound()) is None
        assert self.state(pod) is ClaimState.RELEASING

    def pod_is_over(self, data: Draw, alive: Pods) -> None:
        """A pod ends, and nobody has heard of it yet."""
        one_of(data, alive).over = True

    def watch_shows_over(self, data: Draw, over: Pods) -> None:
        """A pod seen over keeps only what the report still shows of it."""
        pod = one_of(data, over)
        self.tell_over(pod, pod.node if data.draw(st.booleans(), label="names the node") else "")

    def tell_over(self, pod: TruePod, node: str = "") -> None:
        """The watch shows a pod's end."""
        pod.seen_over = True
        self.told.discard(pod.uid)
        had = self.claim(pod)
        freed = self.inventory.end(pod.uid, node)
        claim = self.claim(pod)
        assert claim is None or claim.state is ClaimState.RELEASING
        assert freed == (had is not None and claim is None)
        if had is not None and freed:
            self.ended[pod.uid] = had
        assert pod.uid not in {waiting.uid for waiting in self.inventory.waiting()}

    # --- the agents ---------------------------------------------------------------------------------------------

    def agent_reports(self, data: Draw, _: Pods) -> None:
        """An agent writes what is true now."""
        self.observe(self.world.photograph(data.draw(NODE, label="node")))

    def observe(self, seen: NodeReport) -> None:
        """A report that shows all that a pod has claimed makes it ready there, whatever was planned."""
        releasing = [c.uid for c in self.inventory.ledger if c.node == seen.node and c.state is ClaimState.RELEASING]
        self.inventory.observe(seen)
        still_shown = [uid for uid in releasing if cluster_truth.shown_of(seen, uid)]
        assert not self.honest or all(self.inventory.ledger.get(uid) for uid in still_shown)
        for claim in self.inventory.ledger:
            shown = cluster_truth.shown_of(seen, claim.uid)
            profiles = cluster_truth.profiles_of(cluster_truth.places_of(claim))
            if claim.node == seen.node and cluster_truth.profiles_of(shown) == profiles:
                assert claim.state in (ClaimState.READY, ClaimState.RELEASING)

    def agent_cuts(self, data: Draw, uncut: Pods) -> None:
        """An agent cuts for a pod: where it was promised, or, if it is free to, anywhere on its node."""
        pod = one_of(data, uncut)
        if self.honest or data.draw(st.booleans(), label="as promised"):
            for _ in range(data.draw(st.integers(1, 3), label="slices")):
                self.world.cut_as_promised(pod)
            return
        profile = data.draw(st.sampled_from(self.world.uncut(pod)), label="profile")
        places = [(uuid, place) for uuid in GPUS[pod.node] for place in self.world.places(uuid, profile)]
        in_the_way = [where for where in places if cluster_truth.is_promised(self.inventory, *where)]
        if places:
            uuid, place = data.draw(st.sampled_from(in_the_way or places), label="place")
            assert self.world.cut(uuid, place, builders.owner(pod.name))

    def agent_frees(self, data: Draw, unfreed: Pods) -> None:
        """An agent takes back one slice of a pod that is over."""
        uuid, one = data.draw(st.sampled_from(self.world.owned(one_of(data, unfreed).uid)), label="slice")
        self.world.drop(uuid, one, keep_warm=data.draw(st.booleans(), label="keep warm"))

    # --- accidents ----------------------------------------------------------------------------------------------

    def node_reboots(self, data: Draw) -> None:
        """All slices of a node are gone, its pods are still bound to it."""
        self.world.reboot(data.draw(NODE, label="node"))

    def report_is_deleted(self, data: Draw) -> None:
        """A node's MigNode is deleted: nothing fits there until it is back."""
        node = data.draw(NODE, label="node")
        self.inventory.forget_report(node)
        assert self.inventory.reason(builders.request("1g.5gb"), node) is Reason.NO_REPORT

    def scheduler_dies(self, data: Draw) -> None:
        """A new process, told the same reports and the bound pods in any order, has the same fleet."""
        before = self.inventory
        must_equal = cluster_truth.caught_up(self.world, before)
        self.start_scheduler()
        for seen in before.reports():
            self.observe(seen)
        for pod in data.draw(st.permutations(self.world.living()), label="listed"):
            self.adopt(pod)
        for pod in self.world.pods.values():
            pod.seen_over = pod.over
        if must_equal:
            for node in before.fleet.rows:
                assert self.inventory.fleet.gpus(node) == before.fleet.gpus(node)

    def stranger_cuts(self, data: Draw) -> None:
        """Somebody else cuts a slice, or takes a foreign one away."""
        uuid = data.draw(UUID, label="GPU")
        foreign = [one for one in self.world.slices[uuid] if one.state is SliceState.FOREIGN]
        places = self.world.places(uuid)
        takes_away = data.draw(st.booleans(), label="take away")
        if foreign and takes_away:
            self.world.drop(uuid, foreign[0], keep_warm=False)
        elif places:
            self.world.cut(uuid, data.draw(st.sampled_from(places), label="place"), None)

    def agent_reports_nonsense(self, data: Draw) -> None:
        """An agent reports a slice that is not there: illegal, overlapping, or just untrue."""
        uuid = data.draw(UUID, label="GPU")
        owner = data.draw(st.none() | st.sampled_from(["p0", "p1", "p2", "stranger"]), label="owner")
        where = Placement(
            data.draw(st.sampled_from(PROFILES), label="profile"),
            data.draw(st.integers(0, 8), label="start"),
            data.draw(st.sampled_from([0, 1, 2, 4, 8, 9]), label="size"),
        )
        state = data.draw(st.sampled_from(SliceState), label="state")
        bogus = Slice(where, state, builders.owner(owner) if owner else None)
        self.observe(self.world.garbled(uuid, bogus))

    def report_cannot_be_read(self, data: Draw) -> None:
        """A node's MigNode turns out unreadable as a whole: nothing fits there, and that is said."""
        node = data.draw(NODE, label="node")
        self.observe(NodeReport(node, (), problem="unreadable"))
        assert self.inventory.reason(builders.request("1g.5gb"), node) is Reason.BAD_REPORT

    def stranger_binds(self, data: Draw) -> None:
        """Somebody else binds a pod, ours or a new one, with an annotation of his own making."""
        unbound = [p for p in self.world.pods.values() if not p.node and not p.over]
        reserved = [p for p in unbound if self.claim(p)]
        ours = bool(unbound) and data.draw(st.booleans(), label="ours")
        pod = one_of(data, reserved or unbound) if ours else self.world.create(data.draw(ASKS, label="asks"))
        node = data.draw(NODE, label="node")
        gpus = st.sampled_from([*GPUS[node], "n9-gpu-0"])
        starts = st.sampled_from([0, 0, 2, 4, 4, 6, 1, 7])
        promised = [Promise(s.container, data.draw(gpus), s.profile, data.draw(starts)) for s in pod.request.slots]
        self.world.bind(pod, node, promised[data.draw(st.sampled_from([0, 0, 0, 1]), label="promises left out") :])
        if data.draw(st.booleans(), label="seen at once"):
            self.watch_shows_bound(data, [pod])

    # --- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def what_must_always_hold(self) -> None:
        """No slot has two claims, rows are what reports and claims make, and claims are where the report shows them."""
        self.inventory.check()
        held = cluster_truth.held_slots(self.inventory)
        assert len(held) == len(set(held))
        for node in NODES:
            rows = cluster_truth.expected_rows(self.inventory, node, self.ended)
            assert (node in self.inventory.fleet) == (self.inventory.report(node) is not None)
            assert set(self.inventory.conflicts(node)) == cluster_truth.expected_conflicts(
                self.inventory, node, self.ended
            )
            if node in self.inventory.fleet:
                assert self.inventory.fleet.gpus(node) == tuple(rows.values())
        for claim in self.inventory.ledger:
            self.claim_is_where_it_should_be(claim)
        self.bound_pods_hold_or_wait()

    def claim_is_where_it_should_be(self, claim: Claim) -> None:
        """A ready claim is what the last report shows; a releasing one is there because the report still shows it."""
        seen = self.inventory.report(claim.node)
        if seen is None:
            assert claim.state is not ClaimState.RELEASING
            return
        shown = cluster_truth.shown_of(seen, claim.uid)
        assert claim.state is not ClaimState.READY or shown == cluster_truth.places_of(claim)
        assert claim.state is not ClaimState.RELEASING or shown

    def bound_pods_hold_or_wait(self) -> None:
        """A pod known to be bound has a claim or waits for one, never both and never neither."""
        waiting = [pod.uid for pod in self.inventory.waiting()]
        assert len(waiting) == len(set(waiting))
        assert not any(claim.uid in waiting for claim in self.inventory.ledger)
        assert self.told <= {*waiting, *(claim.uid for claim in self.inventory.ledger)}

    def teardown(self) -> None:
        """Once the dust settles honest pods have what they were promised; once all is over nothing is held."""
        if not hasattr(self, "inventory"):
            return
        self.settle()
        if self.honest:
            self.all_pods_have_their_places()
        for pod in self.world.pods.values():
            pod.over = True
        self.settle()
        assert not list(self.inventory.ledger)
        assert not list(self.inventory.waiting())
        for node in NODES:
            assert not self.inventory.conflicts(node)
            assert [state for _, state in self.inventory.fleet.gpus(node)] == [Geometry.EMPTY] * len(GPUS[node])

    def settle(self) -> None:
        """Strangers leave, agents free what is over and cut what is promised, and everybody is told everything."""
        self.world.strangers_leave()
        for pod in self.world.pods.values():
            if pod.over:
                self.world.free(pod)
                if not pod.seen_over or self.claim(pod):
                    self.tell_over(pod)
        for _ in range(2):
            self.everybody_is_told()
            for pod in self.world.living():
                for _ in pod.promises:
                    self.world.cut_as_promised(pod)
        self.everybody_is_told()

    def everybody_is_told(self) -> None:
        """All agents report, and the watch shows every bound pod."""
        for node in NODES:
            self.observe(self.world.photograph(node))
        for pod in self.world.living():
            self.adopt(pod)

    def all_pods_have_their_places(self) -> None:
        """With honest agents every bound pod is ready at its promised place."""
        assert not list(self.inventory.waiting())
        for pod in self.world.living():
            claim = self.claim(pod)
            assert claim is not None
            assert claim.state is ClaimState.READY
            assert sorted(builders.bound_as(claim).promises, key=str) == sorted(pod.promises, key=str)
        assert not any(self.inventory.conflicts(node) for node in NODES)


TestInventory = InventoryMachine.TestCase
TestInventory.settings = settings(max_examples=3 * settings().max_examples, stateful_step_count=12)
