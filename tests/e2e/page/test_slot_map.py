"""The slot map in a real browser: found by mouse and keyboard, on a phone, and at 5,000 nodes."""

import random

import pytest
from playwright.async_api import CDPSession, expect

from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# Scrolls the map through the whole cluster, a step a frame.
_SCROLL = """async (steps) => {
  const box = document.querySelector('.surface-scroll');
  for (let step = 0; step < steps; step++) {
    box.scrollTop = (box.scrollHeight - box.clientHeight) * step / steps;
    await new Promise((done) => requestAnimationFrame(done));
  }
}"""
# How many pixels inside the only ill slice of the map are not of its ground, whose colour is given.
_MARKED = """([red, green, blue]) => {
  const canvas = document.querySelector('#map canvas');
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data, width, height } = copy.getImageData(0, 0, canvas.width, canvas.height);
  const isGround = (at) => data[at] === red && data[at + 1] === green && data[at + 2] === blue;
  let left = width, right = -1, top = height, bottom = -1, ground = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (isGround(4 * (y * width + x))) {
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    ground++;
  }
  return ground && (right - left + 1) * (bottom - top + 1) - ground;
}"""
_BAD = [0xB4, 0x23, 0x18]  # --bad of the light theme
_FRAMES = 60
_FRAME_MS = 1000 / 60  # what a screen of 60 Hz leaves for one


async def test_a_click_shows_the_pod_and_escape_goes_back(open_page: Open) -> None:
    """A click on a slice shows pod, place, GPU and age; the close button hides it."""
    async with stage.play(documents.overview(1, 1)) as service:
        page = await open_page(service.url)
        await expect(page.locator("#map .note")).to_have_text("1 GPU")
        node = service.overview["nodes"][0]
        slices = [
            {
                "profile": "7g.40gb", "start": 0, "size": 8, "state": "allocated", "namespace": "vision",
                "pod": "triton-1", "container": "main", "since": documents.at(7200),
                "unused_since": None, "movable": True, "owner": "Deployment/triton",
            }
        ]  # fmt: skip
        service.change(nodes=[{**node, "gpus": [{**node["gpus"][0], "slices": slices, "stranded": []}]}])
        await page.get_by_role("button", name="Table").click()
        await expect(page.locator("#map tbody")).to_contain_text("vision/triton-1")
        await page.get_by_role("button", name="Map", exact=True).click()
        await page.locator(".surface-scroll").click(position={"x": 150, "y": 35})
        details = page.get_by_role("complementary", name="Details of the slice")
        place = ("7g.40gb, 8 of 8 memory slices", "slots 0–7")
        for text in ("vision/triton-1", "triton (Deployment)", *place, "2 h ago", "yes"):
            await expect(details).to_contain_text(text)
        await details.get_by_role("button", name="Close the details").click()
        await expect(details).to_have_count(0)


