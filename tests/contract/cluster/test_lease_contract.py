"""The contract of the lease of leader election, on every implementation of the scheduler service's port."""

import pytest

from allocator import errors
from kubeclient.objects import Meta
from scheduler.cache.lease import Lease, LeaseSpec
from scheduler.leadership.observed_lease import ObservedLease
from tests.contract.cluster.conftest import Ports

STAMP = "2026-11-30T12:00:00.123456Z"


async def made(ports: Ports, holder: str = "first") -> Lease:
    spec = ObservedLease(holder).held(STAMP, 15)
    return await ports.cluster.create_lease(Lease(Meta(ports.name("lease"), "default"), spec))


async def test_a_lease_comes_back_as_it_was_written(ports: Ports) -> None:
    """What was created is what is read, to the microsecond."""
    lease = await made(ports)
    assert lease.spec == LeaseSpec("first", 15, STAMP, STAMP, 0)
    assert await ports.cluster.get_lease("default", ports.name("lease")) == lease


async def test_one_that_there_is_not(ports: Ports) -> None:
    """NotFoundError, for a read and for a write."""
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.get_lease("default", ports.name("lease"))
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.write_lease(Lease(Meta(ports.name("lease"), "default", "u", "1"), LeaseSpec("a", 1)))


async def test_of_two_who_create_it_one_succeeds(ports: Ports) -> None:
    """The second hears of a conflict, and the first has it."""
    lease = await made(ports)
    with pytest.raises(errors.ConflictError):
        await made(ports, "second")
    assert await ports.cluster.get_lease("default", ports.name("lease")) == lease


async def test_of_two_who_write_it_one_succeeds(ports: Ports) -> None:
    """A write of a version that is no more changes nothing."""
    lease = await made(ports)
    taken = await ports.cluster.write_lease(replace_spec(lease, "second"))
    assert taken.spec.holder == "second"
    assert taken.metadata.resource_version != lease.metadata.resource_version
    with pytest.raises(errors.ConflictError):
        await ports.cluster.write_lease(replace_spec(lease, "third"))
    assert await ports.cluster.get_lease("default", ports.name("lease")) == taken


async def test_another_lease_of_that_name_is_a_conflict(ports: Ports) -> None:
    """A write that means another UID changes nothing."""
    lease = await made(ports)
    other = Lease(replace_meta(lease.metadata, "00000000-0000-4000-8000-000000000000"), lease.spec)
    with pytest.raises(errors.ConflictError):
        await ports.cluster.write_lease(other)


async def test_a_lease_can_be_given_up(ports: Ports) -> None:
    """A lease without a holder is one that the API server takes, and anybody may take."""
    lease = await made(ports)
    seen = ObservedLease("first")
    seen.see(lease.spec, 0)
    given_up = await ports.cluster.write_lease(Lease(lease.metadata, seen.released(STAMP)))
    assert given_up.spec.holder == ""
    other = ObservedLease("second")
    other.see(given_up.spec, 0)
    assert other.may_take(0)


def replace_spec(lease: Lease, holder: str) -> Lease:
    seen = ObservedLease(holder)
    seen.see(lease.spec, 0)
    return Lease(lease.metadata, seen.held(STAMP, 15))


def replace_meta(meta: Meta, uid: str) -> Meta:
    return Meta(meta.name, meta.namespace, uid, meta.resource_version)
