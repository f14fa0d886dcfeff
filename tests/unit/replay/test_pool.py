"""The pool's choices and sums against going through all GPUs one by one."""

import random

import numpy as np
import pytest

from allocator import errors
from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import policy, room
from allocator.placement.policy import Order
from replay.pool import NO_GPU, GpuPool

MODELS = ("a100-40gb", "a30-24gb", "rtx-pro-6000-blackwell-96gb")
ALL = [pytest.param(one, id=one.name) for one in policy.POLICIES.values()]


class Plain:
    """The same GPUs as plain lists, asked the slow way."""

    def __init__(self, known: Geometry, gpus: int, by: policy.Policy) -> None:
        self.known = known
        self.by = by
        self.slices: list[dict[int, float]] = [{} for _ in range(gpus)]
        self.last = gpus - 1

    def state(self, gpu: int) -> int:
        """The automaton's state of a GPU, from its slices."""
        return self.known.state_of(self.known.placements[i] for i in self.slices[gpu])

    def choose(self, profile: int, now: float, end: float) -> int:
        """The GPU that the policy's order puts first."""
        losses = policy.tables(self.by, self.known).loss[:, profile]
        fitting = [gpu for gpu in range(len(self.slices)) if np.isfinite(losses[self.state(gpu)])]
        return min(fitting, key=lambda gpu: self._rank(gpu, losses, profile, now, end), default=NO_GPU)

    def _rank(
        self, gpu: int, losses: np.ndarray[tuple[int], np.dtype[np.float64]], profile: int, now: float, end: float
    ) -> tuple[float, ...]:
        if self.by.order is Order.FIRST:
            return (gpu,)
        if self.by.order is Order.CYCLIC:
            return ((gpu - self.last - 1) % len(self.slices),)
        loss = round(float(losses[self.state(gpu)]), 9)
        if self.by.order is not Order.ENDS:
            return (loss, gpu)
        columns = list(self.known.placements_of(self.known.profiles[profile]))
        steps = self.known.step[self.state(gpu), columns]
        score = self.by.loss(self.known)[self.state(gpu), columns][steps >= 0].min()
        put_off = max(0.0, end - max([now, *self.slices[gpu].values()]))
        return (round(float(score), 9), put_off, loss, gpu)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("by", ALL)
def test_choices_are_those_of_all_gpus_compared(by: policy.Policy, model: str) -> None:
    """Whatever was cut and destroyed before, the pool chooses the GPU that comparing all GPUs one by one chooses."""
    known = geometry.compiled(gpu_models.find(model))
    pool, plain, dice = GpuPool(known, 7, by), Plain(known, 7, by), random.Random(model + by.name)
    there: list[int] = []
    refused = 0
    for now in range(400):
        if there and dice.random() < 0.45:
            number = there.pop(dice.randrange(len(there)))
            gpu, placement = pool.where(number)
            assert pool.remove(number) == plain.slices[gpu].pop(placement)
            continue
        profile, end = dice.randrange(len(known.profiles)), now + dice.choice([1.0, 10.0, 100.0])
        gpu = pool.choose(profile, now, end)
        assert gpu == plain.choose(profile, now, end)
        if gpu == NO_GPU:
            refused += 1
            continue
        placement = pool.placement(profile, gpu)
        there.append(pool.place(gpu, placement, end))
        plain.slices[gpu][placement] = end
        plain.last = gpu
    assert refused
    assert [sum(1 << i for i in slices) for slices in plain.slices] == pool.slices


@pytest.mark.parametrize("model", MODELS)
def test_sums_are_those_of_the_gpus(model: str) -> None:
    """Used compute, used memory and stranded memory are the sums over the GPUs at every moment."""
    known = geometry.compiled(gpu_models.find(model))
    pool, dice = GpuPool(known, 4, policy.find("worst-fit")), random.Random(1)
    by_name, wanted = known.catalogue.by_name, frozenset(known.profiles)
    there: list[int] = []
    stranded = 0
    for _ in range(300):
        profile = dice.randrange(len(known.profiles))
        gpu = pool.choose(profile)
        if gpu == NO_GPU or dice.random() < 0.2:
            if there:
                pool.remove(there.pop(dice.randrange(len(there))))
        else:
            there.append(pool.place(gpu, pool.placement(profile, gpu)))
        slices = [[known.placements[i] for i in range(len(known.placements)) if s >> i & 1] for s in pool.slices]
        assert pool.used_memory == sum(one.size for gpu_slices in slices for one in gpu_slices)
        assert pool.used_compute == sum(by_name[one.profile].compute_slices for some in slices for one in some)
        expected = sum(room.stranded_slices(known, known.state_of(some), wanted) for some in slices)
        assert pool.stranded_memory == expected
        stranded = max(stranded, expected)
    assert stranded or model != "a100-40gb"


def test_an_empty_gpu_strands_what_no_profile_covers() -> None:
    """Without a profile that reaches the last memory slice, an empty GPU strands it from the start."""
    known = geometry.compiled(gpu_models.find("a100-40gb").restricted(frozenset({"1g.5gb"})))
    pool = GpuPool(known, 3, policy.find("best-fit"))
    assert pool.stranded_memory == 3
    slice_ = pool.place(0, pool.placement(0, 0))
    assert pool.stranded_memory == 3
    pool.remove(slice_)
    assert pool.stranded_memory == 3


def test_a_new_policy_applies_to_the_gpus_as_they_are() -> None:
    """After a change of policy the pool chooses by the new one, with all slices where they were."""
    known = geometry.compiled(gpu_models.find("a100-40gb"))
    pool = GpuPool(known, 2, policy.find("best-fit"))
    small = known.profile_index["1g.5gb"]
    pool.place(1, pool.placement(small, 1))
    assert pool.choose(small) == 1
    pool.use(policy.find("worst-fit"))
    assert pool.choose(small) == 0


def test_an_illegal_slice_is_refused() -> None:
    """A slice that the automaton does not allow raises and changes nothing."""
    known = geometry.compiled(gpu_models.find("a100-40gb"))
    pool = GpuPool(known, 1, policy.DEFAULT)
    whole = known.placement_index[known.catalogue.placement("7g.40gb", 0)]
    pool.place(0, whole)
    with pytest.raises(errors.GeometryError):
        pool.place(0, known.placement_index[known.catalogue.placement("1g.5gb", 0)])
    assert pool.slices == [1 << whole]
    assert pool.used_memory == 8


def test_a_slice_that_is_not_there_is_not_destroyed() -> None:
    """Destroying a slice twice raises."""
    known = geometry.compiled(gpu_models.find("a100-40gb"))
    pool = GpuPool(known, 1, policy.DEFAULT)
    number = pool.place(0, 0)
    pool.remove(number)
    with pytest.raises(errors.GeometryError):
        pool.remove(number)
