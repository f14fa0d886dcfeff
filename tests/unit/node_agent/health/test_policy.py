"""What the settings say that a fault does."""

from typing import Any

import pytest

from allocator import errors
from node_agent import settings
from node_agent.health import policy
from node_agent.health.faults import GpuFault
from node_agent.health.policy import Effect, HealthPolicy, UnknownFaults
from node_agent.health.xids import FaultClass


def fault(fault_class: FaultClass, xid: int | None = 94, gi_id: int | None = None) -> GpuFault:
    """A fault of a class."""
    return GpuFault("GPU-0", fault_class, "cause", "code", xid, gi_id)


def test_an_ignored_xid_counts_as_ignored() -> None:
    """Whatever its class, attributed or not; a memory fault has no number to be ignored by."""
    ignoring = HealthPolicy(ignored_xids=frozenset({94}))
    for fault_class in FaultClass:
        assert ignoring.class_of(fault(fault_class)) is FaultClass.IGNORED
    assert ignoring.class_of(fault(FaultClass.APPLICATION, xid=None)) is FaultClass.APPLICATION


@pytest.mark.parametrize(
    ("unknown", "attributed", "alone"),
    [
        (UnknownFaults.AS_ATTRIBUTED, FaultClass.APPLICATION, FaultClass.GPU_RESET),
        (UnknownFaults.APPLICATION, FaultClass.APPLICATION, FaultClass.APPLICATION),
        (UnknownFaults.GPU_RESET, FaultClass.GPU_RESET, FaultClass.GPU_RESET),
        (UnknownFaults.IGNORED, FaultClass.IGNORED, FaultClass.IGNORED),
    ],
)
def test_an_unknown_fault_counts_as_another(unknown: UnknownFaults, attributed: FaultClass, alone: FaultClass) -> None:
    """By default as what the driver could attribute it to; or always as one class."""
    chosen = HealthPolicy(unknown=unknown)
    assert chosen.class_of(fault(FaultClass.UNKNOWN, gi_id=3)) is attributed
    assert chosen.class_of(fault(FaultClass.UNKNOWN)) is alone


def test_effects_are_those_set() -> None:
    """Each class does what its setting says; an ignored one nothing."""
    chosen = HealthPolicy(application=Effect.MARK, gpu_reset=Effect.IGNORE)
    assert chosen.effect(FaultClass.APPLICATION) is Effect.MARK
    assert chosen.effect(FaultClass.GPU_RESET) is Effect.IGNORE
    assert chosen.effect(FaultClass.IGNORED) is Effect.IGNORE


@pytest.mark.parametrize(("text", "numbers"), [("", set()), (" ", set()), ("94", {94}), ("13, 31,94,", {13, 31, 94})])
def test_xids_are_read(text: str, numbers: set[int]) -> None:
    """Numbers separated by commas."""
    assert policy.xid_numbers(text) == numbers


@pytest.mark.parametrize("text", ["x", "-1", "0", "1.5", "13;31", "99999", "all", "\u0661"])
def test_what_is_no_xid_is_refused(text: str) -> None:
    """The error names the setting, the value and the fix."""
    with pytest.raises(errors.SettingsError, match=r"ignored_xids.*separated by commas"):
        settings.load(ignored_xids=text)


@pytest.mark.parametrize("field", ["application_xid", "gpu_reset_xid", "unknown_xid"])
def test_what_is_no_effect_is_refused(field: str) -> None:
    """A slip is not taken for a choice."""
    flags: dict[str, Any] = {field: "destroy"}
    with pytest.raises(errors.SettingsError, match=field):
        settings.load(**flags)


def test_defaults_of_settings_are_those_of_the_policy() -> None:
    """An agent without settings does what the policy does by itself."""
    plain, default = settings.load(), HealthPolicy()
    assert policy.xid_numbers(plain.ignored_xids) == default.ignored_xids
    assert Effect(plain.application_xid) is default.application
    assert Effect(plain.gpu_reset_xid) is default.gpu_reset
    assert UnknownFaults(plain.unknown_xid) is default.unknown
