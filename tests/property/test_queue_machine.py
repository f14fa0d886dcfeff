"""The queue against any history of pods, gangs, nodes, lost replies, refusals and restarts (docs/queue.md)."""

import contextlib

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator import errors
from allocator.placement import fitting
from allocator.queueing.gang_search import GangSearch, SearchEnd
from allocator.queueing.life import QueueState
from allocator.queueing.release import QueueRelease
from scheduler.cache import gang_sources
from scheduler.queueing.node_rules import ClusterNodeRules
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.property.queue_replica import RETURN_AFTER_S
from tests.property.queued_cluster import NODES, QueuedCluster, promises_of

PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
FILLS = (("7g.40gb",), ("4g.20gb", "3g.20gb"))
MAX_PODS = 14


class QueueMachine(RuleBasedStateMachine):
    """Anything may come in any order; see `QueuedCluster.check` for what holds after each step."""

    way = QueueRelease.PIN

    def __init__(self) -> None:
        super().__init__()
        self.cluster = QueuedCluster(self.way)

    @initialize(fills=st.lists(st.sampled_from(FILLS), max_size=len(NODES)), priority=st.integers(0, 1))
    def some_run_already(self, fills: list[tuple[str, ...]], priority: int) -> None:
        """Some GPUs are full of pods that come anew, so that others find no place."""
        for profile in (profile for fill in fills for profile in fill):
            self.cluster.create(profile, owned=True, priority=priority, terminationGracePeriodSeconds=30)
        self.cluster.deliver()
        self.cluster.step()
        self.cluster.kube_scheduler()

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(
        profile=st.sampled_from(PROFILES),
        owned=st.booleans(),
        priority=st.integers(0, 2),
        app=st.sampled_from(("", "web")),
        grace=st.sampled_from((0, 30)),
    )
    def a_pod_comes(self, profile: str, owned: bool, priority: int, app: str, grace: int) -> None:
        """A pod alone, maybe under a budget; when it goes, it takes its time or none."""
        self.cluster.create(profile, owned=owned, priority=priority, app=app, terminationGracePeriodSeconds=grace)

    @rule(allowed=st.integers(0, 2))
    def a_budget_changes(self, allowed: int) -> None:
        """A PodDisruptionBudget comes, or allows another number."""
        self.cluster.budget("web", allowed)

    @rule(done=st.booleans(), refused=st.booleans())
    def an_eviction_fails(self, done: bool, refused: bool) -> None:
        """The next eviction is refused, or gets no answer, whether it was done or not."""
        error: errors.ClusterError = errors.RefusedError("HTTP 403") if refused else errors.UnreachableError("lost")
        self.cluster.cluster.faults.add(Fault("evict", error=error, done=done and not refused))

    @rule()
    def pods_end_that_were_to(self) -> None:
        """Kubelets are done with the pods that are being deleted."""
        self.cluster.end_terminating()

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(
        profile=st.sampled_from(PROFILES),
        size=st.integers(1, 3),
        gang=st.sampled_from(("a", "b")),
        owned=st.booleans(),
        priority=st.integers(0, 2),
    )
    def a_member_of_a_gang_comes(self, profile: str, size: int, gang: str, owned: bool, priority: int) -> None:
        """A pod of a gang, complete with it or not."""
        self.cluster.create(profile, gang=f"{gang}{size}", size=size, owned=owned, priority=priority)

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(profile=st.sampled_from(PROFILES))
    def a_member_of_a_pod_group_comes(self, profile: str) -> None:
        """A pod of a gang whose PodGroup says how many have to start together."""
        self.cluster.create(profile, labels={gang_sources.POD_GROUP_LABEL: "group"}, owned=True)

    @rule(size=st.integers(1, 3))
    def a_pod_group_comes_or_changes(self, size: int) -> None:
        """Somebody writes the PodGroup."""
        with contextlib.suppress(errors.NotFoundError):
            self.cluster.server.delete(api.COSCHEDULING_POD_GROUP, "group", "default")
        meta = {"name": "group", "namespace": "default"}
        self.cluster.server.create(api.COSCHEDULING_POD_GROUP, {"metadata": meta, "spec": {"minMember": size}})

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(profile=st.sampled_from(PROFILES), size=st.integers(0, 2))
    def a_pod_that_keeps_apart_comes(self, profile: str, size: int) -> None:
        """A pod with anti-affinity to its like, alone or of a gang of them."""
        self.cluster.create_shy(profile, gang=f"shy{size}" if size else "", size=size)

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(profile=st.sampled_from(PROFILES), owned=st.booleans(), priority=st.integers(0, 2))
    def a_pod_comes_of_which_not_all_is_judged(self, profile: str, owned: bool, priority: int) -> None:
        """A pod that has places on several nodes, if there are any."""
        self.cluster.create_unjudged(profile, owned=owned, priority=priority)

    @rule(nodes=st.sets(st.sampled_from(NODES)))
    def what_is_not_judged_changes(self, nodes: set[str]) -> None:
        """kube-scheduler refuses these nodes to such pods from now on."""
        self.cluster.refusing = nodes

    @rule(most=st.integers(1, 6))
    def news_come(self, most: int) -> None:
        """Some of what happened reaches the service."""
        self.cluster.deliver(most)

    @rule()
    def the_queue_is_looked_at(self) -> None:
        """A cycle."""
        self.cluster.step()

    @rule(done=st.booleans(), conflict=st.booleans())
    def a_release_fails(self, done: bool, conflict: bool) -> None:
        """The next release gets no answer, whether it was done or not; or is refused."""
        error: errors.ClusterError = errors.UnreachableError("lost")
        if conflict and not done:
            error = errors.RefusedError("HTTP 403")
        self.cluster.cluster.faults.add(Fault("release", error=error, done=done))

    @rule()
    def kube_scheduler_binds(self) -> None:
        """Whoever has no gate is bound or refused."""
        self.cluster.kube_scheduler()

    @rule(data=st.data())
    def a_pod_goes(self, data: st.DataObject) -> None:
        """A pod is deleted."""
        names = [pod["metadata"]["name"] for pod in self.cluster.pods()]
        if names:
            self.cluster.delete(data.draw(st.sampled_from(names)))

    @rule(node=st.sampled_from(NODES), value=st.booleans())
    def a_node_is_cordoned_or_not(self, node: str, value: bool) -> None:
        """A node takes no more pods, or takes them again."""
        self.cluster.cordon(node, value=value)

    @rule()
    def pods_are_told(self) -> None:
        """Why they wait, by Events and by a condition, which makes each of them another version."""
        self.cluster.tell()

    @rule()
    def time_passes(self) -> None:
        """Long enough for a refused pod to come back."""
        self.cluster.now += RETURN_AFTER_S + 1

    @rule()
    def the_service_restarts(self) -> None:
        """All that was known is lost, and a release on its way with it."""
        self.cluster.restart()

    @rule(most=st.integers(0, 6))
    def another_replica_leads(self, most: int) -> None:
        """The lease moves while releases are on their way; the successor has heard of some of what happened."""
        self.cluster.run(self.cluster.standby.hear(most))
        self.cluster.lead_elsewhere()

    @invariant()
    def it_holds(self) -> None:
        """Nothing is held twice, for nobody, or against the books."""
        self.cluster.check()
        self.cluster.check_evictions()

    def teardown(self) -> None:
        """In the end nobody waits who has room: with working nodes and no faults every fitting pod is bound."""
        try:
            self._settle()
            self._nobody_waits_for_nothing()
        finally:
            self.cluster.close()

    def _settle(self) -> None:
        cluster = self.cluster
        for node in NODES:
            cluster.cordon(node, value=False)
        cluster.refusing = set()
        cluster.restart()  # which also ends retries that wait
        for _ in range(4 + MAX_PODS):  # evictions for one pod may follow those for another
            cluster.end_terminating()
            cluster.deliver()
            cluster.step()
            cluster.deliver()
            cluster.kube_scheduler()
            cluster.deliver()
            cluster.now += RETURN_AFTER_S + 1
            cluster.step()
        cluster.deliver()
        cluster.check()

    def _nobody_waits_for_nothing(self) -> None:
        state = self.cluster.state
        assert not state.nominated.by_node, "room is kept although nobody has to go any more"
        for pod in state.queue:
            if pod.state is QueueState.QUEUED and pod.gang is None and not pod.constraints.beside_others:
                names = list(state.inventory.fleet.rows)
                counts = dict(pod.request.counts)
                free = [n for n in names if fitting.fits(self.cluster.room_of(pod, n), counts)]
                assert not free, f"{pod.title} waits, and {free} have room that nobody before it has reserved"
        for unit in state.queue.waiting():
            if unit[0].gang is not None and not any(pod.constraints.beside_others for pod in unit):
                search = GangSearch(state.inventory, unit, ClusterNodeRules(state)).run()
                assert search.end is SearchEnd.NONE, f"gang {unit[0].gang} waits: {search.end}, {search.found}"
        for document in self.cluster.pods():
            if document["spec"].get("nodeName"):
                assert promises_of(document), f"{document['metadata']['name']} was bound without a promise"


class NominationMachine(QueueMachine):
    """The same where released pods are not pinned, and kube-scheduler may bind them past their places."""

    way = QueueRelease.NOMINATE

    @rule(done=st.booleans())
    def a_nomination_fails(self, done: bool) -> None:
        """The next nomination gets no answer, whether it was done or not."""
        self.cluster.cluster.faults.add(Fault("nominate", error=errors.UnreachableError("lost"), done=done))


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(stateful_step_count=100)
TestNomination = NominationMachine.TestCase
TestNomination.settings = settings(stateful_step_count=60, max_examples=max(1, settings().max_examples // 4))
