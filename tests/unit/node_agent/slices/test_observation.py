"""An observation is one moment, and what follows from it is worked out once."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from node_agent.slices.observation import SOURCES, Observation
from tests.unit.node_agent.agent_on_node import AgentOnNode


def busy(directory: Path) -> AgentOnNode:
    """A node with a running pod, a promised slice and a foreign one."""
    node = AgentOnNode(directory)
    node.foreign("1g.5gb", 6)
    running = node.bind("running", "1g.5gb", at=(node.place("1g.5gb", 0),))
    node.step()
    node.admit(running)
    node.bind("waiting", "2g.10gb", at=(node.place("2g.10gb", 4),))
    node.step()
    return node


def derived(observation: Observation) -> dict[str, object]:
    """Everything that follows from an observation."""
    return {name: getattr(observation, name) for name in SOURCES}


def test_all_that_is_worked_out_has_its_sources_named() -> None:
    """Every cached value of an observation stands in the table that says what it follows from."""
    assert {name for name, value in vars(Observation).items() if isinstance(value, cached_property)} == SOURCES.keys()


def test_while_nothing_changes_it_is_the_same_observation(tmp_path: Path) -> None:
    """Asked twice, the state answers with one observation, whatever was worked out."""
    state = busy(tmp_path).state
    assert state.observe() is state.observe()


def test_another_listing_that_says_the_same_changes_nothing_that_was_worked_out(tmp_path: Path) -> None:
    """PodResources answers every two seconds; only an answer that says something new has consequences."""
    node = busy(tmp_path)
    before = node.state.observe()
    known = derived(before)
    node.now += 1.0
    node.hear()
    node.state.ingest()
    after = node.state.observe()
    assert after is not before
    assert after.listing is not before.listing
    assert all(getattr(after, name) is value for name, value in known.items())


def test_what_is_kept_after_a_change_is_what_would_be_worked_out(tmp_path: Path) -> None:
    """After a slice changed hands, no value is kept that does not hold any more."""
    node = busy(tmp_path)
    derived(node.state.observe())
    node.admit(next(pod.view for pod in node.pods.values() if pod.view.name == "waiting"))
    kept = node.state.observe()
    assert derived(kept) == derived(replace(kept))
    assert not kept.promised
