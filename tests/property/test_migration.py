"""Bounded migration against trying every window, every target and every order, on small fleets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import errors
from allocator.claims import snapshot
from allocator.claims.inventory import Inventory
from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import policy
from allocator.planning import migration
from allocator.planning.migration import GpuLayout, Migration
from tests import builders

A100 = geometry.compiled(gpu_models.find("a100-40gb"))
many = settings(max_examples=3 * settings().max_examples)  # one in ten needs moves
policies = st.sampled_from(list(policy.POLICIES.values()))


@dataclass(frozen=True)
class Gpu:
    """A GPU as the brute force sees it: slices, and which of them may move."""

    known: Geometry
    slices: frozenset[Placement]
    movable: frozenset[Placement]

    def layout(self) -> GpuLayout:
        """The same for `migration.plan`."""
        return migration.layout(self.known, self.slices, self.movable)

    def takes(self, one: Placement) -> bool:
        """Whether a slice may be added."""
        try:
            self.known.state_of([*self.slices, one])
        except errors.GeometryError:
            return False
        return True

    def plus(self, one: Placement) -> "Gpu":
        """With a slice more."""
        return Gpu(self.known, self.slices | {one}, self.movable)

    def minus(self, gone: frozenset[Placement]) -> "Gpu":
        """With slices less."""
        return Gpu(self.known, self.slices - gone, self.movable - gone)


@st.composite
def gpus(draw: st.DrawFn, known: Geometry) -> Gpu:
    """A GPU full of small slices that lost a few since: where moves help."""
    state, slices = Geometry.EMPTY, []
    largest_first = sorted(range(len(known.placements)), key=lambda i: (-known.placements[i].size, i))
    while legal := [i for i in largest_first if known.step[state, i] >= 0]:
        index = legal[max(draw(st.integers(0, 63)) for _ in range(2)) * len(legal) // 64]
        state = int(known.step[state, index])
        slices.append(known.placements[index])
    gone = draw(st.sets(st.integers(0, len(slices) - 1), min_size=1, max_size=5))
    left = [one for i, one in enumerate(slices) if i not in gone]
    return Gpu(known, frozenset(left), frozenset(one for one in left if draw(st.integers(0, 15))))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Gpu], str]:
    """A fleet, mostly of one model, and a profile that needs room on it."""
    a100, a30 = (geometry.compiled(gpu_models.find(model)) for model in ("a100-40gb", "a30-24gb"))
    fleet = draw(st.lists(gpus(a100), min_size=2, max_size=3))
    if draw(st.integers(0, 3)) == 0:
        fleet.append(draw(gpus(a30)))
    return fleet, draw(st.sampled_from(["3g.20gb", "4g.20gb", "2g.10gb", "1g.10gb", "7g.40gb", "2g.12gb", "9g.99gb"]))


def _settle(fleet: Sequence[Gpu], profiles: Sequence[str]) -> bool:
    """Whether slices of these profiles fit on the fleet together, by trying everything."""
    if not profiles:
        return True
    return any(
        _settle([*fleet[:i], gpu.plus(one), *fleet[i + 1 :]], profiles[1:])
        for i, gpu in enumerate(fleet)
        for one in gpu.known.placements
        if one.profile == profiles[0] and gpu.takes(one)
    )


def _costs(fleet: Sequence[Gpu], profile: str, moves: int) -> Iterator[tuple[int, int]]:
    """Cost (1 and its compute slices per move) and number of moves of every window that can be cleared."""
    for i, gpu in enumerate(fleet):
        compute = {p.name: p.compute_slices for p in gpu.known.catalogue.profiles}
        for window in gpu.known.placements:
            blockers = frozenset(one for one in gpu.slices if one.overlaps(window))
            if window.profile != profile or len(blockers) > moves or not blockers <= gpu.movable:
                continue
            cleared = gpu.minus(blockers)
            if not cleared.takes(window):
                continue
            after = [*fleet[:i], cleared.plus(window), *fleet[i + 1 :]]
            if _settle(after, [one.profile for one in blockers]):
                yield sum(1 + compute[one.profile] for one in blockers), len(blockers)


def _carried_out(fleet: Sequence[Gpu], plan: Migration) -> list[Gpu]:
    """The fleet after a plan; fails where a step of it is illegal."""
    after = list(fleet)
    for move in plan.moves:
        assert move.source.placement in after[move.source.gpu].movable
        after[move.source.gpu] = after[move.source.gpu].minus(frozenset([move.source.placement]))
    for spot in (plan.placed, *(move.target for move in plan.moves)):
        assert after[spot.gpu].takes(spot.placement)
        after[spot.gpu] = after[spot.gpu].plus(spot.placement)
    return after


@many
@given(cases(), policies, st.sampled_from([0, 1, 2, 2]))
def test_the_cheapest_window_is_found(case: tuple[list[Gpu], str], by: policy.Policy, moves: int) -> None:
    """There is a plan exactly if clearing one window makes room, and its restarts cost the least."""
    fleet, profile = case
    plan = migration.plan([gpu.layout() for gpu in fleet], profile, by, moves)
    costs = list(_costs(fleet, profile, moves))
    assert (plan is None) == (not costs)
    if plan is not None:
        assert plan.cost == min(costs)


@many
@given(cases(), policies, st.integers(0, migration.MAX_MOVES))
def test_a_plan_is_legal_and_costs_what_it_says(case: tuple[list[Gpu], str], by: policy.Policy, moves: int) -> None:
    """A plan moves movable slices only, at most as many as allowed, each to a legal place, and prices that rightly."""
    fleet, profile = case
    plan = migration.plan([gpu.layout() for gpu in fleet], profile, by, moves)
    if plan is None:
        return
    after = _carried_out(fleet, plan)
    assert plan.placed.placement.profile == profile
    assert len(plan.moves) <= moves
    for move in plan.moves:
        assert move.source.gpu == plan.placed.gpu
        assert move.source.placement.profile == move.target.placement.profile
    compute = {p.name: p.compute_slices for gpu in fleet for p in gpu.known.catalogue.profiles}
    assert plan.cost == (plan.compute_moved + len(plan.moves), len(plan.moves))
    assert plan.compute_moved == sum(compute[move.source.placement.profile] for move in plan.moves)
    assert plan.loss == pytest.approx(_lost(after) - _lost(fleet), abs=1e-9)


def _lost(fleet: Sequence[Gpu]) -> float:
    return sum(float(policy.fragmentation(gpu.known)[gpu.known.state_of(gpu.slices)]) for gpu in fleet)


@given(cases(), policies)
def test_nothing_moves_where_there_is_room(case: tuple[list[Gpu], str], by: policy.Policy) -> None:
    """A slice that fits as it is gets a plan without moves, whatever may be moved."""
    fleet, profile = case
    fits = any(gpu.takes(one) for gpu in fleet for one in gpu.known.placements if one.profile == profile)
    plan = migration.plan([gpu.layout() for gpu in fleet], profile, by, 2)
    assert fits == (plan is not None and not plan.moves)


def _a100(*slices: tuple[str, int], pinned: Sequence[tuple[str, int]] = ()) -> GpuLayout:
    """An A100 with these slices, all movable but the pinned ones."""
    free = [builders.placement(name, start) for name, start in slices]
    return migration.layout(A100, [*free, *(builders.placement(name, start) for name, start in pinned)], free)


def test_the_smaller_of_two_blockers_moves() -> None:
    """Of two windows with one slice each in the way the one with fewer compute slices is cleared."""
    plan = migration.plan(
        [_a100(("2g.10gb", 0), ("3g.20gb", 4)), _a100(("1g.5gb", 2), ("3g.20gb", 4))],
        "4g.20gb",
        policy.DEFAULT,
        1,
    )
    assert plan is not None
    assert plan.placed == migration.Spot(1, builders.placement("4g.20gb", 0))
    assert plan.compute_moved == 1


def test_one_restart_is_cheaper_than_two_of_as_many_compute_slices() -> None:
    """Of a window with one 2g and one with two 1g in the way the first is cleared: it restarts one pod less."""
    pair = _a100(("1g.5gb", 0), ("1g.5gb", 2), pinned=[("3g.20gb", 4)])
    single = _a100(("2g.10gb", 0), pinned=[("3g.20gb", 4)])
    room = _a100(pinned=[("4g.20gb", 0)])
    for fleet in ([pair, single, room], [single, pair, room]):
        plan = migration.plan(fleet, "4g.20gb", policy.DEFAULT, 2)
        assert plan is not None
        assert fleet[plan.placed.gpu] is single
        assert plan.cost == (3, 1)


def test_two_blockers_need_two_moves() -> None:
    """A window with two slices in it cannot be cleared with one move, and can with two."""
    fleet = [_a100(("1g.5gb", 0), ("1g.5gb", 2), pinned=[("3g.20gb", 4)]), _a100(pinned=[("4g.20gb", 0)])]
    assert migration.plan(fleet, "4g.20gb", policy.DEFAULT, 1) is None
    plan = migration.plan(fleet, "4g.20gb", policy.DEFAULT, 2)
    assert plan is not None
    assert {move.target.gpu for move in plan.moves} == {1}


def test_the_first_blocker_makes_way_for_the_second() -> None:
    """Where the best place of one blocker is the only place of another, the first goes elsewhere."""
    fleet = [
        _a100(("1g.10gb", 0), ("2g.10gb", 2), pinned=[("3g.20gb", 4)]),
        _a100(pinned=[("2g.10gb", 0), ("2g.10gb", 4)]),  # 2g fits at 2 only, 1g.10gb at 2 and 6
    ]
    plan = migration.plan(fleet, "4g.20gb", policy.find("first-fit"), 2)
    assert plan is not None
    assert {move.target.placement for move in plan.moves} == {
        builders.placement("2g.10gb", 2),
        builders.placement("1g.10gb", 6),
    }


def test_of_equally_cheap_windows_the_one_that_fragments_less_is_cleared() -> None:
    """Where two windows cost the same moves, the fleet's fragmentation afterwards decides."""
    full = _a100(pinned=[("4g.20gb", 0), ("2g.10gb", 4)])  # room for one 1g
    roomy = _a100(("1g.5gb", 0), pinned=[("1g.5gb", 4)])
    tight = _a100(("1g.5gb", 4), pinned=[("4g.20gb", 0)])
    for fleet in ([full, roomy, tight], [full, tight, roomy]):
        plan = migration.plan(fleet, "3g.20gb", policy.DEFAULT, 1)
        assert plan is not None
        assert fleet[plan.placed.gpu] is tight


