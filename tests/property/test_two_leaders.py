"""Replicas that disagree about who leads: what a second leader can spoil, and what it cannot (docs/adr/0023)."""

from itertools import combinations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from allocator.queueing.life import QueueState
from tests.property.queue_replica import RETURN_AFTER_S, Replica
from tests.property.queued_cluster import QueuedCluster, mask_of, promises_of

PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
MAX_PODS = 12


class TwoLeaders(RuleBasedStateMachine):
    """Both replicas decide, each by what it has heard; in the end one of them is the only one."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = QueuedCluster()
        self.promised: dict[str, str] = {}  # what each pod showed first, by UID

    @precondition(lambda self: len(self.cluster.pods()) < MAX_PODS)
    @rule(profile=st.sampled_from(PROFILES), gang=st.booleans())
    def a_pod_comes(self, profile: str, gang: bool) -> None:
        """Alone, or of a gang of two."""
        self.cluster.create(profile, gang="g" if gang else "", size=2 if gang else 0)

    @rule(first=st.booleans(), most=st.integers(1, 6))
    def a_replica_hears(self, first: bool, most: int) -> None:
        """Some of what happened."""
        self.cluster.run(self._replica(first).hear(most))

    @rule(first=st.booleans())
    def a_replica_decides(self, first: bool) -> None:
        """A cycle, by what it knows."""
        if not first:
            self._exchange()
        self.cluster.step()
        if not first:
            self._exchange()

    @rule()
    def kube_scheduler_binds(self) -> None:
        """Whoever has no gate."""
        self.cluster.kube_scheduler()

    @invariant()
    def nothing_is_done_twice(self) -> None:
        """A pod that has a promise keeps it, and the books of each replica agree with themselves."""
        for replica in (self.cluster.leader, self.cluster.standby):
            replica.state.inventory.check()
            replica.state.queue.check()
        for pod in self.cluster.pods():
            shown = str((promises_of(pod), pod["spec"].get("affinity")))
            if promises_of(pod):
                assert self.promised.setdefault(pod["metadata"]["uid"], shown) == shown

    def teardown(self) -> None:
        """The only leader that is left claims no place for two, and knows whom it cannot serve."""
        try:
            self.cluster.lead_elsewhere()
            self.cluster.deliver()
            self.cluster.step()
            self.cluster.deliver()
            self._the_double_is_known()
        finally:
            self.cluster.close()

    def _the_double_is_known(self) -> None:
        state = self.cluster.state
        waiting = {pod.uid for pod in state.inventory.waiting()}
        for one, other in combinations(self.cluster.pods(), 2):
            places = {(p.gpu, mask_of(p)) for p in promises_of(one)}
            taken = {(p.gpu, mask_of(p)) for p in promises_of(other)}
            if any(gpu == there and mask & lies for gpu, mask in places for there, lies in taken):
                uids = {one["metadata"]["uid"], other["metadata"]["uid"]}
                states = {uid: getattr(state.queue.get(uid), "state", None) for uid in uids}
                assert waiting & uids or QueueState.UNBINDABLE in states.values(), states

    def _replica(self, first: bool) -> Replica:
        return self.cluster.leader if first else self.cluster.standby

    def _exchange(self) -> None:
        self.cluster.leader, self.cluster.standby = self.cluster.standby, self.cluster.leader


TestTwoLeaders = TwoLeaders.TestCase
TestTwoLeaders.settings = settings(stateful_step_count=40)


@pytest.mark.parametrize("older_is_refused", [True, False])
def test_a_place_given_up_by_a_leader_before_is_not_taken_from_its_new_owner(older_is_refused: bool) -> None:
    """Of two pods with one promise the successor believes the one that kube-scheduler does not refuse."""
    cluster = QueuedCluster()
    try:
        for node in ("n2", "n3"):
            cluster.cordon(node, value=True)
        names = [cluster.create("7g.40gb", priority=int(older_is_refused))]
        names.append(cluster.create("7g.40gb", priority=int(not older_is_refused)))
        refused, other = names if older_is_refused else reversed(names)
        cluster.deliver()
        cluster.step()
        cluster.cordon("n1", value=True)
        cluster.kube_scheduler()
        cluster.deliver()
        cluster.step()
        cluster.now += RETURN_AFTER_S + 1
        cluster.step()
        cluster.cordon("n1", value=False)
        cluster.deliver()
        cluster.step()
        cluster.lead_elsewhere()
        cluster.run(cluster.leader.hear(1_000))
        cluster.step()
        states = {pod.name: pod.state for pod in cluster.state.queue}
        assert states == {refused: QueueState.UNBINDABLE, other: QueueState.RELEASED}
        cluster.check()
    finally:
        cluster.close()


def test_of_two_pods_with_one_place_one_is_told_unbindable() -> None:
    """Two leaders promise one GPU to two pods; the one that is left claims it once, and never twice."""
    cluster = QueuedCluster()
    try:
        for node in ("n2", "n3"):
            cluster.cordon(node, value=True)
        cluster.create("7g.40gb")
        cluster.run(cluster.standby.hear(1_000))  # one leader knows this pod only
        cluster.create("7g.40gb", priority=1)
        cluster.deliver()
        cluster.step()
        cluster.leader, cluster.standby = cluster.standby, cluster.leader
        cluster.step()
        promised = [promises_of(pod) for pod in cluster.pods()]
        assert len(promised) == 2
        assert {(promise.gpu, promise.start) for promises in promised for promise in promises} == {("n1-gpu-0", 0)}
        cluster.lead_elsewhere()
        cluster.step()
        cluster.state.inventory.check()
        assert sorted(pod.state for pod in cluster.state.queue) == [QueueState.RELEASED, QueueState.UNBINDABLE]
        assert len(cluster.state.inventory.ledger) == 1
    finally:
        cluster.close()
