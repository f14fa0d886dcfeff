"""Storyteller: plays one story at a time on a stage, with a pause after each step. Told what to do by `routes` and CLI.

A step is told, done, and over when its workloads are as it says and nothing is under way. Only the pauses depend on
the clock.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from allocator import errors
from simulator import resting
from simulator.resting import Settling
from simulator.scenarios.scenario import Scenario, ScenarioStep
from simulator.scenarios.stage import StoryStage

PAUSE_S = 5.0  # after a step, at speed 1
MAX_SPEED = 100.0
STEP_S = 180.0  # after which a step that has not come to its end is given up
_log = structlog.get_logger("scenarios")

Listener = Callable[[Scenario, int], None]


class Storyteller:
    """`scenarios` are what can be told here. `listeners` hear of each step that is over, by its number."""

    def __init__(
        self, stage: StoryStage, cluster: Settling, scenarios: Mapping[str, Scenario], *, pause_s: float
    ) -> None:
        self.scenarios = scenarios
        self.listeners: list[Listener] = []
        self.running: Scenario | None = None
        self.step = 0
        self.done = False
        self.problem = ""
        self._stage = stage
        self._cluster = cluster
        self._pause_s = pause_s
        self._speed = 1.0
        self._paused = False
        self._asked = asyncio.Event()
        self._turned = asyncio.Event()
        self._over = asyncio.Event()

    # --- what people turn

    @property
    def speed(self) -> float:
        """How many times as fast the pauses pass."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        self._speed = value
        self._turned.set()

    @property
    def paused(self) -> bool:
        """Whether the next step waits."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        self._turned.set()

    def begin(self, name: str) -> None:
        """A story from its beginning on a clean cluster, in place of the one that is told. Raises SettingsError."""
        if name not in self.scenarios:
            raise errors.SettingsError("scenario", name, f"use one of {', '.join(self.scenarios)}")
        self.running, self.step, self.done, self.problem = self.scenarios[name], 0, False, ""
        self._over.clear()
        self._asked.set()

    async def over(self) -> None:
        """Until the story is told to its end, or cannot go on."""
        await self._over.wait()

    # --- telling

    async def run(self) -> None:
        """Tell what is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            telling = asyncio.create_task(self._tell(), name="story")
            asked = asyncio.create_task(self._asked.wait())
            try:
                await asyncio.wait((telling, asked), return_when=asyncio.FIRST_COMPLETED)
            finally:
                telling.cancel()
                asked.cancel()
                await asyncio.wait((telling, asked))
            if not telling.cancelled():
                telling.result()

    async def _tell(self) -> None:
        scenario = self.running
        assert scenario is not None  # what is asked for is there
        try:
            async with asyncio.timeout(STEP_S):
                await self._stage.clear(scenario.name)
            for number, step in enumerate(scenario.steps):
                self.step = number
                await self._do(step)
                for listener in self.listeners:
                    listener(scenario, number)
                if number + 1 < len(scenario.steps):
                    await self._rest()
        except (errors.MigschedError, TimeoutError) as error:
            self.problem = f"the step did not come to its end: {error or 'it took too long'}"
            _log.error("scenario stopped", scenario=scenario.name, step=self.step, error=repr(error))
        self.done = True
        self._over.set()

    async def _do(self, step: ScenarioStep) -> None:
        async with asyncio.timeout(STEP_S):
            for action in step.actions:
                await self._stage.do(action)
            for workload, state in step.until.items():
                await self._stage.becomes(workload, state)
            await resting.comes_to_rest(self._cluster, still_s=3.0, limit_s=STEP_S)

    async def _rest(self) -> None:
        """The pause between two steps, however its length is changed meanwhile."""
        loop, left_s = asyncio.get_running_loop(), self._pause_s
        while left_s > 0 or self._paused:
            self._turned.clear()
            began, speed = loop.time(), 0.0 if self._paused else self._speed
            try:
                async with asyncio.timeout(left_s / speed if speed else None):
                    await self._turned.wait()
            except TimeoutError:
                return
            left_s = max(0.0, left_s - (loop.time() - began) * speed)
