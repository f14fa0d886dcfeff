"""The demo's stories, told on the real service, queue, executor and agents."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli import demo_animation
from cli.demo_animation import StoryFrame
from config import logs
from simulator import demo as demos
from simulator.demo import Demo, DemoOptions
from simulator.scenarios import shelf
from simulator.scenarios.routes import PATH
from simulator.scenarios.scenario import Scenario
from simulator.scenarios.storyteller import Storyteller
from tests.integration.test_demo_command import run

KEPT = Path(__file__).parents[2] / "docs/images/demo-fix.svg"


@asynccontextmanager
async def telling(scenario: str | None = None, **wishes: Any) -> AsyncIterator[tuple[Demo, Storyteller]]:
    """A small demo without pauses."""
    logs.configure("json", "error")
    chosen: dict[str, Any] = {"nodes": 2, "gpus": 2, "pause_s": 0.0, **wishes}
    async with demos.start(DemoOptions(extender_port=0, api_port=0, scenario=scenario, **chosen)) as demo:
        assert demo.teller is not None
        yield demo, demo.teller


def running(demo: Demo) -> dict[str, int]:
    """How many pods of each workload run."""
    pods = [pod.name.rpartition("-")[0] for pod in demo.picture().pods if pod.phase == "Running"]
    return {name: pods.count(name) for name in sorted(set(pods))}


@dataclass
class Told:
    """How many pods of each workload run at the end of each story, and what is drawn of one."""

    ends: dict[str, dict[str, int]] = field(default_factory=dict)
    frames: list[StoryFrame] = field(default_factory=list)


@pytest.fixture(scope="module")
def told() -> Told:
    """All stories, one after the other in one demo."""

    async def tell() -> Told:
        told = Told()
        async with telling(next(iter(shelf.shipped()))) as (demo, teller):

            def draw(story: Scenario, at: int) -> None:
                if story.name == "fix":
                    told.frames.append(StoryFrame(story.steps[at].text, demo.picture()))

            teller.listeners.append(draw)
            for name in shelf.shipped():
                teller.begin(name)
                await asyncio.wait_for(teller.over(), 250)
                assert teller.problem == "", name
                told.ends[name] = running(demo)
        return told

    return asyncio.run(tell())


@pytest.mark.timeout(300)  # ten seconds on a quiet machine
def test_every_story_comes_to_its_end_one_after_the_other(told: Told) -> None:
    """Each begins on a clean cluster, whatever was told before, and does what its sentences say."""
    assert told.ends == {
        "fill": {"chat": 4, "more-chat": 9, "train": 1, "vision": 4},
        "fragment": {"train": 1, "web": 3},
        "fix": {"serve": 4, "train": 1},
        "gang": {"batch": 2, "train": 2},
        "preemption": {"batch": 8},
        "ill-gpu": {"chat": 2, "serve": 2},
        "drain": {"serve": 3},
    }


@pytest.mark.timeout(300)  # if it runs alone
def test_the_animation_in_the_readme_is_what_the_story_shows(told: Told) -> None:
    """docs/images/demo-fix.svg is what the story draws now, byte for byte, whatever was told before it;
    `make demo-picture` draws it.
    """
    assert demo_animation.draw(shelf.shipped()["fix"].title, told.frames) == KEPT.read_text(encoding="utf-8")
    assert KEPT.stat().st_size < 300_000


async def test_the_page_plays_pauses_and_restarts_a_story() -> None:
    """POST begins a story, sets speed and pause, and answers as GET does; a pause holds the next step back."""
    async with telling(pause_s=60.0) as (demo, teller), httpx.AsyncClient(base_url=_url(demo)) as client:
        shown = (await client.get(PATH)).json()
        assert [each["name"] for each in shown["scenarios"]] == list(shelf.shipped())
        assert (shown["running"], shown["steps"], shown["done"]) == (None, [], False)
        told = (await client.post(PATH, json={"scenario": "gang", "speed": 100, "paused": True})).json()
        assert (told["running"], told["speed"], told["paused"]) == ("gang", 100, True)
        await _until_running(demo, {"batch": 4})
        assert (await client.get(PATH)).json()["step"] == 0
        assert (await client.post(PATH, json={"paused": False})).json()["paused"] is False
        await asyncio.wait_for(teller.over(), 60)
        assert (await client.get(PATH)).json()["done"] is True
        again = (await client.post(PATH, json={"scenario": "gang"})).json()
        assert (again["step"], again["done"]) == (0, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scenario": "none"}, "scenario"),
        ({"speed": 0}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"paused": "maybe"}, "paused"),
        ({"step": 3}, "step"),
    ],
)
async def test_what_the_page_cannot_mean_is_named(body: dict[str, Any], field: str) -> None:
    """Bad input gets status 400 with the field and the fix, and nothing is told."""
    async with telling(nodes=1) as (demo, teller), httpx.AsyncClient(base_url=_url(demo)) as client:
        answer = await client.post(PATH, json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, field)
        assert answer.json()["fix"]
        assert teller.running is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "none"], "--scenario: 'none': use one of fill, fragment, fix"),
        (["--scenario", "fix", "--mode", "extender"], "--scenario: 'fix': leave --mode out"),
        (["--scenario", "fix", "--examples", "."], "--scenario: 'fix': leave --examples out"),
        (["--scenario", "fix", "--model", "a30-24gb"], "have nothing like 3g.20gb"),
        (["--scenario", "drain", "--nodes", "1"], "it needs 2 nodes and 2 GPUs at least"),
        (["--scenario", "ill-gpu", "--nodes", "20"], "use at most 16 nodes"),
        (["--speed", "0"], "--speed"),
    ],
)
def test_stories_that_cannot_be_told_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A story that is not there, or cannot be told on these GPUs, ends with exit code 2 and the reason."""
    code, out, err = run(capsys, monkeypatch, "demo", "--once", "--api-port", "0", "--extender-port", "0", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_command_looks_at_the_end(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--then runs a command with the API's address once everything is at rest; its exit code is the demo's."""
    flags = ("--api-port", "0", "--extender-port", "0", "--nodes", "1", "--then", 'echo "at $MIGSCHED_API_URL"; exit 7')
    code, out, _ = run(capfd, monkeypatch, "demo", *flags)
    assert code == 7
    assert out.rstrip().rpartition("\n")[2].startswith("at http://127.0.0.1:")


def _url(demo: Demo) -> str:
    return demo.cluster.service.api_url


async def _until_running(demo: Demo, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(60):
        while running(demo) != wanted:
            await asyncio.sleep(0.02)
