"""Fix: from the question to the running pod. The last test is the real service on a simulated cluster."""

from typing import Any

import pytest
from playwright.async_api import expect

from simulator.cluster.embedded import Embedded
from tests.e2e.page import documents, stage
from tests.e2e.page.conftest import Open
from tests.integration import embedded_cluster
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_fix_shows_moves_asks_and_follows_every_step(open_page: Open) -> None:
    """Nothing is approved before the button is pressed; then each step's state is shown until the pod has its place."""
    async with stage.play(documents.overview()) as service:
        service.answers["/api/v1/repacks"] = {"name": "for-uid-0", "created": True}
        service.answers["/api/v1/repacks/for-uid-0/approval"] = {}
        page = await open_page(service.url)
        await page.get_by_role("button", name="Fix research/train-llm-0").click()
        dialog = page.get_by_role("dialog", name="Make room for research/train-llm-0")
        await expect(dialog).to_contain_text("Looking for the cheapest moves")
        await expect(dialog.get_by_role("button", name="Move")).to_be_disabled()
        service.change(moves=[documents.repack()])
        for text in ("vision/triton-7", "2 restarts, 14 GiB", "proven: no plan costs less", "gpu-node-0002"):
            await expect(dialog).to_contain_text(text)
        assert [path for path, _ in service.requests] == ["/api/v1/repacks"]
        await dialog.get_by_role("button", name="Move 2 pods").click()
        service.change(moves=[documents.repack("Running", states=("confirmed", "evicting"))])
        await expect(dialog.locator(".step-confirmed")).to_have_count(1)
        await expect(dialog).to_contain_text("under way")
        node = service.overview["nodes"][0]
        train = {
            "profile": "7g.40gb", "start": 0, "size": 8, "state": "allocated", "namespace": "research",
            "pod": "train-llm-0", "container": "main", "since": documents.at(0), "unused_since": None, "movable": None,
        }  # fmt: skip
        gpus = [{**node["gpus"][0], "slices": [train], "stranded": []}, *node["gpus"][1:]]
        service.change(
            nodes=[{**node, "gpus": gpus}],
            moves=[documents.repack("Done", states=("confirmed", "confirmed"))],
            waiting=documents.waiting()[1:],
            waiting_total=2,
        )
        await expect(dialog).to_contain_text("✓ research/train-llm-0 has its slices on gpu-node-0001.")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_have_count(0)
    assert service.requests == [
        ("/api/v1/repacks", {"pod": "research/train-llm-0", "mode": "Approve"}),
        ("/api/v1/repacks/for-uid-0/approval", {}),
    ]


async def test_a_refusal_is_shown_and_escape_leaves(open_page: Open) -> None:
    """A user whose right went meanwhile reads so in the dialog; Escape closes it, and nothing was approved."""
    async with stage.play(documents.overview()) as service:
        service.answers["/api/v1/repacks"] = (403, "user eve may not create repacks")
        page = await open_page(service.url, refusals=True)
        await page.get_by_role("button", name="Fix research/train-llm-0").click()
        await expect(page.get_by_role("alert")).to_have_text("You may not move pods. user eve may not create repacks")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_fix_on_the_real_service_ends_with_the_pod_running(open_page: Open) -> None:
    """On a simulated cluster the real queue, planner and executor move one pod, and the one that waited runs."""
    changes: dict[str, Any] = {"queue": True, "moves": True, "moves_namespaces": "default", "planner_deadline_s": 60}
    async with embedded_cluster.cluster(2, 1, changes=changes, scheduler_names=("default-scheduler",)) as world:
        await world.apply([_pod("mover", "1g.5gb")])
        await embedded_cluster.settled(world)
        (mover,) = embedded_cluster.documents(world)
        (other,) = {node.name for node in world.options.fleet} - {mover["spec"]["nodeName"]}
        await world.apply([_pod("stayer", "1g.5gb", node=other)])
        await embedded_cluster.settled(world)
        await world.apply([_pod("big", "7g.40gb")])
        page = await open_page(world.service.api_url, refusals=True)  # it outlives the service
        await page.get_by_role("button", name="Fix default/big").click()
        dialog = page.get_by_role("dialog", name="Make room for default/big")
        await expect(dialog).to_contain_text("default/mover", timeout=60_000)  # the planner starts its worker first
        await dialog.get_by_role("button", name="Move 1 pod").click()
        await eventually(lambda: "mover" not in _names(world), "the pod is evicted")
        await world.apply([_pod("mover-again", "1g.5gb", owner="mover")])  # what its ReplicaSet does
        await expect(dialog).to_contain_text(f"✓ default/big has its slices on {mover['spec']['nodeName']}.")
        await expect(page.locator("#waiting")).to_contain_text("No pod waits")
        await embedded_cluster.settled(world)
        assert sorted(embedded_cluster.running_pods(world)) == ["big", "mover-again", "stayer"]


def _names(world: Embedded) -> set[str]:
    return {one["metadata"]["name"] for one in embedded_cluster.documents(world)}


def _pod(name: str, profile: str, *, owner: str = "", node: str = "") -> dict[str, Any]:
    """A pod of a ReplicaSet, which migsched may move; with `node` it runs only there."""
    of = owner or name
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": of, "uid": f"uid-{of}", "controller": True}
    limits = {f"nvidia.com/mig-{profile}": "1"}
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}]}
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"metadata": {"name": name, "namespace": "default", "ownerReferences": [reference]}, "spec": spec}
