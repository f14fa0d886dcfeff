"""What pods' slices cost, and whether anything runs on them, is counted truly and for few enough namespaces."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from allocator.claims.report import NodeReport, Owner, Slice, SliceState
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import GpuPlacement, Placement
from node_agent.metrics import Metrics
from node_agent.usage import LOOK_S, OTHER, UNOWNED, SliceUsage
from tests.builders import catalogue, node, placement


class UsageOfANode:
    """The usage of one node, its clock, and the processes on its slices by start; None where the driver cannot tell."""

    def __init__(self, *, most: int = 64) -> None:
        self.now = 100.0
        self.pids: Mapping[int, tuple[int, ...] | None] = {}
        self.metrics = Metrics()
        self.usage = SliceUsage(
            self._pids_of,
            self.metrics,
            lambda: self.now,
            most=most,
            time=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now - 100.0),
        )

    def _pids_of(self, place: GpuPlacement) -> tuple[int, ...] | None:
        return self.pids.get(place.placement.start, ())

    def account(self, report: NodeReport, *, after_s: float = 0.0) -> None:
        """A step, so many seconds after the one before."""
        self.now += after_s
        self.usage.account(report)

    def look_again(self, report: NodeReport) -> None:
        """The next look, a minute later."""
        self.now += LOOK_S
        self.usage.look(report)

    def told(self, report: NodeReport) -> list[str | None]:
        """Since when each slice is unused, as the report says."""
        return [slice_.unused_since for gpu in self.usage.told(report).gpus for slice_ in gpu.slices]

    def mib_seconds(self) -> dict[str, float]:
        """What is counted, by namespace."""
        families = self.metrics.registry.collect()
        (family,) = (family for family in families if family.name == "migsched_agent_allocated_mib_seconds")
        return {sample.labels["namespace"]: sample.value for sample in family.samples}

    def unused_s(self, gi: str = "7") -> float | None:
        """For how long nothing has run on a slice of the node's GPU."""
        labels = {"gpu_uuid": "n1-gpu-0", "gi": gi}
        return self.metrics.registry.get_sample_value("migsched_slice_unused_seconds", labels)


def owned(namespace: str, start: int, profile: str = "1g.5gb") -> Slice:
    """A slice of a pod in a namespace."""
    owner = Owner(namespace, "p", f"uid-{namespace}", "main")
    return Slice(placement(profile, start), SliceState.ALLOCATED, owner, "MIG-x", gpu_instance_id=7)


def on_gpu(*slices: Slice, model: str | Catalogue = "a100-40gb") -> NodeReport:
    """A node whose only GPU has these slices."""
    return node().gpu(model).slices(*slices).report()


def test_the_report_says_since_when_nothing_was_seen_on_a_slice() -> None:
    """It is the time of the first look that saw nothing, until a process is seen or the driver cannot tell."""
    watched = UsageOfANode()
    report = on_gpu(owned("a", 0), Slice(placement("1g.5gb", 1), SliceState.IDLE))
    assert watched.usage.told(report) is report
    watched.usage.look(report)
    first = watched.told(report)
    watched.look_again(report)
    assert [first, watched.told(report)] == [["2026-01-01T00:00:00+00:00", None]] * 2
    for pids in ((1,), None):
        watched.pids = {0: pids}
        watched.look_again(report)
        assert watched.told(report) == [None, None]


def test_memory_is_counted_by_namespace_in_what_the_profile_really_has() -> None:
    """Ten seconds of a 1g.5gb and a 3g.20gb are ten times their MiB, each for its namespace; idle ones are nobody's."""
    watched = UsageOfANode()
    report = on_gpu(owned("a", 0), owned("b", 4, "3g.20gb"), Slice(placement("1g.5gb", 1), SliceState.IDLE))
    watched.account(report)
    assert watched.mib_seconds() == {}
    watched.account(on_gpu(), after_s=10)
    watched.account(on_gpu(), after_s=1000)
    known = report.gpus[0].catalogue
    assert known is not None
    expected = {name: 10.0 * (known.profile(profile).memory_mib or 0) for name, profile in ANSWERS.items()}
    assert watched.mib_seconds() == expected
    assert all(expected.values())