async def test_it_is_asked_what_if_a_pod_moved(open_page: Open) -> None:
    """The planner is asked about the pod that was clicked; which pods could start, where, and the limits are shown."""
    move = {
        "pod": "vision/triton-1", "uid": "u", "node": "gpu-node-0001", "kept": "it is not marked movable",
        "room": {"request": "vision/triton-1", "now": 3, "proven": True, "nodes": {"gpu-node-0002": 3}},
        "starts": [
            {
                "pods": ["research/train-llm-0"],
                "profiles": {"7g.40gb": 1},
                "place": {
                    "request": "", "node": "gpu-node-0001",
                    "slices": [{"gpu": "GPU-00010000-0000-4000-8000-000000000001", "profile": "7g.40gb", "start": 0}],
                },
                "moved": {
                    "request": "", "node": "gpu-node-0002",
                    "slices": [{"gpu": "GPU-x", "profile": "1g.5gb", "start": 6}],
                },
            }
        ],
        "already": 0, "not": 2, "undecided": 0, "not_looked_at": 0, "held": 1,
    }  # fmt: skip
    async with stage.play(documents.overview(1, 1)) as service:
        service.answers["/api/v1/capacity"] = {"free_memory_slices": 8, "profiles": {}, "move": move}
        node = service.overview["nodes"][0]
        piece = {
            "profile": "1g.5gb", "start": 0, "size": 1, "state": "allocated", "namespace": "vision",
            "pod": "triton-1", "container": "main", "since": None, "unused_since": None, "movable": False, "owner": "",
        }  # fmt: skip
        service.change(nodes=[{**node, "gpus": [{**node["gpus"][0], "slices": [piece], "stranded": []}]}])
        page = await open_page(service.url)
        await page.get_by_role("button", name="Table").click()
        await page.get_by_role("button", name="vision/triton-1").click()
        await page.get_by_role("button", name="What if it moved?").click()
        answer = page.locator(".what-if-moved .answer")
        for text in (
            "1 waiting pod could start",
            "research/train-llm-0 (7g.40gb)",
            "gpu-node-0001 (7g.40gb at GPU 0, slot 0)",
            "gpu-node-0002 (1g.5gb at slot 6)",
            "not marked movable", "could go to 1 node: gpu-node-0002", "2 do not fit even then", "1 wait for something",
        ):  # fmt: skip
            await expect(answer).to_contain_text(text)
        assert service.requests == [("/api/v1/capacity", {"profiles": [], "move": "vision/triton-1"})]
        service.change(may={**service.overview["may"], "plan": False})
        await expect(page.get_by_role("button", name="What if it moved?")).to_have_count(0)


async def test_every_slice_is_reached_by_keyboard_and_said(open_page: Open) -> None:
    """Arrow keys go through the map, a live region says what is there, Enter opens it and Escape returns the focus."""
    async with stage.play(documents.overview(2, 8)) as service:
        page = await open_page(service.url)
        surface = page.get_by_role("application", name="Slot map")
        spoken = page.locator(".surface [role=status]")
        await surface.focus()
        await page.keyboard.press("Home")
        await expect(spoken).to_contain_text("gpu-node-0001, GPU 0, slot")
        await page.keyboard.press("ArrowDown")
        await expect(spoken).to_contain_text("gpu-node-0001, GPU 1")
        await page.keyboard.press("End")
        await expect(spoken).to_contain_text("gpu-node-0002, GPU 7")
        await page.keyboard.press("Enter")
        details = page.get_by_role("complementary", name="Details of the slice")
        await expect(details).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(surface).to_be_focused()


async def test_the_table_has_what_the_map_has(open_page: Open) -> None:
    """The table view names every slice with node, GPU, slots, state and pod, and obeys the filter."""
    async with stage.play(documents.overview(2, 4)) as service:
        page = await open_page(service.url)
        await page.get_by_role("button", name="Table").click()
        rows = page.locator("#map tbody tr")
        pieces = [piece for node in service.overview["nodes"] for gpu in node["gpus"] for piece in gpu["slices"]]
        for piece in pieces:
            if piece["pod"]:
                await expect(rows.filter(has_text=f"{piece['namespace']}/{piece['pod']}").first).to_be_visible()
        await page.get_by_label("Filter").fill("gpu-node-0002")
        await expect(rows.filter(has_text="gpu-node-0001")).to_have_count(0)
        await page.get_by_label("Filter").fill("nothing like that")
        await expect(page.locator("#map")).to_contain_text("Nothing matches the filter.")


async def test_an_ill_slice_is_not_told_by_its_colour_alone(open_page: Open) -> None:
    """In each size the smallest ill slice is crossed or struck through."""
    ill = {"profile": "1g.5gb", "start": 3, "size": 1, "state": "ill"} | dict.fromkeys(
        ("namespace", "pod", "container", "since", "unused_since", "movable", "owner")
    )
    overview = documents.overview(1, 1)
    (node,) = overview["nodes"]
    nodes = [{**node, "gpus": [{**node["gpus"][0], "slices": [ill], "stranded": []}]}]
    async with stage.play({**overview, "nodes": nodes}) as service:
        page = await open_page(service.url)
        await expect(page.locator("#map .note")).to_have_text("1 GPU")
        for size in ("large", "medium", "small"):
            await page.get_by_label("Size").select_option(size)
            await page.wait_for_function(_MARKED, arg=_BAD)


