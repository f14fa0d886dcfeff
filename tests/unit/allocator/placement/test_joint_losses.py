"""Requests of several slices on a whole fleet: kept as nodes change, and bounded in what one question costs."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import fitting, joint_losses, policy, splits
from allocator.placement.fitting import GpuState
from allocator.placement.fleet import Fleet
from allocator.placement.joint_losses import JointLosses, Limits
from tests import builders

A100 = geometry.compiled(gpu_models.find("a100-40gb"))
SOME = ("1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb")
MANY = (*["1g.5gb"] * 5, *["1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"] * 4)


def _random(chance: random.Random, gpus: int = 3) -> list[GpuState]:
    return [(A100, chance.randrange(A100.states)) for _ in range(gpus)]


def _fleet(nodes: int) -> Fleet:
    """Nodes with random GPUs, each under a name like its number."""
    chance = random.Random(nodes)
    fleet = Fleet(policy.DEFAULT)
    for number in range(nodes):
        fleet.put(str(number), _random(chance))
    return fleet


def _losses(fleet: Fleet, *profiles: str) -> list[float]:
    """The losses of all nodes, in the order in which they became known."""
    losses: list[float] = fleet.losses(builders.request(*profiles), fleet.rows_of(list(fleet.rows))).tolist()
    return losses


def _alone(fleet: Fleet, *profiles: str) -> list[float]:
    """The same, each node placed by itself."""
    request = builders.request(*profiles)
    placed = [fitting.place(fleet.gpus(node), request, fleet.policy) for node in fleet.rows]
    return [np.inf if slices is None else fitting.cost(request, slices) for slices in placed]


def _asked(fleet: Fleet, joint: JointLosses) -> list[float]:
    """The losses of all nodes of a fleet whose GPUs are as many on each and all of one model, asked for once."""
    rows = fleet.rows_of(list(fleet.rows))
    states = np.array([[1 + state for _, state in fleet.gpus(node)] for node in fleet.rows], dtype=np.int32)
    geometries = {gpu: 1 for node in fleet.rows for gpu, _ in fleet.gpus(node)}
    losses: list[float] = joint.of(rows, states, np.ones(len(rows), dtype=np.int64), geometries).tolist()
    return losses


@pytest.mark.parametrize("by", policy.POLICIES.values(), ids=lambda by: by.name)
def test_any_request_under_any_policy_costs_what_placing_it_costs(by: policy.Policy) -> None:
    """The least sum of a node among many is exactly the sum of the places it is given by itself."""
    fleet = _fleet(40)
    for profiles in (SOME, ("2g.10gb",) * 3, ("1g.5gb+me", "1g.5gb+me", "1g.10gb"), ("3g.20gb", "4g.20gb", "9g.99gb")):
        apart = builders.request(*profiles)
        for request in (apart, replace(apart, packed=True)):
            losses = _asked(fleet, JointLosses(by, request.mix))
            placed = [fitting.place(fleet.gpus(node), request, by) for node in fleet.rows]
            assert losses == [np.inf if slices is None else fitting.cost(request, slices) for slices in placed]


def test_what_changed_is_answered_anew() -> None:
    """After each change of a node, its answer and everybody else's are those of the nodes as they are."""
    fleet, chance = _fleet(20), random.Random(1)
    for _ in range(30):
        changed = str(chance.randrange(25))
        if chance.random() < 0.3:
            fleet.drop(changed)
        else:
            fleet.put(changed, _random(chance, gpus=chance.randrange(4)))
        assert _losses(fleet, *SOME) == _alone(fleet, *SOME)


def test_a_row_of_a_forgotten_node_holds_nothing() -> None:
    """Who still has the row of a node that is gone is told that nothing fits there."""
    fleet = Fleet(policy.DEFAULT)
    fleet.put("gone", [(A100, Geometry.EMPTY)])
    row = fleet.rows_of(["gone"])
    assert np.isfinite(fleet.losses(builders.request(*SOME), row)).all()
    fleet.drop("gone")
    assert np.isposinf(fleet.losses(builders.request(*SOME), row)).all()


def test_a_model_that_comes_later_is_answered_too() -> None:
    """A node with GPUs of a new model is judged by that model's own placements."""
    fleet = _fleet(3)
    before = _losses(fleet, "1g.5gb", "1g.5gb")
    a30 = geometry.compiled(gpu_models.find("a30-24gb"))
    fleet.put("new", [(a30, Geometry.EMPTY), (A100, Geometry.EMPTY)])
    assert np.isfinite(_losses(fleet, "1g.5gb", "1g.6gb")[3])
    assert np.isinf(_losses(fleet, "1g.5gb", "1g.6gb")[:3]).all()
    assert _losses(fleet, "1g.5gb", "1g.5gb")[:3] == before


def test_many_requests_are_kept_apart() -> None:
    """However many different requests were asked for in between, each gets its own answer."""
    fleet = _fleet(4)
    first = _losses(fleet, *SOME)
    for number in range(2, 100):
        assert len(_losses(fleet, *["1g.5gb"] * number)) == 4
    fleet.put("0", [(A100, Geometry.EMPTY)] * 3)
    assert _losses(fleet, *SOME) == _alone(fleet, *SOME)
    assert _losses(fleet, *SOME)[1:] == first[1:]