ANSWERS = {"a": "1g.5gb", "b": "3g.20gb"}


@pytest.mark.parametrize(("total_mib", "expected"), [(8_000, {"a": 20_000.0}), (None, {"a": 0.0})])
def test_memory_that_is_not_published_is_the_share_of_the_gpu(
    total_mib: int | None, expected: Mapping[str, float]
) -> None:
    """A profile without a published size counts as its share of the GPU's memory; without that as nothing."""
    made_up = replace(catalogue(8, 7).profile("1g.5gb", (0, 2), memory=2).build(), total_memory_mib=total_mib)
    slice_ = replace(owned("a", 0), placement=Placement("1g.5gb", 0, 2))
    watched = UsageOfANode()
    watched.account(on_gpu(slice_, model=made_up))
    watched.account(on_gpu(), after_s=10)
    assert watched.mib_seconds() == expected


def test_namespaces_beyond_the_bound_are_counted_together() -> None:
    """With series for two namespaces a third is `_other`; one that has no slices any more gives way."""
    watched = UsageOfANode(most=2)
    watched.account(on_gpu(owned("a", 0), owned("b", 1), owned("c", 2)))
    watched.account(on_gpu(owned("b", 1), owned("c", 2)), after_s=1)
    assert watched.mib_seconds().keys() == {"a", "b", OTHER}
    watched.account(on_gpu(), after_s=1)
    assert watched.mib_seconds().keys() == {"c", "b", OTHER}


def test_a_slice_without_a_known_owner_is_nobodys() -> None:
    """What could not be destroyed still takes memory, of no namespace."""
    watched = UsageOfANode()
    watched.account(on_gpu(Slice(placement("1g.5gb", 0), SliceState.ALLOCATED)))
    watched.account(on_gpu(), after_s=1)
    assert watched.mib_seconds().keys() == {UNOWNED}


def test_a_slice_is_unused_since_its_last_process() -> None:
    """Without a process it is unused since it was first looked at, or since the last look that saw one."""
    watched, report = UsageOfANode(), on_gpu(owned("a", 0))
    watched.usage.look(report)
    assert watched.unused_s() == 0
    watched.now += 600
    watched.usage.look(report)
    assert watched.unused_s() == 600
    watched.pids = {0: (42,)}
    watched.usage.look(report)
    assert watched.unused_s() == 0
    watched.pids = {}
    watched.now += 60
    watched.usage.look(report)
    assert watched.unused_s() == 60


def test_what_the_driver_cannot_tell_is_not_called_unused() -> None:
    """A slice whose processes are not known has no series, and its time goes on where it was."""
    watched, report = UsageOfANode(), on_gpu(owned("a", 0))
    watched.usage.look(report)
    watched.now += 600
    watched.pids = {0: None}
    watched.usage.look(report)
    assert watched.unused_s() is None
    watched.pids = {}
    watched.usage.look(report)
    assert watched.unused_s() == 600


def test_the_next_pod_on_a_place_begins_anew() -> None:
    """How long a slice was unused is not handed on to the pod that gets its place."""
    watched = UsageOfANode()
    watched.usage.look(on_gpu(owned("a", 0)))
    watched.now += 600
    watched.usage.look(on_gpu(owned("b", 0)))
    assert watched.unused_s() == 0


def test_processes_are_asked_for_once_a_minute() -> None:
    """A look costs a driver call for each slice, so it is due only every so often."""
    watched, due = UsageOfANode(), []
    for seconds in (0, LOOK_S - 1, 1):
        watched.now += seconds
        due.append(watched.usage.is_due)
        if due == [True]:
            watched.usage.look(on_gpu())
    assert due == [True, False, True]
