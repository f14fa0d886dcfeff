"""Every panel of the web page, in a real browser."""

import pytest
from playwright.async_api import expect

from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SHOWN = {  # panel: what it must say of the document
    "start-now": ("7g.40gb", "39.3 GiB", "not looked at", "2g.10gb: the planner had no turn yet"),
    "waiting": ("train-llm-0", "7g.40gb", "next · 10 min", "restart 2 elsewhere", "not looked at yet", "No remedy"),
    "map": ("32 GPUs", "stranded", "idle", "foreign", "ill"),
    "trend": ("In use", "Stranded, of free", "waiting at"),
    "moves": (
        "Proposed",
        "research/train-llm-0",
        "2 restarts, 14 GiB",
        "proven: no plan costs less",
        "vision/triton-7",
    ),
    "idle": ("Unused for", "13 h"),
    "usage": ("vision", "413", "3,970", "not looked at"),
    "health": ("gpu-node-0002", "XID 48", "1 h"),
    "log": ("is cut", "placed", "failure", "is given back"),
}


async def test_each_panel_says_what_the_document_says(open_page: Open) -> None:
    """Nine panels and the summary show the document, and what is null as "not looked at" with the reason."""
    async with stage.play(documents.overview(moves=[documents.repack()])) as service:
        page = await open_page(service.url)
        for panel, texts in SHOWN.items():
            for text in texts:
                await expect(page.locator(f"#{panel}")).to_contain_text(text)
        summary = page.locator(".summary")
        for text in ("Stranded", "pods without a place", "1 proposed", "on 4 nodes", "1 problem"):
            await expect(summary).to_contain_text(text)


async def test_what_nobody_looked_at_is_said_so(open_page: Open) -> None:
    """Moves that are off, a share that is unknown and a cluster without nodes are named, and are never zero."""
    totals = dict.fromkeys(("gpus", "memory_slices", "used", "free"), 0)
    unknown = dict.fromkeys(("stranded", "stranded_share", "utilisation"))
    empty = documents.overview(
        moves=None, nodes=[], totals={**totals, **unknown}, profiles=[], waiting=[], waiting_total=0, history=[],
        usage=[], health=[], log=[],
    )  # fmt: skip
    async with stage.play(empty) as service:
        page = await open_page(service.url)
        await expect(page.locator("#moves")).to_contain_text("Not looked at: the setting moves is off")
        await expect(page.locator("#map")).to_contain_text("No node reports a GPU")
        await expect(page.locator("#waiting")).to_contain_text("No pod waits")
        await expect(page.locator("#idle")).to_contain_text("No slice is known to have been unused")
        await expect(page.locator(".summary")).to_contain_text("nothing is in demand")
        await expect(page.locator(".summary")).not_to_contain_text("0 %")


async def test_a_change_is_shown_without_a_reload(open_page: Open) -> None:
    """Sections and nodes that the stream brings replace those on the page."""
    async with stage.play(documents.overview()) as service:
        page = await open_page(service.url)
        await expect(page.locator("#waiting .waiting > li")).to_have_count(3)
        service.change(waiting=documents.waiting()[:1], waiting_total=1, time=documents.at(-60))
        await expect(page.locator("#waiting .waiting > li")).to_have_count(1)
        await expect(page.locator("#waiting")).to_contain_text("11 min")


async def test_text_from_the_cluster_is_text(open_page: Open) -> None:
    """Markup in a name or a message is shown as it is written and runs nothing."""
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    waiting = [{**documents.waiting()[0], "pod": f"default/{nasty}", "message": nasty}]
    async with stage.play(documents.overview(waiting=waiting, waiting_total=1)) as service:
        page = await open_page(service.url)
        await expect(page.locator("#waiting .reason")).to_have_text(nasty)
        assert await page.locator("#waiting img").count() == 0


async def test_what_if_and_plan_show_answer_and_limit(open_page: Open) -> None:
    """The forms send the planner's documents; answers, refusals and layouts are shown with what is proven."""
    async with stage.play(documents.overview()) as service:
        service.answers["/api/v1/capacity"] = {
            "gpus": {"a100-40gb": 32},
            "free_memory_slices": 101,
            "profiles": {"7g.40gb": {"now": 0, "after_repack": 3, "proven": False, "with_added": 8}},
            "requests": {
                "fit": False,
                "reason": "",
                "placements": [],
                "changes": [{"kind": "gpus", "model": "a100-40gb", "gpus": 1, "nodes": 1, "optimal": True}],
                "no_changes": [],
            },
        }
        service.answers["/api/v1/plan"] = (400, "demand.9g: use one of 1g.5gb, 7g.40gb")
        page = await open_page(f"{service.url}/#/plan", refusals=True)
        await page.get_by_label("Nodes").fill("1")
        await page.get_by_role("button", name="Ask").click()
        answer = page.locator("#what-if .answer")
        for text in ("Not all of it fits", "add 1 × a100-40gb (fewer are proven not to do)", "at least: time ran out"):
            await expect(answer).to_contain_text(text)
        await page.get_by_role("button", name="Plan").click()
        await expect(page.locator("#plan .problem")).to_contain_text("use one of 1g.5gb")
        service.answers["/api/v1/plan"] = {
            "feasible": True, "gpus": {"a100-40gb": 2}, "new_gpus": {"a100-40gb": 2}, "cost": None, "goal": "gpus",
            "lower_bound": 2, "optimal": True, "gap": 0.0, "stranded_memory_slices": 1,
            "layouts": [{"model": "a100-40gb", "count": 2, "slices": [{"profile": "3g.20gb", "start": 4}]}],
        }  # fmt: skip
        await page.get_by_role("button", name="Plan").click()
        await expect(page.locator("#plan .answer")).to_contain_text("Proven: less does not do.")
        await expect(page.get_by_role("img", name="a100-40gb: 3g.20gb at 4")).to_be_visible()
        sent = dict(service.requests)
        assert sent["/api/v1/capacity"]["add"] == {"model": "a100-40gb", "nodes": 1, "gpus_per_node": 8}
        assert sent["/api/v1/plan"] == {
            "fleet": [{"model": "a100-40gb", "count": "unlimited"}],
            "demand": {"1g.5gb": 4},
            "goal": "gpus",
        }


async def test_the_demos_bar_starts_pauses_and_links_scenarios(open_page: Open) -> None:
    """The menu names the scenarios; one that is chosen, or named by the address, is started and tells its step."""
    state = {
        "scenarios": [{"name": "fill", "title": "Fill the cluster", "text": ""}],
        "running": None, "step": 0, "steps": [], "speed": 1, "paused": False, "done": False,
    }  # fmt: skip
    async with stage.play(documents.overview(may={"plan": True, "move": True, "demo": True})) as service:
        service.answers["/api/v1/demo"] = state
        page = await open_page(service.url)
        await page.locator(".demo select").first.select_option("fill")
        service.answers["/api/v1/demo"] = {**state, "running": "fill", "step": 1, "steps": ["First.", "Pods come."]}
        await expect(page.locator(".demo-text")).to_contain_text("2/2 Pods come.")
        assert page.url.endswith("#/demo/fill")
        await page.get_by_role("button", name="Pause").click()
        await page.locator(".demo").get_by_label("Speed").select_option("2")
        await expect(page.get_by_role("button", name="Again from the start")).to_be_visible()
    sent = [body for path, body in service.requests if path == "/api/v1/demo"]
    assert sent == [{"scenario": "fill"}, {"paused": True}, {"speed": 2}]
