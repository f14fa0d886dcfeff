"""Covering against slow and obvious answers: the fewest GPUs, found by trying every way to fill each one."""

from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.packing import covering, patterns
from allocator.planning.packing.covering import CoverDemand, Supply
from allocator.planning.packing.program import Program, SolveStatus, solve
from tests import plain_answers, plan_checks, strategies

SMALL = ("a30-24gb", "a100-40gb", "rtx-pro-6000-blackwell-96gb")


@cache
def _fewest(kind: Geometry, names: tuple[str, ...], left: tuple[int, ...]) -> int:
    """The fewest empty GPUs that hold so many slices."""
    if not any(left):
        return 0
    held = _held(kind, names)
    rests = {tuple(max(0, n - h) for n, h in zip(left, one, strict=True)) for one in held}
    return 1 + min(_fewest(kind, names, rest) for rest in rests if rest != left)


@cache
def _held(kind: Geometry, names: tuple[str, ...]) -> frozenset[tuple[int, ...]]:
    """What one GPU can hold of these profiles."""
    return frozenset(tuple(one[kind.profile_index[name]] for name in names) for one in kind.multisets())


@st.composite
def demands(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """A model and up to a dozen slices of it."""
    model = draw(st.sampled_from(SMALL))
    names = draw(st.lists(st.sampled_from(geometry.compiled(gpu_models.find(model)).profiles), min_size=1, max_size=12))
    return model, {name: names.count(name) for name in names}


@given(demands())
def test_no_plan_needs_fewer_gpus(asked: tuple[str, dict[str, int]]) -> None:
    """The plan's GPUs are exactly as many as trying everything finds, and the plan keeps all its promises."""
    model, demand = asked
    document = {"fleet": [{"model": model}], "demand": demand}
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    names = tuple(sorted(demand))
    kind = geometry.compiled(gpu_models.find(model))
    assert answer["optimal"]
    assert answer["gpus"][model] == _fewest(kind, names, tuple(demand[name] for name in names))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Plans with everything in them: prices, stocks, pinned GPUs, services, models."""
    models = draw(st.lists(strategies.models, min_size=1, max_size=3, unique=True))
    fleet = [
        {
            "model": model,
            "count": draw(st.one_of(st.just("unlimited"), st.integers(2, 12))),
            "price": draw(st.integers(0, 500)) / 100,
            "gpus_per_node": draw(st.integers(1, 8)),
        }
        for model in models
    ]
    offered = sorted({p.name for model in models for p in gpu_models.find(model).profiles})
    profiles = st.sampled_from(offered)
    document: dict[str, Any] = {
        "fleet": fleet,
        "demand": draw(st.dictionaries(profiles, st.integers(0, 9), max_size=4)),
        "goal": draw(st.sampled_from(["gpus", "cost"])),
        "pinned": [_pinned(draw, draw(st.sampled_from(models))) for _ in range(draw(st.integers(0, 2)))],
    }
    if draw(st.booleans()):
        options = [
            {"profile": name, "throughput": draw(st.integers(1, 400)) / 8}
            for name in draw(st.lists(profiles, min_size=1, max_size=3, unique=True))
        ]
        document["services"] = [{"name": "chat", "rate": draw(st.integers(1, 800)) / 4, "options": options}]
    return document


def _pinned(draw: st.DrawFn, model: str) -> dict[str, Any]:
    kind = geometry.compiled(gpu_models.find(model))
    chosen = draw(st.lists(st.sampled_from(kind.placements), max_size=4))
    slices: list[dict[str, Any]] = []
    there: list[Placement] = []
    for one in chosen:
        if kind.step[kind.state_of(there)][kind.placement_index[one]] >= 0:
            there.append(one)
            slices.append({"profile": one.profile, "start": one.start, "idle": draw(st.booleans())})
    return {"model": model, "slices": slices}


@given(documents())
def test_every_plan_keeps_its_promises(document: dict[str, Any]) -> None:
    """A plan is legal, serves everything, keeps the stock; and a refusal is right that more GPUs would do."""
    answer = plain_answers.plan(document)
    if answer["feasible"]:
        plan_checks.check(document, answer)
        return
    assert answer["feasible"] is False
    needed = answer["needed"]
    stock = {entry["model"]: entry["count"] for entry in document["fleet"] if entry["count"] != "unlimited"}
    assert any(needed[model] > count for model, count in stock.items())
    enough = [{**e, "count": max(needed[e["model"]], stock[e["model"]])} if e["model"] in stock else e
              for e in document["fleet"]]  # fmt: skip
    assert plain_answers.plan({**document, "fleet": enough})["feasible"]


@given(strategies.models, st.data())
def test_completions_of_a_state_are_exactly_what_fits(model: str, data: st.DataObject) -> None:
    """The maximal patterns beside a state cover whatever can be added to it, and each of them fits."""
    kind = geometry.compiled(gpu_models.find(model))
    state = data.draw(st.integers(0, kind.states - 1))
    names = tuple(data.draw(st.lists(st.sampled_from(kind.profiles), min_size=1, max_size=3, unique=True)))
    known = patterns.maximal(kind, state, names)
    for pattern in known:
        placed = patterns.arrange(kind, state, dict(zip(names, pattern, strict=True)))
        there = state
        for one in placed:
            there = int(kind.step[there, kind.placement_index[one]])
            assert there >= 0
    added, there = dict.fromkeys(names, 0), state
    for index in data.draw(st.lists(st.sampled_from(range(len(kind.placements))), max_size=8)):
        after = int(kind.step[there, index])
        if after >= 0 and kind.placements[index].profile in added:
            there = after
            added[kind.placements[index].profile] += 1
    assert any(patterns.covers(pattern, tuple(added.values())) for pattern in known)


@given(strategies.models, st.data())
def test_room_is_the_most_that_could_be_added(model: str, data: st.DataObject) -> None:
    """As many more slices as `room` says can be covered, and one more cannot."""
    kind = geometry.compiled(gpu_models.find(model))
    names = st.sampled_from(kind.profiles)
    supplies = [
        Supply(kind, data.draw(st.integers(0, kind.states - 1)), data.draw(st.integers(1, 2)), 0) for _ in range(2)
    ]
    demand = data.draw(st.dictionaries(names, st.integers(0, 2), max_size=2))
    profile = data.draw(names)
    room = covering.room(supplies, CoverDemand(demand), profile, 5)
    if room is None:
        assert covering.cover(supplies, CoverDemand(demand), 5).status is SolveStatus.INFEASIBLE
        return
    assert room.slices == room.at_most
    more = {**demand, profile: demand.get(profile, 0) + room.slices}
    assert covering.cover(supplies, CoverDemand(more), 5).status is SolveStatus.OPTIMAL
    more[profile] += 1
    assert covering.cover(supplies, CoverDemand(more), 5).status is SolveStatus.INFEASIBLE


@given(st.data())
def test_programs_are_solved_exactly(data: st.DataObject) -> None:
    """The solver's answer to a tiny program is the one that trying all values finds."""
    program = Program()
    uppers = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    columns = [program.column(upper, data.draw(st.integers(0, 5))) for upper in uppers]
    for _ in range(data.draw(st.integers(0, 3))):
        terms = [(c, data.draw(st.integers(-3, 3))) for c in columns]
        low = data.draw(st.none() | st.integers(-4, 6))
        program.row(terms, low, data.draw(st.none() | st.integers(0, 8)))
    tried: list[tuple[int, ...]] = [()]
    for upper in uppers:
        tried = [(*values, v) for values in tried for v in range(upper + 1)]
    costs = [program.cost(values) for values in tried if program.satisfied(values)]
    found = solve(program, 5)
    if not costs:
        assert found.status is SolveStatus.INFEASIBLE
    else:
        assert (found.status, found.cost, found.bound) == (SolveStatus.OPTIMAL, min(costs), min(costs))
