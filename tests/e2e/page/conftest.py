"""A real browser for the tests of the web page, and pages in it that watch their console."""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from testbed import errors
from testbed.browser import build
from testbed.web import build as web

Open = Callable[..., Awaitable[Page]]

_PATIENCE_MS = 30_000
_SERVICE_GONE = "net::ERR_CONNECTION_REFUSED"  # it ends before the page does
expect.set_options(timeout=_PATIENCE_MS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the browser before the first test, where it is shown and no test's time limit runs."""
    if session.config.option.collectonly or not any("browser" in names(item) for item in session.items):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    with contextlib.suppress(errors.BuildError):  # the fixtures say it
        build.ensure_installed(terminal.write_line if terminal else None)
    with contextlib.suppress(errors.BuildError):
        web.packages(terminal.write_line if terminal else None)


def names(item: pytest.Item) -> list[str]:
    """The fixtures that a test uses, directly or not."""
    return list(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def chromium() -> build.Chromium:
    """The browser's program. Without it the tests are skipped, saying why, but in CI, which must have it."""
    try:
        return build.ensure_installed()
    except errors.BuildError as exc:
        _missing(exc)


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's script."""
    try:
        return (web.packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    except errors.BuildError as exc:
        _missing(exc)


def _missing(exc: errors.BuildError) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(str(exc), pytrace=False)
    pytest.skip(str(exc))


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser(chromium: build.Chromium) -> AsyncIterator[Browser]:
    """One browser for all tests; each page has a profile of its own."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=chromium.executable,
            env=dict(chromium.environment),
            args=[*build.ARGUMENTS, "--enable-precise-memory-info", "--js-flags=--expose-gc"],
        )
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[Open]:
    """Opens a page at an address, in a browser profile of its own. After the test its console must be empty.

    `refusals`: the browser itself writes a line for each answer that is none of 2xx, and these are expected.
    """
    contexts: list[BrowserContext] = []
    written: list[str] = []

    async def opened(
        url: str, *, width: int = 1440, height: int = 900, dark: bool = False, refusals: bool = False, **options: Any
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        page = await context.new_page()

        def hear(kind: str, text: str) -> None:
            of_browser = text.startswith("Failed to load resource")
            expected = of_browser and (refusals or _SERVICE_GONE in text)
            if kind in ("error", "warning") and not expected:
                written.append(f"{kind}: {text}")

        page.on("console", lambda message: hear(message.type, message.text))
        page.on("pageerror", lambda error: hear("error", str(error)))
        await page.goto(url)
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert written == []
