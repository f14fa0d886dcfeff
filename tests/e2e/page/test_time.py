"""The time slider, recordings, and what an hour of events leaves in memory."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest
import uvicorn
from playwright.async_api import Page, expect

from cli.recording import page_file, server
from cli.recording.recording import Recording
from scheduler.api import web_pages
from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

_HOUR = 4 * 3600  # changes, at the most that the service sends in a second
_GROWTH_MOST_MIB = 12.0


async def test_the_slider_goes_back_and_returns(open_page: Open) -> None:
    """By keyboard it shows what was received before, marks it as the past without buttons, and returns to now."""
    async with stage.play(documents.overview()) as service:
        page = await open_page(service.url)
        await expect(page.locator("#map")).to_be_visible()
        for step in range(1, 6):
            service.change(time=documents.at(-step), waiting_total=3 + step)
        await expect(page.locator(".summary")).to_contain_text("8")
        slider = page.get_by_role("slider", name="Moment shown")
        await slider.focus()
        await page.keyboard.press("Home")
        await expect(page.locator(".status")).to_contain_text("past")
        await expect(page.locator(".summary li").nth(2)).to_contain_text("3")
        await expect(page.get_by_role("button", name="Fix")).to_have_count(0)
        service.change(time=documents.at(-9), waiting_total=9)
        await expect(page.locator(".summary li").nth(2)).to_contain_text("3")
        await page.get_by_role("button", name="Back to now").click()
        await expect(page.locator(".summary li").nth(2)).to_contain_text("9")
        await expect(page.locator(".status")).to_contain_text("live")


async def test_a_recording_in_one_file_is_moved_through_without_a_service(open_page: Open, tmp_path: Path) -> None:
    """The file that `migsched replay --html` makes opens from disk, moves by slider, and has no buttons that act."""
    file = tmp_path / "recording.html"
    file.write_text(page_file.html(_recording(tmp_path), web_pages.APP, hidden=False), encoding="utf-8")
    page = await open_page(file.as_uri())
    await expect(page.locator(".status")).to_contain_text("recording")
    await expect(page.locator("#map .note")).to_have_text("32 GPUs")
    await expect(page.get_by_role("button", name="Fix")).to_have_count(0)
    await _moves_through(page)


async def test_a_recording_that_is_served_is_moved_through(open_page: Open, tmp_path: Path) -> None:
    """The same page finds the recording of `migsched replay` by itself and asks it for each moment."""
    served = uvicorn.Server(
        uvicorn.Config(server.application(_recording(tmp_path)), port=0, log_level="critical", lifespan="off")
    )
    serving = asyncio.create_task(served.serve())
    await eventually(lambda: served.started, "the recording is served")
    port = served.servers[0].sockets[0].getsockname()[1]
    page = await open_page(f"http://127.0.0.1:{port}/", refusals=True)  # there is no stream
    await expect(page.locator("#map .note")).to_contain_text("GPUs")
    await _moves_through(page)
    served.should_exit = True
    await serving


async def _moves_through(page: Page) -> None:
    slider = page.get_by_role("slider", name="Moment shown")
    await slider.fill("77")
    await expect(page.locator(".summary li").nth(2)).to_contain_text("78")
    await slider.focus()
    await page.keyboard.press("End")
    await expect(page.locator("#map .note")).to_have_text("24 GPUs of 32")


def _recording(folder: Path) -> Recording:
    """120 moments, in the last of which a node is gone."""
    changes = [
        {"revision": step, "time": documents.at(-step), "sections": {"waiting_total": step}, "nodes": [], "gone": []}
        for step in range(2, 121)
    ]
    changes[-1]["gone"] = ["gpu-node-0004"]
    lines = [{"overview": documents.overview()}, *({"changes": change} for change in changes)]
    file = folder / "migsched-20261130T120000Z-0001.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as text:
        text.writelines(f"{json.dumps(line)}\n" for line in lines)
    return Recording(file)


async def test_an_hour_of_events_leaves_memory_flat(open_page: Open) -> None:
    """14,400 changes, as many as an hour may bring: after the first third the heap grows no more."""
    async with stage.play(documents.overview(40, 8)) as service:
        page = await open_page(service.url)
        await expect(page.locator("#map")).to_be_visible()
        sizes = []
        nodes = service.overview["nodes"]
        for third in range(3):
            for number in range(third * _HOUR // 3, (third + 1) * _HOUR // 3):
                service.change(
                    nodes=[nodes[number % len(nodes)]], time=documents.at(-number / 4), waiting_total=number + 1
                )
            await expect(page.locator(".summary li").nth(2)).to_contain_text(f"{service.overview['waiting_total']:,}")
            sizes.append(await _heap_mib(page))
        assert sizes[2] - sizes[0] < _GROWTH_MOST_MIB, sizes


async def _heap_mib(page: Page) -> float:
    size: float = await page.evaluate("gc(), gc(), performance.memory.usedJSHeapSize / 2 ** 20")
    return size
