"""GPUs go out of service and come back in any order with pods, restarts and reboots: no new work, and nothing lost."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from allocator.mig.profile import GpuPlacement
from node_agent.allocation import AllocationError
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import AgentOnNode

PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb")
TEXTS = ("", "0", "1", "all", "0,x", "9")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of steps log nothing."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


class OutOfServiceMachine(RuleBasedStateMachine):
    """Two GPUs, pods with and without promises, a person who annotates."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.node = AgentOnNode(self.directory, "a100-40gb:2")
        self.text = ""
        self.running: list[PodView] = []
        self.waiting: list[PodView] = []
        self.number = 0
        self.node.step()

    @rule(text=st.sampled_from(TEXTS))
    def annotate(self, text: str) -> None:
        """What the annotation says from now on; the agent hears of it."""
        self.text = text
        self.node.state.on_annotation(text)
        self.node.step()

    @rule(profile=st.sampled_from(PROFILES), gpu=st.integers(0, 1), promised=st.booleans())
    def bind(self, profile: str, gpu: int, promised: bool) -> None:
        """A pod comes, with a promise that was made before whatever the annotation says now."""
        self.number += 1
        at = (self.node.place(profile, 0, gpu=gpu),) if promised else ()
        self.waiting.append(self.node.bind(f"p{self.number}", profile, at=at))
        self.node.step()

    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        """The kubelet starts a pod, or is refused."""
        if not self.waiting:
            return
        pod = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        before, out = self.node.state.observe().held, self.out()
        with suppress(AllocationError):
            self.node.admit(pod)
            self.running.append(pod)
        fresh = self.node.state.observe().held.keys() - before.keys()
        assert not {place.gpu for place in fresh} & out

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A pod that runs is over."""
        if self.running:
            pod = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
            self.node.end(pod, gone=True)
            self.node.step(10.0)

    @rule(reboot=st.booleans())
    def restart(self, reboot: bool) -> None:
        """A new agent, which reads the annotation before its first step."""
        (self.node.reboot if reboot else self.node.restart)()
        self.node.state.on_annotation(self.text)
        self.node.step()

    def out(self) -> set[str]:
        """The GPUs that are out of service by what the annotation says."""
        return {"0": {self.node.gpus[0]}, "0,x": {self.node.gpus[0]}, "1": {self.node.gpus[1]}}.get(
            self.text, set(self.node.gpus) if self.text == "all" else set()
        )

    @invariant()
    def what_runs_goes_on(self) -> None:
        """Each running pod's slice stands, is its own, and looks well to the kubelet."""
        offers = self.node.allocation.offers()
        places = [place for pod in self.running for place in self.node.places_of(pod)]
        assert len(set(places)) == len(places)
        for place in places:
            assert self.node.instance(place) is not None
            assert offers[device_ids.resource(place)][device_ids.device_id(place)].healthy

    @invariant()
    def it_is_told(self) -> None:
        """MigNode and kubelet say of exactly these GPUs that they take nothing new."""
        outcome = self.node.step(0.1)
        assert {gpu.uuid for gpu in outcome.report.gpus if not gpu.usable} == self.out()
        held = self.node.state.observe().held
        offers = self.node.allocation.offers()
        for device_id, place in self.node.state.observe().offered.items():
            offer = offers[device_ids.resource(place)][device_id]
            assert offer.healthy == (place.gpu not in self.out() or place in held)

    def teardown(self) -> None:
        """Back in service, every GPU can be cut as a whole again."""
        for pod in [*self.running, *self.waiting]:
            self.node.end(pod, gone=True)
        self.text = ""
        self.node.state.on_annotation("")
        self.node.step(10.0)
        self.node.step(10.0)
        whole = [self.node.place("7g.40gb", 0, gpu=gpu) for gpu in range(2)]
        for number, place in enumerate(whole):
            pod = self.node.bind(f"last-{number}", "7g.40gb", at=(place,))
            self.node.step()
            self.node.admit(pod)
        assert self._held() == set(whole)
        shutil.rmtree(self.directory)

    def _held(self) -> set[GpuPlacement]:
        return set(self.node.state.observe().held)


TestOutOfService = OutOfServiceMachine.TestCase
TestOutOfService.settings = settings(stateful_step_count=15)
