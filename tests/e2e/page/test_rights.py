"""Who sees what on a genuine cluster: the web page in a real browser, its tokens judged by a genuine API server."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from testbed.control_plane import build
from tests.e2e import page_service
from tests.e2e.page.conftest import Open

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_each_token_opens_as_much_as_its_roles_allow(
    binaries: build.Binaries, open_page: Open, tmp_path: Path
) -> None:
    """A stranger sees the login alone, a user without a role which one is missing, a reader all, an operator Fix."""
    with page_service.cluster(binaries, tmp_path / "cluster") as cluster:
        async with page_service.asking(cluster, tmp_path / "tls") as asking:
            page = await open_page(asking.service.api_url, refusals=True, ignore_https_errors=True)
            await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
            assert await page.locator(".panel").count() == 0
            await _log_in(page, "no token of this cluster")
            await expect(page.get_by_role("alert")).not_to_be_empty()
            await _log_in(page, asking.tokens[page_service.NOBODY])
            await expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
            await expect(page.locator("main")).to_contain_text("system:serviceaccount:default:nobody")
            await page.get_by_role("button", name="Use another token").click()
            fix = page.get_by_role("button", name=f"Fix {page_service.POD}")
            await _log_in(page, asking.tokens["reader"])
            await expect(page.locator("#waiting")).to_contain_text(page_service.POD)
            await expect(fix).to_have_count(0)
            await page.get_by_role("button", name="Log out").click()
            await _log_in(page, asking.tokens["operator"])
            await expect(page.locator("#waiting")).to_contain_text(page_service.POD)
            await expect(fix).to_be_visible()


async def _log_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()
