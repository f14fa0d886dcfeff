"""Who is let in, and who may do what: the web page in a real browser."""

import pytest
from playwright.async_api import expect

from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_a_stranger_logs_in_with_a_token_that_is_kept_for_the_tab_only(open_page: Open) -> None:
    """401 shows a login; its token is sent as a bearer token, never stored beyond the tab, and Log out forgets it."""
    async with stage.play(documents.overview()) as service:
        service.refusal = (401, "who calls must be known")
        page = await open_page(service.url, refusals=True)
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert await page.locator("#map").count() == 0
        await page.get_by_label("Token").fill("wrong")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_have_text("who calls must be known")
        service.refusal = None
        await page.get_by_label("Token").fill(" good ")
        await page.keyboard.press("Enter")
        await expect(page.locator("#map")).to_be_visible()
        assert service.tokens == ["", "Bearer wrong", "Bearer good"]
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert await page.evaluate("sessionStorage.getItem('migsched-token')") is None


async def test_a_user_without_the_right_is_told_which(open_page: Open) -> None:
    """403 shows what the service says and the roles, and lets the user give another token."""
    async with stage.play(documents.overview()) as service:
        service.refusal = (403, "user eve may not get /migsched/api/v1/overview")
        page = await open_page(service.url, refusals=True)
        await expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("user eve may not get")
        await expect(page.locator("main")).to_contain_text("migsched-reader")
        await page.get_by_role("button", name="Use another token").click()
        await expect(page.get_by_label("Token")).to_be_visible()


async def test_a_reader_has_no_buttons_that_act(open_page: Open) -> None:
    """Who may not move sees no Fix and no Approve, and who may not plan sees no forms' buttons."""
    reader = {"plan": False, "move": False, "demo": False}
    async with stage.play(documents.overview(may=reader, moves=[documents.repack()])) as service:
        page = await open_page(service.url)
        await expect(page.locator("#moves")).to_contain_text("Proposed")
        for name in ("Fix", "Approve"):
            await expect(page.get_by_role("button", name=name)).to_have_count(0)
        await page.get_by_role("link", name="What if").click()
        for name in ("Ask", "Plan"):
            await expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


async def test_a_lost_connection_is_said_and_comes_back_by_itself(open_page: Open) -> None:
    """What is shown is marked as old, with since when, and nothing can be done until the service is back."""
    async with stage.play(documents.overview(moves=[documents.repack()])) as service:
        page = await open_page(service.url, refusals=True)
        await expect(page.get_by_role("button", name="Fix research/train-llm-0")).to_be_visible()
        service.refusal = (503, "still reading the cluster")
        service.hang_up()
        await expect(page.get_by_role("alert")).to_contain_text("Offline since")
        await expect(page.locator("main.stale")).to_be_visible()
        await expect(page.get_by_role("button", name="Fix")).to_have_count(0)
        service.refusal = None
        await page.get_by_role("button", name="Try now").click()
        await expect(page.get_by_role("alert")).to_have_count(0)
        await expect(page.locator(".status")).to_contain_text("live")
        await expect(page.get_by_role("button", name="Fix research/train-llm-0")).to_be_visible()
