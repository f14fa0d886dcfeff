"""Several slices of one container: on different GPUs first, since a CUDA process sees at most one slice of a GPU."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.mig import geometry, gpu_models
from allocator.placement import fitting, policy
from allocator.placement.fitting import GpuState
from allocator.placement.fleet import Fleet
from allocator.placement.policy import Policy
from allocator.placement.shortlist import rank, shortlist
from allocator.placement.splits import SURPLUS
from allocator.request import MAX_MIXED, NO_CONTAINER, Request, SliceRequest
from tests import builders

H100 = geometry.compiled(gpu_models.find("h100-80gb"))
TWO = builders.request("3g.40gb", "3g.40gb")
EVERY_POLICY = pytest.mark.parametrize("by", policy.POLICIES.values(), ids=lambda by: by.name)


def _gpus(*taken: str) -> list[GpuState]:
    """A GPU each with these slices on it, written `3g.40gb@0 1g.10gb@6`; empty where nothing is."""
    placements = [[cut.split("@") for cut in slices.split()] for slices in taken]
    return [(H100, H100.state_of(H100.catalogue.placement(n, int(s)) for n, s in of_gpu)) for of_gpu in placements]


def _where(gpus: Sequence[GpuState], request: Request, by: Policy = policy.DEFAULT) -> list[int]:
    """The GPU of each slice."""
    placed = fitting.place(gpus, request, by)
    assert placed is not None
    return [slice_.gpu for slice_ in placed]


def _of(**containers: Sequence[str]) -> Request:
    """A request of these containers."""
    return Request(tuple(SliceRequest(name, profile) for name, asked in containers.items() for profile in asked))


@EVERY_POLICY
def test_two_slices_of_a_container_go_to_two_gpus(by: Policy) -> None:
    """Whatever the policy: only so does one process see both."""
    assert sorted(_where(_gpus("", ""), TWO, by)) == [0, 1]


@EVERY_POLICY
def test_a_packed_request_goes_where_the_policy_says(by: Policy) -> None:
    """Asked for so, the slices cost the least sum of losses, as those of different containers do."""
    gpus = _gpus("", "")
    packed = replace(TWO, packed=True)
    assert fitting.place(gpus, packed, by) == fitting.place(gpus, _of(a=["3g.40gb"], b=["3g.40gb"]), by)
    assert len(set(_where(gpus, packed, by))) == (2 if by.name == "worst-fit" else 1)


@EVERY_POLICY
def test_two_containers_may_share_a_gpu(by: Policy) -> None:
    """One slice each: each container sees its own, and where they go is the policy's."""
    gpus = _gpus("", "")
    request = _of(prefill=["3g.40gb"], decode=["3g.40gb"])
    assert fitting.place(gpus, request, by) == fitting.place(gpus, builders.packed("3g.40gb", "3g.40gb"), by)


def test_profiles_of_one_container_are_apart_too() -> None:
    """Slices of different profiles count alike: a process sees one of each GPU, whatever its size."""
    assert sorted(_where(_gpus("", "", ""), builders.request("1g.10gb", "2g.20gb", "3g.40gb"))) == [0, 1, 2]


def test_each_container_is_looked_at_by_itself() -> None:
    """Two containers of two slices each need two GPUs, not four, and a third of one slice may lie beside theirs."""
    request = _of(a=["2g.20gb", "2g.20gb"], b=["2g.20gb", "2g.20gb"], c=["1g.10gb"])
    where = _where(_gpus("", ""), request)
    assert sorted(where[:2]) == sorted(where[2:4]) == [0, 1]


def test_too_few_gpus_are_shared_as_evenly_as_it_takes() -> None:
    """Where there are not as many GPUs as slices, all are used; on one GPU all lie together."""
    assert sorted(_where(_gpus("", ""), builders.request(*["1g.10gb"] * 3))) in ([0, 0, 1], [0, 1, 1])
    assert _where(_gpus(""), TWO) == [0, 0]


def test_room_decides_before_what_a_process_sees() -> None:
    """A GPU without room cannot be used; then both lie where there is room, and the request is not refused."""
    assert _where(_gpus("7g.80gb@0", ""), TWO) == [1, 1]


def test_a_request_that_fits_only_together_fits() -> None:
    """Whether a request fits does not depend on whether its slices can be apart."""
    fleet = Fleet(policy.DEFAULT)
    fleet.put("n0", _gpus(""))
    assert list(shortlist(fleet, TWO, ["n0"], 10).nodes) == ["n0"]


@EVERY_POLICY
def test_nodes_where_slices_are_apart_come_first(by: Policy) -> None:
    """A node of one GPU is offered only if there is no other, however well it packs; beside incoming pods too."""
    fleet = Fleet(by)
    fleet.put("one", _gpus(""))
    fleet.put("two", _gpus("", ""))
    assert [node.node for node in rank(fleet, TWO, ["one", "two"])] == ["two", "one"]
    assert list(shortlist(fleet, TWO, ["one", "two"], 10).nodes) == ["two"]
    full = {"two": [builders.request("7g.80gb")]}
    ranked = rank(fleet, TWO, ["one", "two"], incoming=full)
    assert [round(node.loss / SURPLUS) for node in ranked] == [1, 1]
    elsewhere = rank(fleet, TWO, ["one", "two"], incoming={"two": [builders.request("1g.10gb")]})
    assert [(node.node, round(node.loss / SURPLUS)) for node in elsewhere] == [("two", 0), ("one", 1)]


def test_bind_reserves_different_gpus() -> None:
    """What filter promised bind keeps: the claim's places are on two GPUs."""
    inventory = Inventory()
    inventory.observe(builders.node("n0").gpu("h100-80gb").gpu("h100-80gb").report())
    claim = inventory.reserve("u", "default", "p", TWO, "n0")
    assert isinstance(claim, Claim)
    assert len({hold.gpu for hold in claim.holds}) == 2


def test_requests_that_differ_in_names_alone_are_one_mix() -> None:
    """What is kept for a request serves every pod of its shape; containers of one slice each are not told apart."""
    first = _of(a=["1g.10gb", "1g.10gb"], b=["3g.40gb", "1g.10gb"])
    second = _of(z=["3g.40gb", "1g.10gb"], y=["1g.10gb", "1g.10gb"])
    assert first.mix == second.mix
    assert _of(a=["1g.10gb"], b=["3g.40gb"]).mix.containers == (NO_CONTAINER, NO_CONTAINER)
    assert TWO.mix.total == TWO.counts == (("3g.40gb", 2),)


def test_more_containers_than_can_be_told_apart_are_placed_together() -> None:
    """Beyond so many ways to cut a mix, only the losses count: the request is placed, not refused."""
    pair = ["1g.10gb", "1g.10gb"]
    told_apart = _of(**{f"c{number}": pair for number in range(5)})
    beyond = _of(**{f"c{number}": pair for number in range(6)})
    assert 3**5 <= MAX_MIXED < 3**6
    assert not told_apart.mix.packed
    assert beyond.mix.packed
    gpus = _gpus("", "", "", "")
    where = _where(gpus, told_apart)
    assert all(len(set(where[first : first + 2])) == 2 for first in range(0, 10, 2))
    assert fitting.place(gpus, beyond, policy.DEFAULT) == fitting.place(
        gpus, builders.packed(*pair * 6), policy.DEFAULT
    )


def test_many_slices_of_one_container_are_told_apart() -> None:
    """One container's slices cost no more to place apart than packed, up to sixteen full GPUs."""
    where = _where(_gpus(*[""] * 16), builders.request(*["1g.10gb"] * 112))
    assert len(set(where)) == 16
