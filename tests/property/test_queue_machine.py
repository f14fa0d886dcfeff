"""The queue against any history of pods, gangs, nodes, lost replies, refusals and restarts (docs/queue.md)."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from allocator import errors
from allocator.queueing.life import QueueState
from simulator.cluster.memory_cluster.faults import Fault
from tests.property.queued_cluster import NODES, RETURN_AFTER_S, QueuedCluster, promises_of

PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
MAX_PODS = 14


class QueueMachine(RuleBasedStateMachine):
    """Anything may come in any order; see `QueuedCluster.check` for what holds after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = QueuedCluster()

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(profile=st.sampled_from(PROFILES), owned=st.booleans(), priority=st.integers(0, 2))
    def a_pod_comes(self, profile: str, owned: bool, priority: int) -> None:
        """A pod alone."""
        self.cluster.create(profile, owned=owned, priority=priority)

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(profile=st.sampled_from(PROFILES), size=st.integers(1, 3), gang=st.sampled_from(("a", "b")))
    def a_member_of_a_gang_comes(self, profile: str, size: int, gang: str) -> None:
        """A pod of a gang, complete with it or not."""
        self.cluster.create(profile, gang=f"{gang}{size}", size=size)

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
    def time_passes(self) -> None:
        """Long enough for a refused pod to come back."""
        self.cluster.now += RETURN_AFTER_S + 1

    @rule()
    def the_service_restarts(self) -> None:
        """All that was known is lost, and a release on its way with it."""
        self.cluster.restart()

    @invariant()
    def it_holds(self) -> None:
        """Nothing is held twice, for nobody, or against the books."""
        self.cluster.check()

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
        cluster.restart()  # which also ends retries that wait
        for _ in range(4):
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
        for pod in state.queue:
            if pod.state is QueueState.QUEUED and pod.gang is None:
                names = list(state.inventory.fleet.rows)
                free = [n for n in names if not isinstance(_try(self.cluster, pod.request.slots[0].profile, n), str)]
                assert not free, f"{pod.title} waits, and {free} have room"
        for document in self.cluster.pods():
            if document["spec"].get("nodeName"):
                assert promises_of(document), f"{document['metadata']['name']} was bound without a promise"


def _try(cluster: QueuedCluster, profile: str, node: str) -> object:
    """Whether a node has room for a slice of a profile; a string if not."""
    from allocator.placement import fitting

    return True if fitting.fits(cluster.state.inventory.fleet.gpus(node), {profile: 1}) else "no room"


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(stateful_step_count=100)
