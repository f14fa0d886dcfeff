"""Plans: proven numbers of GPUs, legal layouts, and an honest no."""

from typing import Any

import numpy as np
import pytest

from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from allocator.planning.packing import patterns
from tests import plain_answers, plan_checks

FIVE = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
MIXES = {
    "uniform": (0.2, 0.2, 0.2, 0.2, 0.2),
    "skew-small": (0.4, 0.25, 0.2, 0.1, 0.05),
    "skew-big": (0.05, 0.1, 0.2, 0.25, 0.4),
    "bimodal": (0.35, 0.1, 0.1, 0.1, 0.35),
    "no 4g/7g": (0.35, 0.25, 0.4, 0.0, 0.0),
}


def a100(**changes: Any) -> dict[str, Any]:
    return {"model": "a100-40gb", **changes}


def test_five_profiles_need_twelve_patterns_and_six_need_twenty_eight() -> None:
    """The undominated patterns of a seven-slice GPU are twelve, and twenty-eight with the double-memory 1g."""
    kind = geometry.compiled(gpu_models.find("a100-40gb"))
    assert len(patterns.maximal(kind, kind.EMPTY, FIVE)) == 12
    assert len(patterns.maximal(kind, kind.EMPTY, (*FIVE, "1g.10gb"))) == 28
    assert (
        len(patterns.maximal(geometry.compiled(gpu_models.find("a30-24gb")), 0, ("1g.6gb", "2g.12gb", "4g.24gb"))) == 4
    )


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("number", [100, 1000])
def test_a_known_demand_is_planned_without_a_gpu_too_many(mix: str, number: int) -> None:
    """Demands drawn from the published mixes are planned at the proven optimum."""
    drawn = np.random.default_rng(7).multinomial(number, MIXES[mix])
    document = {"fleet": [a100()], "demand": {p: int(n) for p, n in zip(FIVE, drawn, strict=True)}}
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    assert answer["optimal"]
    assert answer["gpus"]["a100-40gb"] == answer["lower_bound"]


def test_nothing_asked_needs_nothing() -> None:
    """A demand of nothing needs no GPU."""
    answer = plain_answers.plan({"fleet": [a100()], "demand": {"1g.5gb": 0}})
    assert answer["gpus"] == {"a100-40gb": 0}
    assert answer["layouts"] == []
    assert answer["mig_parted"] == ""


def test_pinned_slices_stay_and_do_not_serve() -> None:
    """A pinned slice stays at its start, counts as a GPU in use and serves nobody else."""
    pinned = [{"model": "a100-40gb", "slices": [{"profile": "3g.20gb", "start": 4}]}]
    document = {"fleet": [a100()], "demand": {"4g.20gb": 1, "3g.20gb": 1}, "pinned": pinned}
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    assert answer["gpus"] == {"a100-40gb": 2}
    assert answer["new_gpus"] == {"a100-40gb": 1}
    assert {"profile": "3g.20gb", "start": 4, "pinned": True} in answer["layouts"][0]["slices"]


def test_idle_pinned_slices_serve() -> None:
    """A pinned slice that is idle serves the demand where it stands."""
    pinned = [{"model": "a100-40gb", "slices": [{"profile": "3g.20gb", "start": 0, "idle": True}], "count": 2}]
    document = {"fleet": [a100()], "demand": {"3g.20gb": 4}, "pinned": pinned}
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    assert answer["gpus"] == {"a100-40gb": 2}
    assert answer["stranded_memory_slices"] == 0


def test_the_cheaper_model_is_bought_when_cost_counts() -> None:
    """Goal cost takes three cheap GPUs over two dear ones, goal gpus takes the two."""
    fleet = [a100(price=1), {"model": "a100-80gb", "price": 2}]
    document: dict[str, Any] = {"fleet": fleet, "demand": {"1g.10gb": 12}}
    fewest = plain_answers.plan(document)
    cheapest = plain_answers.plan({**document, "goal": "cost"})
    plan_checks.check(document, fewest)
    plan_checks.check({**document, "goal": "cost"}, cheapest)
    assert sum(fewest["gpus"].values()) == 2
    assert (cheapest["gpus"], cheapest["cost"]) == ({"a100-40gb": 3, "a100-80gb": 0}, 3)


def test_among_equal_numbers_of_gpus_the_cheaper_plan_wins() -> None:
    """Where two plans need the same number of GPUs, goal gpus takes the cheaper one."""
    fleet = [{"model": "h100-80gb", "price": 3.5}, {"model": "a100-80gb", "price": 2.25}]
    answer = plain_answers.plan({"fleet": fleet, "demand": {"3g.40gb": 4}})
    assert answer["gpus"] == {"h100-80gb": 0, "a100-80gb": 2}
    assert answer["cost"] == 4.5


def test_services_are_chosen_jointly_with_the_packing() -> None:
    """A service takes the profile that fits beside the rest, even if another profile has more throughput per slice."""
    service = {
        "name": "chat",
        "rate": 200,
        "options": [{"profile": "4g.20gb", "throughput": 110}, {"profile": "3g.20gb", "throughput": 100}],
    }
    document = {"fleet": [a100()], "demand": {"4g.20gb": 2}, "services": [service]}
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    assert answer["gpus"] == {"a100-40gb": 2}
    assert answer["services"] == {"chat": {"3g.20gb": 2}}


