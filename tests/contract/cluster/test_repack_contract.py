"""The contract of Repacks in the scheduler service's port, on every implementation."""

import msgspec
import pytest

from allocator import errors
from allocator.moves import document
from allocator.moves.document import RepackStatus
from allocator.moves.life import RepackPhase
from scheduler.cache.port import Repack, WatchedKind
from tests.contract.cluster.conftest import Ports

SPEC = {"wanted": {"requests": [{"profiles": {"7g.40gb": 1}}]}, "mode": "Approve"}


async def repack(ports: Ports, name: str) -> Repack:
    """A Repack as it is listed."""
    items = (await ports.cluster.list(WatchedKind.REPACK)).items
    (found,) = (item for item in items if item.metadata.name == name)
    assert isinstance(found, Repack)
    return found


async def test_a_repack_keeps_its_spec_and_takes_its_status(ports: Ports) -> None:
    """The spec is read as it was made; a status is written whole, and what it says no more is gone."""
    name = ports.name("repack")
    await ports.cluster.create_repack(name, msgspec.json.encode(SPEC))
    made = await repack(ports, name)
    assert document.read_spec(made.spec).wanted.requests[0].profiles == {"7g.40gb": 1}
    assert document.read_status(made.status) == RepackStatus()
    for status in (
        RepackStatus(RepackPhase.PROPOSED, "2 moves", 1, notes=("a", "b")),
        RepackStatus(RepackPhase.RUNNING, "", 1, notes=("a",)),
    ):
        await ports.cluster.write_repack_status(name, made.metadata.uid, msgspec.json.encode(status))
        now = await repack(ports, name)
        assert document.read_status(now.status) == status
        assert document.read_spec(now.spec) == document.read_spec(made.spec)


async def test_a_repack_of_that_name_is_a_conflict(ports: Ports) -> None:
    """A second one is not made, and one with another UID is neither written nor deleted."""
    name = ports.name("repack")
    await ports.cluster.create_repack(name, msgspec.json.encode(SPEC))
    with pytest.raises(errors.ConflictError):
        await ports.cluster.create_repack(name, msgspec.json.encode(SPEC))
    other = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(errors.ConflictError):
        await ports.cluster.write_repack_status(name, other, msgspec.json.encode(RepackStatus()))
    with pytest.raises(errors.ConflictError):
        await ports.cluster.approve_repack(name, other)
    with pytest.raises(errors.ConflictError):
        await ports.cluster.delete_repack(name, other)
    await ports.cluster.delete_repack(name, (await repack(ports, name)).metadata.uid)
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.write_repack_status(name, other, msgspec.json.encode(RepackStatus()))


async def test_a_repack_is_approved_again_and_again(ports: Ports) -> None:
    """Approval is written beside what else the spec says, and changes nothing a second time."""
    name = ports.name("repack")
    await ports.cluster.create_repack(name, msgspec.json.encode(SPEC))
    made = await repack(ports, name)
    assert not document.read_spec(made.spec).approved
    for _ in range(2):
        await ports.cluster.approve_repack(name, made.metadata.uid)
        approved = document.read_spec((await repack(ports, name)).spec)
        assert approved.approved
        assert approved.wanted == document.read_spec(made.spec).wanted
    await ports.cluster.delete_repack(name, made.metadata.uid)
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.approve_repack(name, made.metadata.uid)
