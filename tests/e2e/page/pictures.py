"""Draws the web page's pictures for the docs: `make page-pictures`. Made-up clusters, so the pictures stay the same."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from testbed import errors
from testbed.browser import build
from tests.e2e.page import documents, stage
from tests.e2e.page.stage import Stage

IMAGES = Path(__file__).parents[3] / "docs" / "images"

Act = Callable[[Page, Stage], Awaitable[None]]


async def _fix(page: Page, service: Stage) -> None:
    service.answers["/api/v1/repacks"] = {"name": documents.repack()["name"], "created": True}
    await page.get_by_role("button", name="Fix research/train-llm-0").click()
    service.change(moves=[documents.repack("Running", states=("confirmed", "evicting"))])
    await expect(page.get_by_role("dialog")).to_contain_text("under way")


async def _past(page: Page, service: Stage) -> None:
    for step in range(1, 40):
        service.change(time=documents.at(-10 * step))
    await page.get_by_role("slider").fill("21")
    await expect(page.locator(".status")).to_contain_text("past")


async def _map(page: Page, _service: Stage) -> None:
    await page.locator("#map").evaluate("panel => panel.scrollIntoView()")


async def _nothing(_page: Page, _service: Stage) -> None:
    """As it opens."""


PICTURES: dict[str, tuple[dict[str, Any], Act, dict[str, Any]]] = {
    "page": (documents.overview(), _nothing, {}),
    "page-dark": (documents.overview(seed=3), _nothing, {"color_scheme": "dark"}),
    "page-fix": (documents.overview(), _fix, {}),
    "page-past": (documents.overview(seed=2), _past, {}),
    "page-5000-nodes": (documents.overview(5000, 8), _nothing, {}),
    "page-phone": (documents.overview(1, 8, seed=2), _map, {"viewport": {"width": 390, "height": 844}}),
}


async def draw(into: Path) -> None:
    """Draw all of them into a folder."""
    chromium = build.ensure_installed()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.executable, env=dict(chromium.environment), args=list(build.ARGUMENTS)
        )
        for name, (document, act, options) in PICTURES.items():
            await _draw_one(browser, into / f"{name}.png", document, act, options)
        await browser.close()


async def _draw_one(browser: Browser, file: Path, document: dict[str, Any], act: Act, options: dict[str, Any]) -> None:
    shown = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", "timezone_id": "UTC", **options}
    async with stage.play(document) as service:
        context = await browser.new_context(**shown)
        page = await context.new_page()
        await page.goto(service.url)
        await expect(page.locator("#map canvas")).to_be_visible(timeout=60_000)
        await act(page, service)
        await page.screenshot(path=file, animations="disabled")
        await context.close()


def main() -> int:
    """The exit status."""
    try:
        asyncio.run(draw(IMAGES))
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201 - its output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