def test_an_option_may_insist_on_a_model() -> None:
    """A profile name that two models share can be asked for on one of them."""
    option = {"profile": "1g.10gb", "throughput": 10, "model": "h100-80gb"}
    document = {
        "fleet": [a100(price=1), {"model": "h100-80gb", "price": 9}],
        "demand": {"1g.10gb": 4},
        "services": [{"name": "chat", "rate": 20, "options": [option]}],
        "goal": "cost",
    }
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    assert answer["gpus"] == {"a100-40gb": 0, "h100-80gb": 1}


def test_models_are_sized_and_packed() -> None:
    """A language model's replicas get slices with at least its memory, on whichever model packs best."""
    llama = {"name": "llama-3.1-8b", "precision": "fp8", "context": "32k", "replicas": 7}
    document = {"fleet": [{"model": "a100-80gb"}], "models": [llama]}
    answer = plain_answers.plan(document)
    plan_checks.check(document, answer)
    assert answer["needs_mib"] == {"llama-3.1-8b": 14767}
    assert sum(answer["services"]["llama-3.1-8b"].values()) == 7
    assert set(answer["services"]["llama-3.1-8b"]) <= {"1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"}
    assert answer["gpus"] == {"a100-80gb": 2}


def test_a_stock_too_small_says_what_would_do() -> None:
    """A demand past the stock is refused with the number of GPUs that would hold it."""
    answer = plain_answers.plan({"fleet": [a100(count=2)], "demand": {"7g.40gb": 5}})
    assert answer["feasible"] is False
    assert answer["needed"] == {"a100-40gb": 5}
    assert "5 × a100-40gb would do" in answer["reason"]


def test_headroom_counts_what_the_stock_still_takes() -> None:
    """Headroom is how many more of a profile fit on the stock once the demand is served."""
    document = {"fleet": [a100(count=3)], "demand": {"3g.20gb": 3}, "headroom": ["4g.20gb", "1g.5gb"]}
    answer = plain_answers.plan(document)
    assert answer["headroom"]["4g.20gb"] == {"slices": 3, "optimal": True, "at_most": 3}
    assert answer["headroom"]["1g.5gb"]["slices"] == 12


def test_headroom_of_an_endless_stock_is_on_the_planned_gpus() -> None:
    """Where the stock has no end, headroom is counted on the GPUs that the plan uses."""
    answer = plain_answers.plan({"fleet": [a100()], "demand": {"4g.20gb": 2}, "headroom": "3g.20gb"})
    assert answer["headroom"] == {"3g.20gb": {"slices": 2, "optimal": True, "at_most": 2}}


def test_stranded_slices_are_those_no_demanded_profile_can_use() -> None:
    """Two 3g slices leave no memory free, one 4g leaves four slices that another 4g cannot use."""
    assert plain_answers.plan({"fleet": [a100()], "demand": {"3g.20gb": 2}})["stranded_memory_slices"] == 0
    assert plain_answers.plan({"fleet": [a100()], "demand": {"4g.20gb": 1}})["stranded_memory_slices"] == 4


def test_ten_thousand_slices_over_three_models_state_their_gap() -> None:
    """A large plan over three models with 200 pinned GPUs is legal, and optimal or with a gap."""
    document = large_document()
    for limit in (2, 0.001):
        answer = plain_answers.plan(document, limit)
        plan_checks.check(document, answer)
        assert answer["gap"] < 0.02


def large_document() -> dict[str, Any]:
    """10,000 slices, three models, 200 pinned GPUs in random states."""
    draw = np.random.default_rng(3)
    names = ("a100-40gb", "a100-80gb", "h100-80gb")
    kinds = [geometry.compiled(gpu_models.find(name)) for name in names]
    pinned = []
    for _ in range(200):
        kind = kinds[draw.integers(3)]
        there: list[Placement] = []
        for _ in range(draw.integers(1, 4)):
            legal = np.flatnonzero(kind.step[kind.state_of(there)] >= 0)
            if len(legal):
                there.append(kind.placements[int(draw.choice(legal))])
        slices = [{"profile": one.profile, "start": one.start} for one in there]
        pinned.append({"model": kind.catalogue.model, "slices": slices})
    profiles = sorted({p.name for kind in kinds for p in kind.catalogue.profiles if p.plain})
    drawn = draw.multinomial(10_000, draw.dirichlet([1] * len(profiles)))
    fleet = [{"model": name, "price": price} for name, price in zip(names, (1.5, 2.0, 3.1), strict=True)]
    demand = {p: int(n) for p, n in zip(profiles, drawn, strict=True)}
    return {"fleet": fleet, "demand": demand, "pinned": pinned, "goal": "cost"}


def test_the_same_question_gets_the_same_answer() -> None:
    """A plan is deterministic."""
    document = {"fleet": [a100(price=2)], "demand": {"1g.5gb": 13, "2g.10gb": 7, "3g.20gb": 5}, "goal": "cost"}
    assert plain_answers.plan(document) == plain_answers.plan(document)


def test_headroom_counts_idle_slices_that_nobody_uses() -> None:
    """An idle slice that the demand leaves over is headroom: a demand for it would be served."""
    pinned = [{"model": "a100-40gb", "slices": [{"profile": "7g.40gb", "start": 0, "idle": True}]}]
    document = {
        "fleet": [{"model": "a100-40gb", "count": 1}],
        "pinned": pinned,
        "demand": {},
        "headroom": "7g.40gb",
    }
    assert plain_answers.plan(document)["headroom"]["7g.40gb"] == {"slices": 1, "optimal": True, "at_most": 1}
    served = {**document, "demand": {"7g.40gb": 1}}
    assert plain_answers.plan(served)["headroom"]["7g.40gb"]["slices"] == 0
