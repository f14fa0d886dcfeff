"""An eviction is carried to a definite end: what is asked again, for how long, and what is not."""

import msgspec
import pytest

from allocator import errors
from kubeclient.objects import Pod
from scheduler.cache import known_pod
from scheduler.cache.known_pod import KnownPod
from scheduler.metrics import Metrics
from scheduler.queueing.evictor import EvictionOutcome, Evictor
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer

BUSY = errors.TooManyRequestsError("its budget", 0.0)


class Evicted:
    """A pod that runs, and who evicts it; the pauses are short."""

    def __init__(self, *faults: Fault, patience_s: float = 5.0) -> None:
        self.cluster = MemoryCluster(MemoryServer())
        self.metrics = Metrics()
        containers = [{"name": "main", "image": "none"}]
        document = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": containers}}
        stored = self.cluster.server.create(api.POD, document)
        self.pod: KnownPod = known_pod.read(msgspec.json.decode(stored.raw, type=Pod))
        for fault in faults:
            self.cluster.faults.add(fault)
        self._evictor = Evictor(self.cluster, self.metrics, first_retry_s=0.001, patience_s=patience_s)

    async def evict(self) -> EvictionOutcome:
        """How it ended."""
        return (await self._evictor.evict(self.pod, "default/urgent", "n1"))[0]

    @property
    def exists(self) -> bool:
        """Whether the pod is still there."""
        return bool(list(self.cluster.server.list(api.POD)))


async def test_what_a_budget_does_not_allow_now_is_asked_again() -> None:
    """The third time the budget allows it."""
    evicted = Evicted(Fault("evict", error=BUSY, times=2))
    assert await evicted.evict() is EvictionOutcome.DONE
    assert not evicted.exists


async def test_a_budget_is_not_asked_for_ever() -> None:
    """After its patience the pod stays, and it is told that its budget is why."""
    evicted = Evicted(Fault("evict", error=BUSY, times=None), patience_s=0.01)
    assert await evicted.evict() is EvictionOutcome.FORBIDDEN
    assert evicted.exists


async def test_a_lost_reply_is_no_refusal() -> None:
    """It is asked again, finds the pod gone, and that is a success."""
    evicted = Evicted(Fault("evict", error=errors.UnreachableError("lost"), done=True))
    assert await evicted.evict() is EvictionOutcome.DONE
    assert not evicted.exists


async def test_a_server_that_does_not_answer_is_not_asked_for_ever() -> None:
    """After its patience the eviction counts as refused."""
    evicted = Evicted(Fault("evict", error=errors.UnreachableError("lost"), times=None), patience_s=0.01)
    assert await evicted.evict() is EvictionOutcome.REFUSED


@pytest.mark.parametrize("error", [errors.RefusedError("HTTP 403"), errors.GoneError("HTTP 410")])
async def test_a_refusal_is_not_asked_again(error: errors.ClusterError) -> None:
    """Who may not evict is told so at once."""
    evicted = Evicted(Fault("evict", error=error))
    assert await evicted.evict() is EvictionOutcome.REFUSED
    assert evicted.exists
    assert evicted.metrics.registry.get_sample_value("migsched_queue_evicted_pods_total") == 0


async def test_another_pod_of_that_name_stays() -> None:
    """The pod is gone, whoever has its name."""
    evicted = Evicted()
    evicted.cluster.server.delete(api.POD, "p", "default")
    document = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "a"}]}}
    evicted.cluster.server.create(api.POD, document)
    assert await evicted.evict() is EvictionOutcome.DONE
    assert evicted.exists
