"""Bad plan documents: each is refused with the field, the value and a fix."""

from typing import Any

import pytest

from allocator import errors
from tests import plain_answers
from tests.builders import catalogue

FLEET = [{"model": "a100-40gb"}]
OPTION = {"profile": "3g.20gb", "throughput": 100}

BAD: list[tuple[Any, str, str]] = [
    (None, "document", "write a mapping"),
    ({"demand": {}}, "fleet", "is missing"),
    ({"fleet": FLEET}, "demand", "is missing"),
    ({"fleet": FLEET, "demands": {}}, "demands", "unknown key"),
    ({"fleet": [], "demand": {}}, "fleet", "is empty"),
    ({"fleet": {}, "demand": {}}, "fleet", "write a list"),
    ({"fleet": ["a100"], "demand": {}}, "fleet[0]", "write a mapping"),
    ({"fleet": [{"count": 1}], "demand": {}}, "fleet[0].model", "is missing"),
    ({"fleet": [{"model": "a100"}], "demand": {}}, "fleet[0].model", "use one of a30-24gb"),
    ({"fleet": [{"model": "rtx-pro-4500-blackwell-32gb"}], "demand": {}}, "fleet[0].model", "live GPU"),
    ({"fleet": [*FLEET, {"model": "A100-40GB"}], "demand": {}}, "fleet[1].model", "merge"),
    ({"fleet": [{"model": "a100-40gb", "count": -1}], "demand": {}}, "fleet[0].count", "whole number"),
    ({"fleet": [{"model": "a100-40gb", "count": 1.5}], "demand": {}}, "fleet[0].count", "whole number"),
    ({"fleet": [{"model": "a100-40gb", "count": True}], "demand": {}}, "fleet[0].count", "whole number"),
    ({"fleet": [{"model": "a100-40gb", "count": "many"}], "demand": {}}, "fleet[0].count", "unlimited"),
    ({"fleet": [{"model": "a100-40gb", "price": -2}], "demand": {}}, "fleet[0].price", "at least 0"),
    ({"fleet": [{"model": "a100-40gb", "price": float("nan")}], "demand": {}}, "fleet[0].price", "number"),
    ({"fleet": [{"model": "a100-40gb", "price": float("inf")}], "demand": {}}, "fleet[0].price", "number"),
    ({"fleet": FLEET, "demand": {}, "goal": "cost"}, "fleet[0].price", "needs a price"),
    ({"fleet": FLEET, "demand": {}, "goal": "speed"}, "goal", "gpus, cost"),
    ({"fleet": FLEET, "demand": {"9g.90gb": 1}}, "demand.9g.90gb", "use one of 1g.5gb"),
    ({"fleet": FLEET, "demand": {"1g.5gb": -1}}, "demand.1g.5gb", "whole number"),
    ({"fleet": FLEET, "demand": {"1g.5gb": 10**7}}, "demand.1g.5gb", "1000000"),
    ({"fleet": FLEET, "demand": {"1g.5gb": "3"}}, "demand.1g.5gb", "whole number"),
    ({"fleet": FLEET, "demand": [1]}, "demand", "write a mapping"),
    ({"fleet": [{"model": "a100-40gb", "count": 0}], "demand": {"1g.5gb": 1}}, "demand.1g.5gb", "count is 0 for a100"),
    (
        {"fleet": FLEET, "services": [{"name": "a", "rate": 1, "options": [OPTION, {**OPTION, "throughput": 7}]}]},
        "services[0].options[1].profile",
        "keep one of them",
    ),
    ({"fleet": FLEET, "services": [{"name": "a", "rate": 1, "options": []}]}, "services[0].options", "is empty"),
    ({"fleet": FLEET, "services": [{"name": "a", "rate": 0, "options": [OPTION]}]}, "services[0].rate", "above 0"),
    ({"fleet": FLEET, "services": [{"name": "", "rate": 1, "options": [OPTION]}]}, "services[0].name", "text"),
    ({"fleet": FLEET, "services": [{"rate": 1, "options": [OPTION]}]}, "services[0].name", "is missing"),
    (
        {"fleet": FLEET, "services": [{"name": "a", "rate": 1, "options": [OPTION]}] * 2},
        "services[1].name",
        "distinct",
    ),
    (
        {"fleet": FLEET, "services": [{"name": "a", "rate": 1, "options": [{**OPTION, "throughput": 0}]}]},
        "services[0].options[0].throughput",
        "above 0",
    ),
    (
        {"fleet": FLEET, "services": [{"name": "a", "rate": 1, "options": [{**OPTION, "model": "h100-80gb"}]}]},
        "services[0].options[0].model",
        "a100-40gb",
    ),
    (
        {"fleet": FLEET, "services": [{"name": "a", "rate": 10**8, "options": [{**OPTION, "throughput": 0.01}]}]},
        "services[0].rate",
        "instances",
    ),
    ({"fleet": FLEET, "pinned": [{"model": "h100-80gb", "slices": []}], "demand": {}}, "pinned[0].model", "a100-40gb"),
    (
        {
            "fleet": FLEET,
            "pinned": [{"model": "a100-40gb", "slices": [{"profile": "4g.20gb", "start": 4}]}],
            "demand": {},
        },
        "pinned[0].slices[0].start",
        "use one of 0",
    ),
    (
        {
            "fleet": FLEET,
            "demand": {},
            "pinned": [
                {
                    "model": "a100-40gb",
                    "slices": [{"profile": "4g.20gb", "start": 0}, {"profile": "1g.5gb", "start": 3}],
                }
            ],
        },
        "pinned[0].slices[1]",
        "cannot exist",
    ),
    (
        {
            "fleet": [{"model": "a100-40gb", "count": 1}],
            "demand": {},
            "pinned": [{"model": "a100-40gb", "slices": [], "count": 2}],
        },
        "pinned",
        "pin fewer",
    ),
    ({"fleet": FLEET, "demand": {}, "headroom": ["8g.80gb"]}, "headroom", "no GPU"),
    ({"fleet": FLEET, "demand": {}, "headroom": 3}, "headroom", "write a list"),
    ({"fleet": FLEET, "demand": {1: 1}}, "demand", "keys must be text"),
    ({"fleet": [{"model": "a100-40gb"}] * 65, "demand": {}}, "fleet", "at most 64"),
    ({"fleet": FLEET, "demand": {}, "pinned": [{"model": 1, "slices": []}]}, "pinned[0].model", "text"),
    (
        {
            "fleet": FLEET,
            "demand": {},
            "pinned": [{"model": "a100-40gb", "slices": [{"profile": "1g.5gb", "start": 0, "idle": "yes"}]}],
        },
        "pinned[0].slices[0].idle",
        "true or false",
    ),
    ({"fleet": [{"model": "a100-40gb", "price": "2"}], "demand": {}}, "fleet[0].price", "number"),
    ({"fleet": [{"model": "a100-40gb", "price": 1e30}], "demand": {}}, "fleet[0].price", "number"),
]

