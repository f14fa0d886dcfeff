"""DemoRoutes: GET and POST /api/v1/demo, by which the page shows the stories and plays them. Only a demo has them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from allocator import errors
from allocator.planning import document_reader
from scheduler.api.extensions import DEMO, ExtensionRoute
from simulator.scenarios.storyteller import MAX_SPEED, Storyteller

PATH = "/api/v1/demo"


class DemoWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change. A scenario begins anew, also the one that is told."""

    scenario: str | None = None
    speed: Annotated[float, Meta(ge=0.05, le=MAX_SPEED)] | None = None
    paused: bool | None = None


class DemoRoutes:
    """Implements `scheduler.api.ApiExtension`. `teller` is there once the demo's cluster is."""

    name = DEMO

    def __init__(self) -> None:
        self.teller: Storyteller | None = None

    def routes(self) -> Sequence[ExtensionRoute]:
        """See ApiExtension."""
        return ExtensionRoute("GET", PATH, self._shown), ExtensionRoute("POST", PATH, self._changed)

    async def _shown(self, _: Any) -> dict[str, Any]:
        """What the page shows; `step` counts from 0."""
        teller = self._ready()
        scenarios = [{"name": s.name, "title": s.title, "text": s.text} for s in teller.scenarios.values()]
        running = teller.running
        return {
            "scenarios": scenarios,
            "running": running.name if running is not None else None,
            "step": teller.step,
            "steps": [step.text for step in running.steps] if running is not None else [],
            "speed": teller.speed,
            "paused": teller.paused,
            "done": teller.done,
            "problem": teller.problem,
        }

    async def _changed(self, value: Any) -> dict[str, Any]:
        teller, wish = self._ready(), document_reader.read(value, DemoWish)
        if wish.scenario is not None:
            teller.begin(wish.scenario)
        if wish.speed is not None:
            teller.speed = wish.speed
        if wish.paused is not None:
            teller.paused = wish.paused
        return await self._shown(None)

    def _ready(self) -> Storyteller:
        if self.teller is None:
            raise errors.InputError("demo", "starting", "ask again in a moment")
        return self.teller
