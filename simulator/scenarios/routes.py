"""DemoRoutes: GET and POST /api/v1/demo, by which the page shows the stories and plays them. Only a demo has them."""

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from allocator import errors
from scheduler.api.problems import NotReadyError
from scheduler.planner.port import DocumentError
from simulator.scenarios.storyteller import MAX_SPEED, Storyteller

PATH = "/api/v1/demo"


class DemoWish(BaseModel):
    """What to change. A scenario begins anew, also the one that is told."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scenario: str | None = None
    speed: Annotated[float | None, Field(gt=0, le=MAX_SPEED, allow_inf_nan=False)] = None
    paused: bool | None = None


class DemoRoutes:
    """Implements `scheduler.api.ApiExtension`. `teller` is there once the demo's cluster is."""

    name = "demo"

    def __init__(self) -> None:
        self.teller: Storyteller | None = None

    def add(self, app: FastAPI) -> None:
        """Serve them; they are no part of the OpenAPI document, which is that of real clusters."""

        @app.get(PATH, include_in_schema=False)
        async def shown() -> dict[str, Any]:
            return _state(self._ready())

        @app.post(PATH, include_in_schema=False)
        async def changed(wish: DemoWish) -> dict[str, Any]:
            teller = self._ready()
            if wish.scenario is not None:
                _begin(teller, wish.scenario)
            if wish.speed is not None:
                teller.speed = wish.speed
            if wish.paused is not None:
                teller.paused = wish.paused
            return _state(teller)

    def _ready(self) -> Storyteller:
        if self.teller is None:
            raise NotReadyError
        return self.teller


def _begin(teller: Storyteller, name: str) -> None:
    try:
        teller.begin(name)
    except errors.SettingsError as error:
        raise DocumentError("scenario", repr(name[:60]), error.fix) from error


def _state(teller: Storyteller) -> dict[str, Any]:
    """What the page shows; `step` counts from 0."""
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