MODEL = {"name": "llama-3.1-8b", "precision": "bf16", "context": "4k", "replicas": 1}

BAD_MODELS: list[tuple[dict[str, Any], str, str]] = [
    ({**MODEL, "name": "gpt-99"}, "models[0].name", "llama-3.1-8b"),
    ({**MODEL, "precision": "fp7"}, "models[0].precision", "int4"),
    ({**MODEL, "context": "lots"}, "models[0].context", "whole number"),
    ({**MODEL, "context": 0}, "models[0].context", "whole number"),
    ({**MODEL, "replicas": 0}, "models[0].replicas", "whole number"),
    ({**MODEL, "layers": 32}, "models[0].parameters_b", "is missing"),
    ({**MODEL, "utilisation": 1.5}, "models[0].utilisation", "at most 1"),
    ({**MODEL, "kv_precision": "int4"}, "models[0].kv_precision", "fp8"),
    ({**MODEL, "name": "llama-3.1-70b"}, "models[0]", "7g.40gb"),
    ({**MODEL, "quantised": True}, "models[0].quantised", "unknown key"),
]


@pytest.mark.parametrize(("document", "field", "fix"), BAD)
def test_a_bad_document_is_refused_by_field(document: Any, field: str, fix: str) -> None:
    """A document that is not valid raises InputError naming the field and a fix."""
    with pytest.raises(errors.InputError) as caught:
        plain_answers.plan(document)
    assert caught.value.field == field
    assert fix in caught.value.fix


