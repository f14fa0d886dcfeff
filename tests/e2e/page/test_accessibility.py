"""The web page judged by axe: no serious finding in any view, in either theme."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open
from tests.e2e.page.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

View = Callable[[Page, Stage], Awaitable[None]]
_SERIOUS = ("serious", "critical")


async def _cluster(_page: Page, _service: Stage) -> None:
    """As it opens."""


async def _table(page: Page, _service: Stage) -> None:
    await page.get_by_role("button", name="Table").click()
    await expect(page.locator("#map tbody tr").first).to_be_visible()


async def _moved(page: Page, service: Stage) -> None:
    place = {"request": "", "node": "gpu-node-0001", "slices": [{"gpu": "", "profile": "1g.5gb", "start": 0}]}
    move = {
        "pod": "", "uid": "", "node": "gpu-node-0001", "kept": "it is not marked movable",
        "room": {"request": "", "now": 1, "proven": True, "nodes": {"gpu-node-0002": 1}},
        "starts": [{"pods": ["research/a", "research/b"], "profiles": {"1g.5gb": 1}, "place": place, "moved": place}],
        "already": 1, "not": 1, "undecided": 1, "not_looked_at": 1, "held": 1,
    }  # fmt: skip
    service.answers["/api/v1/capacity"] = {"free_memory_slices": 8, "profiles": {}, "move": move}
    await page.get_by_role("button", name="Table").click()
    await page.locator("#map tbody button").first.click()
    await page.get_by_role("button", name="What if it moved?").click()
    await expect(page.locator(".what-if-moved .answer")).to_be_visible()


async def _fix(page: Page, service: Stage) -> None:
    await page.get_by_role("button", name="Fix research/train-llm-0").click()
    service.change(moves=[documents.repack("Running", states=("confirmed", "evicting"))])
    await expect(page.get_by_role("dialog")).to_contain_text("under way")


async def _plan(page: Page, _service: Stage) -> None:
    await page.get_by_role("link", name="What if").click()
    await expect(page.locator("#plan")).to_be_visible()


async def _past(page: Page, service: Stage) -> None:
    service.change(time=documents.at(-5))
    await page.get_by_role("slider").fill("0")
    await expect(page.locator(".status")).to_contain_text("past")


async def _offline(page: Page, service: Stage) -> None:
    service.refusal = (503, "stopping")
    service.hang_up()
    await expect(page.get_by_role("alert")).to_contain_text("Offline since")


async def _login(page: Page, service: Stage) -> None:
    service.refusal = (401, "who calls must be known")
    await page.reload()
    await expect(page.get_by_label("Token")).to_be_visible()


async def _forbidden(page: Page, service: Stage) -> None:
    service.refusal = (403, "you may not")
    await page.reload()
    await expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()


VIEWS: dict[str, View] = {
    "cluster": _cluster, "table": _table, "plan": _plan, "past": _past, "fix": _fix, "offline": _offline,
    "moved": _moved, "login": _login, "forbidden": _forbidden,
}  # fmt: skip


DARK_VIEWS = ("cluster", "plan", "fix", "login")  # which have every colour


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_has_no_serious_finding(open_page: Open, axe: str, dark: bool) -> None:
    """Contrast, names, roles and order are right in every view."""
    findings: dict[str, Any] = {}
    only = {"runOnly": ["color-contrast"]} if dark else {}  # names and roles are the same
    may = {"plan": True, "move": True, "demo": False}
    for name, view in VIEWS.items():
        if dark and name not in DARK_VIEWS:
            continue
        document = documents.overview(may=may, moves=[documents.repack()])
        async with stage.play(document) as service:
            page = await open_page(service.url, dark=dark, refusals=True, bypass_csp=True, reduced_motion="reduce")
            await expect(page.locator("#map")).to_be_visible()
            await view(page, service)
            await page.evaluate(axe)
            result = await page.evaluate("only => axe.run(document, {resultTypes: ['violations'], ...only})", only)
            for found in result["violations"]:
                if found["impact"] in _SERIOUS:
                    findings[f"{name}: {found['id']}"] = [node["html"][:160] for node in found["nodes"][:4]]
    assert findings == {}
