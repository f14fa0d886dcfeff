"""Questions to the planner through the running service: limits, deadlines, clients that leave, and what it says."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from allocator import errors
from allocator.claims import contract
from allocator.mig import gpu_models
from scheduler import settings
from scheduler.service import Service
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from tests.builders import node
from tests.integration.api import running_service
from tests.waiting import eventually

HOURS = {"gpus": 100_000, "seeds": 10_000}  # a simulation that nobody sees the end of
ROOM = {"requests": [{"name": "analysis", "profiles": {"7g.40gb": 1}}]}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_yaml_is_read_as_json_is() -> None:
    """A YAML document is answered as its JSON is, under each of YAML's types; wrong JSON is refused as such."""
    async with running_service.running() as running:
        text = "requests:\n- {name: analysis, profiles: {7g.40gb: 1}}\n"
        expected = (await running.client.post("/api/v1/repack", json=ROOM)).json()
        for kind in ("application/yaml", "application/x-yaml; charset=utf-8", "text/yaml"):
            answer = await running.client.post("/api/v1/repack", content=text, headers={"Content-Type": kind})
            assert answer.json() == expected
        answer = await running.client.post(
            "/api/v1/repack", content=text, headers={"Content-Type": "application/json; charset=utf-8"}
        )
        assert (answer.status_code, answer.json()["field"]) == (400, "document")


async def test_what_if_a_pod_moved_is_about_the_pods_that_wait() -> None:
    """The snapshot carries the pods that wait, so each is judged; a pod that holds nothing is refused by its field."""
    async with running_service.running() as running:
        answer = await running.client.post("/api/v1/capacity", json={"profiles": [], "move": "default/chat-2"})
        move = answer.json()["move"]
        assert (move["pod"], move["starts"], move["not"]) == ("default/chat-2", [], 1)
        refused = await running.client.post("/api/v1/capacity", json={"move": "default/nobody"})
        assert (refused.status_code, refused.json()["field"]) == (400, "move")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_document_that_any_web_page_can_send_is_415(kind: str) -> None:
    """Types that a browser sends for a foreign page without asking first, and no type, are refused; no work starts."""
    async with running_service.running() as running:
        headers = {"Content-Type": kind} if kind else {}
        answer = await running.client.post("/api/v1/plan", content="{}", headers=headers)
        assert (answer.status_code, "application/yaml" in answer.json()["detail"]) == (415, True)
        assert running.service.planner.processes() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_other_sites_start_nothing(headers: dict[str, str]) -> None:
    """A question that a browser asks for a foreign page, or under a foreign name, is 403 and no answer may be read."""
    async with running_service.running() as running:
        answer = await running.client.get("/api/v1/capacity", headers=headers)
        assert (answer.status_code, next(iter(headers)) in answer.json()["detail"]) == (403, True)
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert running.service.planner.processes() == []


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "migsched:8080"])
async def test_the_names_of_the_api_are_answered(host: str) -> None:
    """A port-forward, the pod's address and the Service's names reach it."""
    async with running_service.running() as running:
        assert (await running.client.get("/api/v1/nodes", headers={"Host": host})).status_code == 200


async def test_nothing_is_started_before_somebody_asks() -> None:
    """Routes about the cluster need no planning process; the first question starts one, stopping ends it."""
    async with running_service.running() as running:
        for path in ("/api/v1/nodes", "/api/v1/pods", "/api/v1/snapshot", "/metrics", "/readyz"):
            assert (await running.client.get(path)).status_code == 200
        assert running.service.planner.processes() == []
        assert (await running.client.get("/api/v1/capacity")).status_code == 200
        (pid,) = running.service.planner.processes()
    assert not alive(pid)


async def test_a_question_past_the_deadline_is_504() -> None:
    """The answer says how long it was given, and the process is gone."""
    async with running_service.running(planner_deadline_s=3.0) as running:
        answer = await running.client.post("/api/v1/simulate", json=HOURS)
        assert answer.status_code == 504
        assert answer.json()["detail"].startswith("no answer within 3 s")
        assert running.service.planner.processes() == []


