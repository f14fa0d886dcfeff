"""docs/runbook.md says what to do about everything that the node agent can say."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import allocator
import config
import kubeclient
import node_agent
from allocator.errors import MigschedError
from node_agent import mig_mode
from node_agent.cluster import pod_events
from node_agent.gpu import device
from node_agent.report import ReadyReason

TEXT = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("|")]
EVENTS = sorted(str(value) for name, value in vars(pod_events).items() if name.endswith("_EVENT"))


def modules(*packages: ModuleType) -> Iterator[ModuleType]:
    """Every module of these packages."""
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def error_classes() -> list[type[MigschedError]]:
    """Every error class that the agent, and what it is built on, can raise."""
    found = {
        value
        for module in modules(allocator, kubeclient, config, node_agent)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, MigschedError) and value.__module__ == module.__name__
    }
    return sorted(found, key=lambda error: error.__name__)


@pytest.mark.parametrize("reason", ReadyReason)
def test_every_reason_of_the_ready_condition_has_a_row(reason: ReadyReason) -> None:
    """Each reason that a MigNode's Ready condition can have is in the first column of a table."""
    assert any(row.startswith(f"| {reason.value} |") for row in ROWS)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_a_row(event: str) -> None:
    """Each reason of an Event on a pod is in the first column of a table."""
    assert any(row.startswith((f"| {event} |", f"| {event}: ")) for row in ROWS)


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: str(error.__name__))
def test_every_error_class_has_a_row(error: type[MigschedError]) -> None:
    """Each class is in the first column of a table, the driver's with its code."""
    rows = [row for row in ROWS if f"`{error.__name__}`" in row.split("|")[1]]
    assert len(rows) == 1
    if issubclass(error, device.DeviceError) and error is not device.DeviceError:
        assert rows[0].split("|")[2].strip() == str(error.code)


@pytest.mark.parametrize("why", mig_mode.PENDING.values())
def test_every_reason_why_mig_mode_is_pending_has_a_row(why: str) -> None:
    """What a MigNode says of a GPU whose MIG mode is pending begins as in a row of the runbook."""
    assert any(why.startswith(row.split("`")[1]) for row in ROWS if "`" in row)
