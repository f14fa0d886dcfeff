"""Shelf: the stories that are shipped, by name, and which of them can be told on a fleet. Read by the demo."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from allocator import errors
from allocator.mig import gpu_models
from simulator.cluster.nodes import SimulatedNode
from simulator.scenarios.scenario import Scenario
from simulator.workloads import translation

_STORIES = Path(__file__).with_name("stories")


@cache
def shipped() -> Mapping[str, Scenario]:
    """All stories, in the menu's order."""
    read = [
        msgspec.structs.replace(msgspec.yaml.decode(path.read_bytes(), type=Scenario), name=path.stem)
        for path in _STORIES.glob("*.yaml")
    ]
    return {scenario.name: scenario for scenario in sorted(read, key=lambda scenario: scenario.order)}


def why_not(scenario: Scenario, fleet: Sequence[SimulatedNode], *, real_agents: bool) -> str:
    """Why a story cannot be told on a fleet of equal nodes, in words; empty if it can."""
    catalogue, gpus = gpu_models.find(fleet[0].gpus[0].model), sum(len(node.gpus) for node in fleet)
    missing = sorted(name for name in scenario.profiles if translation.like(name, catalogue) is None)
    if missing:
        return f"GPUs {catalogue.model} have nothing like {', '.join(missing)}"
    if gpus < scenario.least_gpus or len(fleet) < scenario.least_nodes:
        return f"it needs {scenario.least_nodes} nodes and {scenario.least_gpus} GPUs at least"
    if scenario.needs_drivers and not real_agents:
        return "it needs real node agents: use at most 16 nodes"
    return ""


def playable(fleet: Sequence[SimulatedNode], *, real_agents: bool) -> Mapping[str, Scenario]:
    """The stories that can be told there."""
    return {
        name: scenario for name, scenario in shipped().items() if not why_not(scenario, fleet, real_agents=real_agents)
    }


def find(name: str, fleet: Sequence[SimulatedNode], *, real_agents: bool) -> Scenario:
    """The story of that name. Raises SettingsError where there is none, or it cannot be told there."""
    scenario = shipped().get(name)
    if scenario is None:
        raise errors.SettingsError("scenario", name, f"use one of {', '.join(shipped())}")
    why = why_not(scenario, fleet, real_agents=real_agents)
    if why:
        raise errors.SettingsError("scenario", name, why)
    return scenario
