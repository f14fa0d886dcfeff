"""PodDisruptionBudgets cover the pods that Kubernetes would say they cover."""

import dataclasses
from typing import Any

import msgspec
import pytest

from scheduler.cache import budgets, pod_labels
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.known_pod import KnownPod


def known(name: str, namespace: str = "default", **labels: str) -> KnownPod:
    """A pod with labels; `_` in a key is spelled `-`."""
    spelled = {key.replace("_", "-"): value for key, value in labels.items()}
    return KnownPod(f"uid-{name}", namespace, name, "n", 0, True, None, labels=pod_labels.of(spelled))


PODS = [
    known("a", app="chat", tier="front"),
    known("b", app="chat"),
    known("c", app="batch"),
    known("d"),
    known("e", namespace="other", app="chat"),
]


def budget(selector: Any, status: Any = None, generation: int = 1) -> PodDisruptionBudget:
    """A budget as the API server gives it."""
    document = {
        "metadata": {"name": "pdb", "namespace": "default", "generation": generation},
        "spec": {"selector": selector, "maxUnavailable": 1},
        "status": status or {"disruptionsAllowed": 1, "observedGeneration": 1},
    }
    return msgspec.convert(document, PodDisruptionBudget)


def groups() -> budgets.Groups:
    """The pods, in groups."""
    made = budgets.Groups()
    for pod in PODS:
        made.add(pod)
    return made


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        (None, ""),
        ({}, "abcd"),
        ({"matchLabels": {"app": "chat"}}, "ab"),
        ({"matchLabels": {"app": "chat", "tier": "front"}}, "a"),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["chat", "batch"]}]}, "abc"),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["chat"]}]}, "cd"),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, "a"),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "d"),
        (
            {
                "matchLabels": {"app": "chat"},
                "matchExpressions": [{"key": "tier", "operator": "DoesNotExist", "values": None}],
            },
            "b",
        ),
    ],
)
async def test_a_selector_covers_what_it_selects_in_its_namespace(selector: Any, names: str) -> None:
    """All parts of a selector must match; none covers nothing, an empty one the whole namespace."""
    found = await groups().covered(budget(selector))
    assert found.pods == tuple(f"uid-{name}" for name in names)
    assert (found.namespace, found.name, found.disruptions_allowed) == ("default", "pdb", 1)


@pytest.mark.parametrize(
    ("status", "generation", "allowed"),
    [
        ({"disruptionsAllowed": 3, "observedGeneration": 2}, 2, 3),
        ({"disruptionsAllowed": 3, "observedGeneration": 1}, 2, 0),
        ({"disruptionsAllowed": 3}, 1, 0),
        ({"disruptionsAllowed": -1, "observedGeneration": 1}, 1, 0),
    ],
)
async def test_a_budget_not_looked_at_since_it_changed_allows_nothing(
    status: Any, generation: int, allowed: int
) -> None:
    """Disruptions count only if the controller has seen the budget as it is."""
    found = await groups().covered(budget({}, status, generation))
    assert found.disruptions_allowed == allowed


async def test_a_pod_whose_labels_are_not_known_is_covered() -> None:
    """Every budget of its namespace that selects anything is taken to cover a pod with too many labels to keep."""
    unknown = KnownPod("uid-u", "default", "u", "n", 0, True, None, labels=None)
    made = groups()
    made.add(unknown)
    assert (await made.covered(budget({"matchLabels": {"app": "batch"}}))).pods == ("uid-c", "uid-u")
    assert budgets.Allowance([budget({"matchLabels": {"app": "x"}}, {"disruptionsAllowed": 0})]).violated_by(unknown)
    elsewhere = dataclasses.replace(unknown, namespace="other")
    assert not budgets.Allowance([budget({})]).violated_by(elsewhere)