def test_what_may_not_move_stays() -> None:
    """A window with a pinned slice in it is never cleared."""
    fleet = [_a100(pinned=[("1g.5gb", 0), ("3g.20gb", 4)]), _a100(pinned=[("4g.20gb", 0)])]
    assert migration.plan(fleet, "4g.20gb", policy.DEFAULT, 2) is None


def test_a_snapshot_says_what_may_move() -> None:
    """Of a snapshot's slices those of running pods with one slice may move, where the caller says that the pod may."""
    seen = (
        builders.node("n1")
        .gpu("a100-40gb")
        .allocated("1g.5gb", 0, pod="single")
        .allocated("1g.5gb", 1, pod="double")
        .allocated("1g.5gb", 2, pod="double")
        .allocated("1g.5gb", 3, pod="stays")
        .idle("3g.20gb", 4)
        .report()
    )
    inventory = Inventory()
    inventory.observe(seen)
    for name, starts in (("single", [0]), ("double", [1, 2]), ("stays", [3])):
        pod = builders.pod(name, *["1g.5gb"] * len(starts))
        for start in starts:
            pod = pod.promised("n1-gpu-0", "1g.5gb", start)
        assert inventory.adopt(pod.bound("n1")) is None
    uids = [builders.uid_of(name) for name in ("single", "double")]
    ((view, here),) = migration.layouts(snapshot.take(inventory), uids)
    assert view.node == "n1"
    index = A100.placement_index
    assert here.slices == sum(1 << index[builders.placement("1g.5gb", start)] for start in range(4))
    assert here.movable == 1 << index[builders.placement("1g.5gb", 0)]


@pytest.mark.parametrize("moves", [-1, migration.MAX_MOVES + 1])
def test_impossible_numbers_of_moves_are_refused(moves: int) -> None:
    """A negative number of moves, or one that is a repack, is refused with what to give."""
    with pytest.raises(errors.SettingsError) as caught:
        migration.plan([_a100()], "1g.5gb", policy.DEFAULT, moves)
    assert caught.value.field == "moves"


def test_a_movable_slice_must_be_there() -> None:
    """A layout whose movable slices are not among its slices is refused."""
    with pytest.raises(errors.GeometryError):
        migration.layout(A100, [], [builders.placement("1g.5gb", 0)])
