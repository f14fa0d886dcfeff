"""Repacks against any history of pods, controllers, agents, budgets, lost replies, foreign pods and crashes
(docs/repacking.md).
"""

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator import errors
from allocator.moves.life import MOVING, MoveState, RepackPhase
from allocator.moves.step import MoveStep
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.property import quick_planner
from tests.property.moving_cluster import MovingCluster
from tests.property.queued_cluster import NODES

SMALL = ("1g.5gb", "2g.10gb", "3g.20gb")
LARGE = ("3g.20gb", "4g.20gb", "7g.40gb")
OWNERS = {"a": "true", "b": "true", "c": "false", "d": ""}  # and their pods' marks
MAX_REPACKS = 3
PLANS = 10
AT_REST = frozenset({RepackPhase.DONE, RepackPhase.FAILED, RepackPhase.WAITING})  # of those that all are approved


class MovesMachine(RuleBasedStateMachine):
    """Anything may come in any order; see the invariants for what holds after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = MovingCluster()
        self.repacks: dict[str, dict[str, int]] = {}
        self.came = 0
        self.answering()

    def answering(self) -> None:
        """Both replicas' planners answer at once."""
        self.cluster.plan_quickly(quick_planner.answer)

    @initialize(
        pods=st.lists(
            st.tuples(st.sampled_from(sorted(OWNERS)), st.sampled_from(SMALL), st.sampled_from(NODES)),
            min_size=3,
            max_size=8,
        )
    )
    def some_run_already(self, pods: list[tuple[str, str, str]]) -> None:
        """Small pods of owners that make them anew lie about."""
        cluster = self.cluster
        profiles: dict[str, str] = {}
        for owner, profile, _ in pods:
            profiles.setdefault(owner, profile)
        for owner, profile in profiles.items():
            cluster.workload(owner, profile, sum(name == owner for name, _, _ in pods), movable=OWNERS[owner])
        for owner, _, node in pods:
            start = cluster.free_start(node, profiles[owner])
            if start is not None:
                self.came += 1
                cluster.bound(f"{owner}-first{self.came}", profiles[owner], node, start, owner=owner)
        cluster.agents()
        cluster.deliver()

    # --- what is asked for

    @precondition(lambda self: len(self.repacks) < MAX_REPACKS)
    @rule(
        profile=st.sampled_from(LARGE),
        moves=st.integers(1, 4),
        per_service=st.integers(1, 2),
        parallel=st.integers(1, 3),
        mode=st.sampled_from(("Auto", "Approve")),
        waits=st.booleans(),
    )
    def somebody_wants_room(
        self, profile: str, moves: int, per_service: int, parallel: int, mode: str, waits: bool
    ) -> None:
        """A Repack, maybe for a pod that waits."""
        name = f"r{len(self.repacks) + 1}"
        wanted: dict[str, Any] = {"requests": [{"name": "wanted", "profiles": {profile: 1}}]}
        if waits:
            pod = self.cluster.create(profile)
            uid = self.cluster.server.get(api.POD, pod, "default").document["metadata"]["uid"]
            wanted["pod"] = {"namespace": "default", "name": pod, "uid": uid}
        budgets = {"moves": moves, "perService": per_service, "parallel": parallel}
        self.repacks[name] = budgets
        self.cluster.repack(name, wanted=wanted, budgets=budgets, mode=mode, patienceSeconds=20)

    @rule(name=st.sampled_from(("r1", "r2", "r3")), paused=st.booleans())
    def somebody_approves(self, name: str, paused: bool) -> None:
        """A Repack is approved, paused or goes on."""
        if name in self.repacks:
            self.cluster.server.patch(api.REPACK, name, {"spec": {"approved": True, "paused": paused}})

    # --- the parts of the system go on

    @rule(most=st.integers(1, 6))
    def news_come(self, most: int) -> None:
        """Some of what happened reaches the service."""
        self.cluster.deliver(most)

    @rule()
    def the_executor_looks(self) -> None:
        """It looks, writes and evicts."""
        self.cluster.move()

    @rule()
    def the_queue_is_looked_at(self) -> None:
        """A cycle."""
        self.cluster.step()

    @rule(times=st.integers(1, 3))
    def everybody_goes_on(self, times: int) -> None:
        """Service, scheduler, kubelets, controllers and agents do what is to be done."""
        self.cluster.turn(times)

    @rule()
    def agents_report(self) -> None:
        """Reports show what is there."""
        self.cluster.agents()

    @rule()
    def controllers_make_pods_anew(self) -> None:
        """Each owner has its pods again."""
        self.cluster.controllers()

    # --- what comes between

    @rule(node=st.sampled_from(NODES), profile=st.sampled_from(SMALL))
    def a_foreign_pod_is_bound(self, node: str, profile: str) -> None:
        """Another scheduler puts a pod where the API server knows of nobody, whatever is held there."""
        start = self.cluster.free_start(node, profile)
        if start is not None and self.came < 40:
            self.came += 1
            self.cluster.bound(f"foreign{self.came}", profile, node, start)

    @rule(data=st.data())
    def a_pod_goes(self, data: st.DataObject) -> None:
        """A pod is deleted by somebody."""
        names = [pod["metadata"]["name"] for pod in self.cluster.pods()]
        if names:
            self.cluster.delete(data.draw(st.sampled_from(names)))

    @rule(owner=st.sampled_from(("a", "b")))
    def a_kubelet_refuses(self, owner: str) -> None:
        """The pods of an owner that were bound and not yet reported fail."""
        self.cluster.refuse(owner)

    @rule(owner=st.sampled_from(sorted(OWNERS)), number=st.integers(0, 3))
    def an_owner_is_scaled(self, owner: str, number: int) -> None:
        """An owner wants more pods or fewer: a replacement may never come."""
        if owner in self.cluster.wanted:
            self.cluster.wanted[owner] = number

    @rule(allowed=st.integers(0, 2), owner=st.sampled_from(("a", "b")))
    def a_budget_changes(self, allowed: int, owner: str) -> None:
        """A PodDisruptionBudget comes, or allows another number."""
        self.cluster.budget(owner, allowed)

    @rule(done=st.booleans(), refused=st.booleans())
    def an_eviction_fails(self, done: bool, refused: bool) -> None:
        """The next eviction is refused, or gets no answer, whether it was done or not."""
        error: errors.ClusterError = errors.RefusedError("HTTP 403") if refused else errors.UnreachableError("lost")
        self.cluster.cluster.faults.add(Fault("evict", error=error, done=done and not refused))

    @rule(done=st.booleans())
    def a_status_is_not_written(self, done: bool) -> None:
        """The next write of a status gets no answer, whether it was done or not."""
        fault = Fault("patch_status", api.REPACK.plural, error=errors.UnreachableError("lost"), done=done)
        self.cluster.cluster.faults.add(fault)

    @rule(node=st.sampled_from(NODES), value=st.booleans())
    def a_node_is_cordoned_or_not(self, node: str, value: bool) -> None:
        """A node takes no more pods, or takes them again."""
        self.cluster.cordon(node, value=value)

    @rule(seconds=st.sampled_from((5, 30)))
    def time_passes(self, seconds: int) -> None:
        """Long enough for a replacement to be late, or not."""
        self.cluster.now += seconds

    @rule()
    def the_service_restarts(self) -> None:
        """All that was known is lost, and an eviction on its way with it."""
        self.cluster.restart()
        self.answering()

    @rule(most=st.integers(0, 6))
    def another_replica_leads(self, most: int) -> None:
        """The lease moves; the successor has heard of some of what happened."""
        self.cluster.run(self.cluster.standby.hear(most))
        self.cluster.lead_elsewhere()

    # --- what must hold

    @invariant()
    def it_holds(self) -> None:
        """Nothing is held twice, or for nobody; nobody goes who may not, or beyond a budget."""
        cluster = self.cluster
        cluster.check()
        disturbed = {name: [step for step in self.steps(name) if step.disturbed] for name in self.repacks}
        counted = {step.uid for steps in disturbed.values() for step in steps}
        uids = [pod["metadata"]["uid"] for pod, _ in cluster.evicted]
        assert len(uids) == len(set(uids)), "a pod was evicted twice"
        for pod, _ in cluster.evicted:
            meta = pod["metadata"]
            assert meta["uid"] in counted, f"{meta['name']} was evicted before any status said so"
            assert meta["annotations"]["migsched.io/movable"] == "true", f"{meta['name']} is not movable"
            assert pod["spec"].get("nodeName"), f"{meta['name']} did not run"
        for name, steps in disturbed.items():
            self.check_budgets(name, steps)
        for stored in cluster.server.list(api.DISRUPTION_BUDGET):
            assert stored.document["status"]["disruptionsAllowed"] >= 0

    def check_budgets(self, name: str, steps: list[MoveStep]) -> None:
        """No more moves, of all or of one owner or at once, than a Repack allows."""
        budgets = self.repacks[name]
        assert len(steps) <= budgets["moves"]
        for service in {step.service for step in steps}:
            assert sum(step.service == service for step in steps) <= budgets["perService"]
        assert sum(not step.is_final for step in steps) <= budgets["parallel"]

    def steps(self, name: str) -> tuple[MoveStep, ...]:
        """The steps of a Repack, as its status has them."""
        return self.cluster.status(name).steps

    def teardown(self) -> None:
        """In the end no Repack is stuck, nothing is held, and every owner has its pods."""
        try:
            self._settle()
        finally:
            self.cluster.close()

    def _settle(self) -> None:
        cluster = self.cluster
        for node in NODES:
            cluster.cordon(node, value=False)
        for owner in ("a", "b"):
            cluster.budget(owner, 9)
        for name in self.repacks:
            cluster.server.patch(api.REPACK, name, {"spec": {"paused": False, "approved": True}})
        cluster.restart()
        self.answering()
        for _ in range(90):
            cluster.turn(3)
            if all(cluster.status(name).phase in AT_REST for name in self.repacks):
                break
            cluster.now += 25
        cluster.check()
        for name in self.repacks:
            status = cluster.status(name)
            assert status.phase not in MOVING, f"{name} is stuck: {status}"
            assert all(step.is_final for step in status.steps if step.disturbed), status
            assert status.plans <= PLANS
        held = [claim.uid for claim in cluster.state.inventory.ledger if claim.uid.startswith("repack/")]
        assert not held, f"held for nobody: {held}"
        for owner, number in cluster.wanted.items():
            assert len(cluster.of(owner)) >= number, f"{owner} has lost pods"
        ready = [step for name in self.repacks for step in self.steps(name) if step.state is MoveState.CONFIRMED]
        assert all(step.replacement for step in ready)


TestMoves = MovesMachine.TestCase
TestMoves.settings = settings(stateful_step_count=110)