@pytest.mark.parametrize(("sums", "alike"), [(1, 10**9), (100, 10**9), (2**16, 0), (100, 0)])
def test_how_it_is_computed_does_not_matter(sums: int, alike: int) -> None:
    """In small portions or large, with equal nodes judged once or each, the answers are the same."""
    fleet = _fleet(60)
    for number in range(60):
        fleet.put(f"again-{number}", list(reversed(fleet.gpus(str(number)))))
    joint = JointLosses(policy.DEFAULT, builders.request(*SOME).mix, Limits(sums=sums, alike=alike))
    assert _asked(fleet, joint) == _alone(fleet, *SOME)


def test_a_costly_question_is_answered_by_and_by() -> None:
    """One question costs so much and no more: nodes beyond are marked, and answered when asked again."""
    fleet = _fleet(10)
    true = _alone(fleet, *SOME)
    one_node_at_a_time = JointLosses(policy.DEFAULT, builders.request(*SOME).mix, Limits(additions=1))
    open_nodes = []
    for _ in range(11):
        losses = _asked(fleet, one_node_at_a_time)
        marked = Fleet.too_complex(np.array(losses))
        assert all(loss == truth for loss, truth, open_ in zip(losses, true, marked, strict=True) if not open_)
        open_nodes.append(int(marked.sum()))
    assert open_nodes[0] >= 3
    assert open_nodes == [*range(open_nodes[0], 0, -1), *[0] * (11 - open_nodes[0])]


def test_a_costly_question_goes_on_until_a_node_fits() -> None:
    """Where nothing fits so far, more nodes are judged in the same question, to a limit."""
    fleet = Fleet(policy.DEFAULT)
    split = A100.state_of([A100.catalogue.placement("1g.5gb", 4)])  # a 2g slice fits here, but not beside a 3g one
    for number in range(7):
        fleet.put(str(number), [(A100, Geometry.EMPTY if number in (2, 6) else split)] * 2)
    profiles = ("1g.10gb", "2g.10gb", "3g.20gb", "3g.20gb")
    joint = JointLosses(policy.DEFAULT, builders.request(*profiles).mix, Limits(additions=1, portions=3))
    answers = [["fits" if np.isfinite(x) else "open" if x < 0 else "no" for x in _asked(fleet, joint)] for _ in "123"]
    assert answers[0] == ["no", "no", "fits", "open", "open", "open", "open"]
    assert answers[1] == ["no", "no", "fits", "no", "no", "no", "open"]
    assert answers[2] == ["no", "no", "fits", "no", "no", "no", "fits"]


def test_a_request_too_complex_holds_up_no_other_node() -> None:
    """Where a request has too many shares, the nodes that sums cannot rule out are marked; the others are refused."""
    fleet = _fleet(2)
    fleet.put("hard", [(A100, Geometry.EMPTY)] * 16)
    losses = np.array(_losses(fleet, *MANY))
    assert Fleet.too_complex(losses).tolist() == [False, False, True]
    assert np.isposinf(losses[:2]).all()
    fleet.put("hard", [(A100, Geometry.EMPTY)] * 8)
    assert np.isposinf(_losses(fleet, *MANY)).all()


def test_a_gpu_beyond_tabulating_holds_up_no_other_node() -> None:
    """Nodes with a GPU that has too many states to tabulate are marked; the others are answered."""
    profiles = ("3g.20gb", "3g.20gb")
    small = geometry.compiled(A100.catalogue.restricted(frozenset(profiles)))
    limits = Limits(cells=A100.states)  # less than a table of the A100 has, and more than one of the small GPU
    fleet = Fleet(policy.DEFAULT)
    fleet.put("beyond", [(A100, Geometry.EMPTY), (small, Geometry.EMPTY)])
    fleet.put("tabulated", [(small, Geometry.EMPTY)] * 2)
    states = np.array([[1, 1 + A100.states], [1 + A100.states] * 2], dtype=np.int32)
    joint = JointLosses(policy.DEFAULT, builders.request(*profiles).mix, limits)
    losses = joint.of(np.arange(2), states, np.ones(2, dtype=np.int64), {A100: 1, small: 1 + A100.states})
    assert losses.tolist() == [joint_losses.TOO_COMPLEX, _alone(fleet, *profiles)[1]]


def test_a_table_too_large_is_refused() -> None:
    """A table of more losses than allowed is not made; the error names the GPU model."""
    counts = builders.request(*SOME).counts
    with pytest.raises(fitting.TooComplexError, match="a100-40gb: more than 1000 answers"):
        splits.losses(policy.DEFAULT, A100, counts, max_cells=1000)
    assert splits.losses(policy.DEFAULT, A100, counts)


def test_the_answers_to_many_requests_are_kept() -> None:
    """A hundred different mixes cost nothing when they come again, as long as no node changes."""
    fleet = _fleet(20)
    rows = fleet.rows_of(list(fleet.rows))
    asked = [
        builders.request(*["1g.5gb"] * ones, *["2g.10gb"] * twos, *["3g.20gb"] * threes)
        for ones, twos, threes in itertools.product(range(1, 6), range(1, 6), range(1, 5))
    ]
    first = [fleet.losses(request, rows).tolist() for request in asked]
    work = fleet.joint_work
    assert work > 0
    assert [fleet.losses(request, rows).tolist() for request in asked] == first
    assert fleet.joint_work == work
