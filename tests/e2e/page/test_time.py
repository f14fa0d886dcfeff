"""The time slider, recordings, and what an hour of events leaves in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open

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


async def test_a_recording_in_the_page_is_moved_through_without_a_service(open_page: Open, tmp_path: Path) -> None:
    """One HTML file with the page and a recording opens from disk, moves by slider, and has no buttons that act."""
    first = documents.overview()
    changes = [
        {"revision": step, "time": documents.at(-step), "sections": {"waiting_total": step}, "nodes": [], "gone": []}
        for step in range(2, 120)
    ]
    changes.append({**changes[-1], "gone": ["gpu-node-0004"]})
    file = tmp_path / "recording.html"
    file.write_text(_whole_page({"first": first, "changes": changes}), encoding="utf-8")
    page = await open_page(file.as_uri())
    await expect(page.locator(".status")).to_contain_text("recording")
    await expect(page.locator("#map .note")).to_have_text("32 GPUs")
    await expect(page.get_by_role("button", name="Fix")).to_have_count(0)
    slider = page.get_by_role("slider", name="Moment shown")
    await slider.fill("77")
    await expect(page.locator(".summary li").nth(2)).to_contain_text("78")
    await slider.focus()
    await page.keyboard.press("End")
    await expect(page.locator("#map .note")).to_have_text("24 GPUs of 32")


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


def _whole_page(recording: dict[str, Any]) -> str:
    """The built page with its files inside, as a recording is mailed."""
    html = (stage.APP / "index.html").read_text(encoding="utf-8")
    script = (stage.APP / "app.js").read_text(encoding="utf-8")
    style = (stage.APP / "app.css").read_text(encoding="utf-8")
    data = json.dumps(recording).replace("</", "<\\/")
    inside = f'<script type="application/json" id="recording">{data}</script><style>{style}</style>'
    html = html.replace('<link rel="stylesheet" href="/page/app.css">', inside)
    html = html.replace('<link rel="icon" href="/page/icon.svg" type="image/svg+xml">', "")
    return html.replace('<script type="module" src="/page/app.js"></script>', f'<script type="module">{script}</script>')