async def test_groups_put_gpus_under_what_has_most_of_them(open_page: Open) -> None:
    """Grouped by namespace, model, owner or age, every GPU is still there."""
    async with stage.play(documents.overview(3, 8)) as service:
        page = await open_page(service.url)
        for group in ("model", "namespace", "owner", "age", "node"):
            await page.get_by_label("Group").select_option(group)
            await expect(page.locator("#map .note")).to_have_text("24 GPUs")
        await page.get_by_label("Namespace", exact=True).first.select_option("vision")
        await expect(page.locator("#map .note")).to_contain_text("of 24")


async def test_the_table_names_owners_and_an_older_recording_has_none(open_page: Open) -> None:
    """The owner stands with its namespace; a pod without one, and a slice of before the field, are told apart."""
    async with stage.play(documents.overview(1, 1)) as service:
        node = service.overview["nodes"][0]
        owners: tuple[dict[str, str], ...] = ({"owner": "Deployment/triton"}, {"owner": ""}, {})
        slices = [
            {
                "profile": "1g.5gb", "start": start, "size": 1, "state": "allocated", "namespace": "vision",
                "pod": f"work-{start}", "container": "main", "since": None, "unused_since": None, "movable": True,
                **owner,
            }
            for start, owner in enumerate(owners)
        ]  # fmt: skip
        service.change(nodes=[{**node, "gpus": [{**node["gpus"][0], "slices": slices, "stranded": []}]}])
        page = await open_page(service.url)
        await page.get_by_role("button", name="Table").click()
        rows = page.locator("#map tbody tr")
        for start, words in enumerate(("vision/triton (Deployment)", "no owner", "owner not known")):
            await expect(rows.nth(start)).to_contain_text(words)
        await page.get_by_label("Filter").fill("deployment/tri")
        await expect(page.locator("#map .note")).to_have_text("1 GPU")
        await page.get_by_label("Filter").fill("deployment/trx")
        await expect(page.locator("#map")).to_contain_text("Nothing matches the filter.")


async def test_eight_gpus_fit_on_a_phone(open_page: Open) -> None:
    """At 390 pixels nothing is wider than the screen, and eight GPUs are seen at once."""
    async with stage.play(documents.overview(1, 8)) as service:
        page = await open_page(service.url, width=390, height=844)
        await expect(page.locator(".surface-scroll")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        box = await page.locator(".surface-scroll").bounding_box()
        assert box is not None
        assert 8 * 20 <= box["height"] <= 844


async def test_five_thousand_nodes_scroll_and_change_without_a_stutter(open_page: Open) -> None:
    """While 40,000 GPUs are scrolled through and nodes change, a frame takes less time than a screen leaves."""
    async with stage.play(documents.overview(5000, 8)) as service:
        page = await open_page(service.url)
        await expect(page.locator("#map .note")).to_have_text("40,000 GPUs")
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        await page.evaluate(_SCROLL, 5)
        draw = random.Random(2)
        before = await _busy_ms(devtools)
        for number in (7, 4000):
            service.change(nodes=[documents.node(f"gpu-node-{number:04d}", 8, draw)], waiting_total=number)
        await page.evaluate(_SCROLL, _FRAMES)
        spent = (await _busy_ms(devtools) - before) / _FRAMES
        await expect(page.locator(".summary")).to_contain_text("4,000")
    assert spent < _FRAME_MS, f"{spent:.1f} ms a frame"


async def _busy_ms(devtools: CDPSession) -> float:
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    return next(float(metric["value"]) * 1000 for metric in metrics if metric["name"] == "TaskDuration")