async def test_a_full_queue_is_503_and_a_client_that_leaves_makes_room() -> None:
    """One question more than may wait is told when to come back; its work stops when a client closes its connection."""
    async with running_service.running(planner_queue=0) as running:
        planner = running.service.planner
        async with httpx.AsyncClient(base_url=running.service.api_url, trust_env=False) as leaving:
            long = asyncio.create_task(leaving.post("/api/v1/simulate", json=HOURS, timeout=60))
            await eventually(lambda: planner.processes() != [], "the work begins")
            answer = await running.client.post("/api/v1/plan", json={})
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            (pid,) = planner.processes()
            long.cancel()
            await asyncio.gather(long, return_exceptions=True)
        await eventually(lambda: planner.pending == 0, "the work is given up")
        assert not alive(pid)
        assert (await running.client.post("/api/v1/repack", json=ROOM)).json()["possible"] is True


async def test_stopping_answers_those_who_wait() -> None:
    """A question in work when the service stops gets 503 and no broken connection."""
    async with running_service.running() as running:
        long = asyncio.create_task(running.client.post("/api/v1/simulate", json=HOURS))
        await eventually(lambda: running.service.planner.processes() != [], "the work begins")
        await running.service.planner.close()
        answer = await long
        assert (answer.status_code, "stopping" in answer.json()["detail"]) == (503, True)


async def test_a_body_past_the_limit_is_413() -> None:
    """An oversized document is refused without being kept."""
    async with running_service.running(api_max_body_mib=1) as running:
        yaml = {"Content-Type": "application/yaml"}
        answer = await running.client.post("/api/v1/plan", content=b"#" * (2**20 + 1), headers=yaml)
        assert answer.status_code == 413
        assert "api_max_body_mib" in answer.json()["detail"]


async def test_before_the_cluster_is_known_only_what_needs_none_is_answered() -> None:
    """While the cluster is read, questions about it are 503; a plan is worked out."""
    cluster = MemoryCluster(running_service.example_cluster())
    cluster.faults.add(Fault("list", "pods", errors.UnreachableError("no route to host"), times=None))
    chosen = settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", shutdown_s=0.05)
    service = Service(chosen, cluster)
    await service.start()
    async with httpx.AsyncClient(base_url=service.api_url, timeout=60, trust_env=False) as client:
        for method, path in (("GET", "snapshot"), ("GET", "capacity"), ("POST", "capacity"), ("POST", "repack")):
            answer = await client.request(method, f"/api/v1/{path}", json=ROOM)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), path
        plan = await client.post("/api/v1/plan", json={"fleet": [{"model": "a100-40gb"}], "demand": {"7g.40gb": 2}})
        assert plan.json()["gpus"] == {"a100-40gb": 2}
        assert (await client.post("/api/v1/simulate", json={})).status_code == 404, "served only with its task"
    await service.stop()


async def test_without_the_right_to_read_budgets_the_answer_says_so() -> None:
    """A cluster that refuses PodDisruptionBudgets is planned without them, and every answer about it has a note."""
    async with running_service.running() as running:
        forbidden = errors.RefusedError("HTTP 403: forbidden")
        running.cluster.faults.add(Fault("list", "poddisruptionbudgets", forbidden, times=None))
        saved = (await running.client.get("/api/v1/snapshot")).json()
        assert saved["disruption_budgets"] == []
        note, *_ = (await running.client.post("/api/v1/repack", json=ROOM)).json()["notes"]
        assert note == saved["notes"][0]
        assert "PodDisruptionBudgets are not respected" in note
        assert "403" in note


async def test_models_of_the_cluster_can_be_planned_with() -> None:
    """A model that no table has, only a node's report, can be in a plan's fleet."""
    async with running_service.running() as running:
        mine = replace(gpu_models.find("a100-40gb"), model="mine-40gb")
        status = contract.encode_status(node("gpu-3").gpu(mine).report(), agent_version="test", mode="simulated")
        running.server.create(api.MIG_NODE, {"metadata": {"name": "gpu-3"}})
        running.server.patch_status(api.MIG_NODE, "gpu-3", {"status": status})
        await eventually(lambda: running.service.state.inventory.report("gpu-3") is not None, "it is known")
        asked = {"fleet": [{"model": "mine-40gb"}], "demand": {"1g.5gb": 7}}
        assert (await running.client.post("/api/v1/plan", json=asked)).json()["gpus"] == {"mine-40gb": 1}
