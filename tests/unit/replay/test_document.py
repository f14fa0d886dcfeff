"""Simulations asked for as documents: what they may say, and what is refused."""

from typing import Any

import pytest

from allocator import errors
from replay import config
from replay.config import RunConfig
from replay.types import SEEDS, Discipline, SimulationDocument
from scheduler.planner.port import JobContext
from simulator import planner_tasks
from tests import plain_answers

TERMS = JobContext(None, {}, None, 60.0)


def test_an_empty_document_is_the_command_without_flags() -> None:
    """Defaults are those of the configuration, with few runs and no other processes."""
    assert config.of_document({}) == RunConfig(seeds=SEEDS, workers=1)


def test_every_key_reaches_the_configuration() -> None:
    """What a document says is what is simulated."""
    asked: dict[str, Any] = {
        "mix": {"1g.5gb": 3, "7g.40gb": 1.5},
        "load": 0.9,
        "lifetime_s": 60,
        "warmup": 1,
        "horizon": 5,
        "lifetime_error": 0.5,
        "restart_s": 2,
        "model": "A100-40GB",
        "gpus": 10,
        "policy": "fgd",
        "weights": {"1g.5gb": 1},
        "discipline": "queue",
        "moves": 2,
        "patience_s": 30,
        "reservations": 4,
        "seeds": 3,
        "first_seed": 7,
    }
    assert asked.keys() == set(SimulationDocument.__struct_fields__)
    assert config.of_document(asked) == RunConfig(
        **asked | {"model": "a100-40gb", "discipline": Discipline.QUEUE, "workers": 1}
    )


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ([], "document"),
        ({"trace": "/etc/passwd"}, "trace"),
        ({"mix": "/etc/passwd"}, "mix"),
        ({"mix": {"1g.5gb": -1}}, "mix.1g.5gb"),
        ({"mix": {"1g.5gb": float("nan")}}, "mix.1g.5gb"),
        ({"weights": [1]}, "weights"),
        ({"weights": {"1g.5gb": 1}}, "weights"),
        ({"load": "much"}, "load"),
        ({"gpus": 0}, "gpus"),
        ({"gpus": 10**9}, "gpus"),
        ({"moves": 99}, "moves"),
        ({"seeds": True}, "seeds"),
        ({"policy": "best"}, "policy"),
        ({"discipline": "drop"}, "discipline"),
        ({"model": ""}, "model"),
        ({"backend": "dask"}, "backend"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field(asked: Any, field: str) -> None:
    """A wrong value, an unknown key, and anything that would read a file names the field."""
    with pytest.raises(errors.InputError) as refusal:
        config.of_document(asked)
    assert refusal.value.field == field


@pytest.mark.parametrize("asked", [{"load": 0}, {"horizon": 1, "warmup": 2}, {"mix": {"1g.5gb": 0}}, {"mix": {"x": 1}}])
def test_what_the_workload_cannot_be_is_refused(asked: Any) -> None:
    """Rules that take more than one field are checked too."""
    with pytest.raises(errors.InputError):
        planner_tasks.simulate(asked, TERMS)


def test_the_task_simulates() -> None:
    """The planner's task answers as the simulation does."""
    answer = plain_answers.plain(planner_tasks.simulate({"gpus": 2, "seeds": 1, "warmup": 1, "horizon": 3}, TERMS))
    assert (answer["gpus"], answer["seeds"], answer["policy"]) == (2, [0], "mfi")
    assert 0 < answer["metrics"]["gpc_acceptance"]["mean"] <= 1
