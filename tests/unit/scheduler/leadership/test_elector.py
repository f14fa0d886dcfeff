"""The election of one leader over an API server in memory, with clocks that the tests set."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from allocator import errors
from scheduler.leadership.elector import Elector
from scheduler.leadership.terms import LeaseTerms
from scheduler.metrics import Metrics
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.waiting import eventually

TERMS = LeaseTerms("migsched-system", "migsched-queue", duration_s=15, renew_deadline_s=10, retry_s=0.004)


class Replica:
    """One replica: its client with its faults, its clock, and whether its work runs."""

    def __init__(
        self, server: MemoryServer, name: str, terms: LeaseTerms = TERMS, clock: Callable[[], float] | None = None
    ) -> None:
        self.cluster = MemoryCluster(server)
        self.now = 0.0
        self.works = False
        self.metrics = Metrics()
        self.elector = Elector(self.cluster, terms, name, self.metrics, clock=clock or (lambda: self.now))
        self.task = asyncio.create_task(self.elector.run(self._work))

    async def _work(self) -> None:
        self.works = True
        try:
            await asyncio.Event().wait()
        finally:
            self.works = False

    async def kill(self) -> None:
        """It dies; nothing is given up."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def looks(self) -> None:
        """Until it has asked twice from now on."""
        asked = self.cluster.faults.add(Fault("get", api.LEASE.plural, times=2))
        await eventually(lambda: asked.met == 2, "two looks at the lease")


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Replica, Replica, MemoryServer]]:
    """A leader and one that stands by."""
    server = MemoryServer()
    first = Replica(server, "first")
    await eventually(lambda: first.works, "the first leads")
    second = Replica(server, "second")
    await second.looks()
    yield first, second, server
    await first.kill()
    await second.kill()


def holder(server: MemoryServer) -> str:
    return str(server.get(api.LEASE, TERMS.name, TERMS.namespace).document["spec"]["holderIdentity"])


async def test_one_leads_and_the_other_knows_who(pair: tuple[Replica, Replica, MemoryServer]) -> None:
    """While the leader renews, whatever the other's clock says, only it works."""
    first, second, server = pair
    second.now += 1e6
    await second.looks()
    assert (first.works, second.works, second.elector.leader, holder(server)) == (True, False, "first", "first")


async def test_a_dead_leader_is_followed_once_its_lease_has_run_out(
    pair: tuple[Replica, Replica, MemoryServer],
) -> None:
    """Not before it was seen unchanged for its duration."""
    first, second, server = pair
    await first.kill()
    await second.looks()  # sees the last renewal
    second.now += TERMS.duration_s - 0.1
    await second.looks()
    assert not second.works
    second.now += 0.1
    await eventually(lambda: second.works, "the second leads")
    assert server.get(api.LEASE, TERMS.name, TERMS.namespace).document["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_cannot_renew_has_stopped_before_anybody_may_follow(
    pair: tuple[Replica, Replica, MemoryServer],
) -> None:
    """Its work ends at its deadline, five seconds before the lease can be taken."""
    first, second, _ = pair
    cut_off = first.cluster.faults.add(
        Fault("patch", api.LEASE.plural, error=errors.UnreachableError("cut off"), times=None)
    )
    await eventually(lambda: cut_off.met > 2, "renewals that fail")
    first.now += TERMS.renew_deadline_s - 0.1
    before = cut_off.met
    await eventually(lambda: cut_off.met > before + 1, "another that fails")
    assert first.works
    first.now += 0.2
    second.now += TERMS.renew_deadline_s + 0.1
    await eventually(lambda: not first.works, "the first stops")
    await second.looks()
    assert not second.works
    assert first.metrics.registry.get_sample_value("migsched_leadership_changes_total", {"to": "standby"}) == 1
    first.cluster.faults.clear()
    await eventually(lambda: first.works, "the first leads again, since nobody has taken it")


async def test_a_call_without_an_end_does_not_keep_a_leader_in_office() -> None:
    """A renewal that hangs is cut off at the deadline, counted from when the one before it was sent."""
    terms = LeaseTerms("migsched-system", "migsched-queue", duration_s=15, renew_deadline_s=0.05, retry_s=0.004)
    replica = Replica(MemoryServer(), "only", terms, asyncio.get_running_loop().time)
    await eventually(lambda: replica.works, "it leads")
    replica.cluster.faults.add(Fault("patch", api.LEASE.plural, hold=asyncio.Event(), times=None))
    await eventually(lambda: not replica.works, "it stops")
    await replica.kill()


async def test_a_lease_given_up_is_taken_at_once(pair: tuple[Replica, Replica, MemoryServer]) -> None:
    """A clean stop costs the cluster one look, and no clock has to move."""
    first, second, server = pair
    await first.kill()
    await first.elector.resign()
    await eventually(lambda: second.works, "the second leads")
    assert holder(server) == "second"


async def test_one_whom_the_lease_was_taken_from_stops(pair: tuple[Replica, Replica, MemoryServer]) -> None:
    """A leader that finds another name in the lease stops at once and takes it back only when that one is gone."""
    first, _, server = pair
    spec = {"holderIdentity": "usurper", "renewTime": "2026-11-30T12:00:00.000000Z", "leaseDurationSeconds": 15}
    server.patch(api.LEASE, TERMS.name, {"spec": spec}, TERMS.namespace)
    await eventually(lambda: not first.works, "the first stops")


async def test_a_lost_reply_costs_nobody_the_lead(pair: tuple[Replica, Replica, MemoryServer]) -> None:
    """A renewal that was done, and whose reply was lost, is found to be our own."""
    first, _, server = pair
    lost = first.cluster.faults.add(
        Fault("patch", api.LEASE.plural, error=errors.UnreachableError("lost"), done=True, times=3)
    )
    await eventually(lambda: lost.met == 3, "replies that are lost")
    renewed = server.get(api.LEASE, TERMS.name, TERMS.namespace).document["metadata"]["resourceVersion"]
    await eventually(
        lambda: server.get(api.LEASE, TERMS.name, TERMS.namespace).document["metadata"]["resourceVersion"] != renewed,
        "a further renewal",
    )
    assert first.works


async def test_a_deleted_lease_is_no_invitation(pair: tuple[Replica, Replica, MemoryServer]) -> None:
    """Its holder makes it anew; another waits as if it were there, since the holder may not know yet."""
    first, second, server = pair
    first.cluster.faults.add(Fault("patch", api.LEASE.plural, error=errors.UnreachableError("cut off"), times=None))
    server.delete(api.LEASE, TERMS.name, TERMS.namespace)
    await second.looks()
    assert not second.works
    first.cluster.faults.clear()
    await eventually(lambda: len(list(server.list(api.LEASE))) == 1, "the lease is there again")
    assert (holder(server), first.works, second.works) == ("first", True, False)


async def test_work_that_dies_ends_the_election() -> None:
    """A defect in the work is not hidden by an election that goes on."""
    elector = Elector(MemoryCluster(MemoryServer()), TERMS, "only", Metrics())

    async def dies() -> None:
        raise IndexError("a defect")

    with pytest.raises(IndexError):
        await elector.run(dies)