@pytest.mark.parametrize(("model", "field", "fix"), BAD_MODELS)
def test_a_bad_model_is_refused_by_field(model: dict[str, Any], field: str, fix: str) -> None:
    """A language model that cannot be sized, or fits no slice of the fleet, raises InputError naming field and fix."""
    with pytest.raises(errors.InputError) as caught:
        plain_answers.plan({"fleet": FLEET, "models": [model]})
    assert caught.value.field == field
    assert fix in str(caught.value)


def test_two_models_need_labels_of_their_own() -> None:
    """The same model asked for twice needs a label per entry, and a service may not share it."""
    with pytest.raises(errors.InputError, match="label"):
        plain_answers.plan({"fleet": FLEET, "models": [MODEL, MODEL]})
    service = {"name": "llama-3.1-8b", "rate": 1, "options": [OPTION]}
    with pytest.raises(errors.InputError, match="label"):
        plain_answers.plan({"fleet": FLEET, "models": [MODEL], "services": [service]})


def test_sizes_that_nobody_published_are_said_to_be_so() -> None:
    """On a GPU without published memory sizes a model cannot be sized, and the error says why."""
    with pytest.raises(errors.InputError, match="nobody has published"):
        plain_answers.plan({"fleet": [{"model": "b300-269gb"}], "models": [MODEL]})


def test_the_largest_slice_is_not_named_where_larger_ones_have_no_published_memory() -> None:
    """What nobody has published is called unknown, not less: a B200's 3g may hold what its 2g cannot."""
    model = {"name": "llama-3.1-70b", "precision": "fp8", "context": "32k", "replicas": 1}
    with pytest.raises(errors.InputError) as caught:
        plain_answers.plan({"fleet": [{"model": "b200-180gb"}], "models": [model]})
    assert "largest" not in caught.value.fix
    assert "2g.45gb of b200-180gb has 45,312 MiB" in caught.value.fix
    assert "3g.90gb of b200-180gb, 4g.90gb of b200-180gb, 7g.180gb of b200-180gb" in caught.value.fix


def test_the_largest_slice_is_named_where_all_memory_is_published() -> None:
    """On GPUs of which everything is known, the error says which slice is the largest, GH200 included."""
    model = {"name": "llama-3.1-70b", "precision": "bf16", "context": "32k", "replicas": 1}
    with pytest.raises(errors.InputError, match=r"the largest slice of the fleet is 7g\.96gb of h100-96gb-gh200"):
        plain_answers.plan({"fleet": [{"model": "h100-96gb-gh200"}], "models": [model]})


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "soon"])
def test_a_bad_time_limit_is_refused(limit: Any) -> None:
    """A time limit must be a number above 0."""
    with pytest.raises(errors.InputError, match="time limit"):
        plain_answers.plan({"fleet": FLEET, "demand": {}}, limit)


def test_numbers_past_exactness_are_refused() -> None:
    """Numbers that the solver's precision cannot hold are refused instead of rounded."""
    options = [{"profile": p, "throughput": 0.000001 + 1e3 * i} for i, p in enumerate(["1g.5gb", "2g.10gb"])]
    fleet = [{"model": "a100-40gb", "price": 123456.789012}, {"model": "a30-24gb", "price": 0.000001}]
    many = {"1g.5gb": 10**6, "1g.6gb": 10**6}
    with pytest.raises(errors.InputError, match="size of the question"):
        plain_answers.plan({"fleet": fleet, "demand": many, "goal": "cost"})
    with pytest.raises(errors.InputError, match="instances"):
        plain_answers.plan({"fleet": FLEET, "services": [{"name": "a", "rate": 10**9, "options": options}]})


def test_a_live_catalogue_is_planned_with() -> None:
    """A GPU model outside the table can be planned for with the catalogue that a live GPU reports."""
    live = catalogue(4, 4).profile("1g.8gb", (0, 1, 2, 3)).profile("2g.16gb", (0, 2), memory=2, compute=2).build()
    answer = plain_answers.plan(
        {"fleet": [{"model": "made-up"}], "demand": {"1g.8gb": 3, "2g.16gb": 3}}, 5, {"made-up": live}
    )
    assert answer["gpus"] == {"made-up": 3}
