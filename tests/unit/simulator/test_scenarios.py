"""The shipped stories are sound: what they wait for is there, and the page of the documentation names them."""

import re
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from simulator.cluster import nodes
from simulator.scenarios import shelf
from simulator.scenarios.scenario import ApproveMoves, BreakGpu, DrainNode, ProposeMoves, Run, Scale, Thin

PAGE = Path(__file__).parents[3] / "docs" / "demo.md"


@pytest.mark.parametrize("name", shelf.shipped())
def test_a_story_names_only_workloads_that_it_has(name: str) -> None:
    """What a step does to a workload, or waits for, is of one that this step or an earlier one has begun."""
    begun: set[str] = set()
    for step in shelf.shipped()[name].steps:
        begun |= {action.workload for action in step.actions if isinstance(action, Run)}
        used = (Run, Scale, Thin, ProposeMoves, ApproveMoves, BreakGpu, DrainNode)
        assert {action.workload for action in step.actions if isinstance(action, used)} <= begun
        assert set(step.until) <= begun
        assert step.until


def test_the_page_lists_every_story() -> None:
    """docs/demo.md has the stories in the menu's order, with their titles."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows[: len(shelf.shipped())] == [(each.name, each.title) for each in shelf.shipped().values()]


@pytest.mark.parametrize("model", gpu_models.known())
def test_each_model_has_stories(model: str) -> None:
    """On GPUs with seven slices all of them can be told; on others those whose profiles there are."""
    fleet = nodes.uniform(2, 4, model)
    told = set(shelf.playable(fleet, real_agents=True))
    assert {"fill", "fragment", "gang", "ill-gpu", "drain"} <= told
    assert (told == set(shelf.shipped())) is (gpu_models.find(model).compute_slices == 7)
    assert set(shelf.shipped()) - set(shelf.playable(fleet, real_agents=False)) >= {"ill-gpu"}
