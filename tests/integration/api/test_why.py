"""Why a pod waits, asked of the real service over a cluster in memory: the sentence and the code of each case."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from simulator.cluster import api
from simulator.cluster.api import Document
from simulator.cluster.embedded import Embedded
from tests.integration.embedded_cluster import cluster
from tests.waiting import eventually

MIB = 2**20


class Asking:
    """A cluster whose API is asked. Pods with the schedulerName `raw` are looked at by no scheduler stand-in."""

    def __init__(self, world: Embedded, client: httpx.AsyncClient) -> None:
        self.world = world
        self._client = client

    async def create(self, name: str, profile: str = "1g.5gb", annotations: Document | None = None, **spec: Any) -> str:
        """A pod that asks for a slice; its UID."""
        limits = {f"nvidia.com/mig-{profile}": "1"} if profile.endswith("gb") else {profile: "1"} if profile else {}
        containers = [{"name": "main", "image": "none", "resources": {"limits": limits, "requests": limits}}]
        document = {"metadata": {"name": name, "namespace": "default", "annotations": annotations or {}}}
        made = {"containers": containers, "schedulerName": "migsched", **spec}
        uid: str = (await self.world.api.create(api.POD, document | {"spec": made}))["metadata"]["uid"]
        return uid

    async def status(self, name: str, **status: Any) -> None:
        """Write a pod's status, as kube-scheduler or a kubelet does."""
        await self.world.api.patch_status(api.POD, name, {"status": status}, "default")

    async def why(self, pod: str, code: str) -> Document:
        """The explanation, once it has this code."""
        answer: Document = {}
        try:
            async with asyncio.timeout(30):
                while answer.get("code") != code:
                    answer = (await self._client.get("/api/v1/explain", params={"pod": pod})).json()
        except TimeoutError:
            pytest.fail(f"{pod} is not explained as {code}: {answer}")
        return answer

    async def get(self, path: str, **query: str) -> httpx.Response:
        """An answer."""
        return await self._client.get(path, params=query)


@asynccontextmanager
async def asking(nodes: int = 2, gpus: int = 1, *, queue: bool = False) -> AsyncIterator[Asking]:
    """A cluster of A100-40GB and a client of its API."""
    async with (
        cluster(nodes, gpus, changes={"queue": queue}) as world,
        httpx.AsyncClient(base_url=world.service.api_url, timeout=30, trust_env=False) as client,
    ):
        yield Asking(world, client)


async def test_a_gated_pod_names_its_gates_and_whose_they_are() -> None:
    """A pod with scheduling gates is held by them, whatever room there is, and no node is looked at."""
    async with asking() as cluster_:
        await cluster_.create("gated", schedulingGates=[{"name": "kueue.x-k8s.io/admission"}])
        answer = await cluster_.why("gated", "gated")
        assert answer["reason"] == (
            "held by the scheduling gate kueue.x-k8s.io/admission of Kueue; "
            "kube-scheduler does not look at it before they are removed"
        )
        assert (answer["gates"], answer["nodes_looked_at"]) == (["kueue.x-k8s.io/admission"], 0)


async def test_ten_thousand_gates_are_counted() -> None:
    """Gates without number do not make an answer without end."""
    async with asking() as cluster_:
        await cluster_.create("gated", schedulingGates=[{"name": f"example.com/{n}"} for n in range(10_000)])
        answer = await cluster_.why("gated", "gated")
        assert (len(answer["gates"]), answer["gates_left_out"]) == (5, 9_995)
        assert "and 9995 more" in answer["reason"]


async def test_a_pod_of_another_scheduler_is_told_what_to_write() -> None:
    """A pod that forgot its schedulerName waits for nothing here, and is told so."""
    async with asking() as cluster_:
        await cluster_.create("forgot", schedulerName="default-scheduler")
        answer = await cluster_.why("forgot", "other_scheduler")
        assert answer["reason"] == (
            "its schedulerName is default-scheduler, and migsched is asked about pods of migsched; "
            "write schedulerName: migsched"
        )


async def test_what_keeps_a_pod_away_beside_its_slices_is_quoted() -> None:
    """Where nodes have room and kube-scheduler does not place the pod, its own words are the reason."""
    async with asking() as cluster_:
        said = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
        cluster_.world.service.state.waiting.learn("raw")
        await cluster_.create("nowhere", schedulerName="raw", resourceClaims=[{"name": "nic"}])
        await cluster_.status("nowhere", conditions=[condition])
        answer = await cluster_.why("nowhere", "kube_scheduler")
        assert answer["reason"].startswith("2 of 2 nodes have room for its slices; kube-scheduler said last: 0/2 nodes")
        assert answer["not_looked_at"] == ["resource claims"]


async def test_other_pods_that_keep_a_pod_away_are_named() -> None:
    """Nodes that a spread constraint refuses are counted under kube-scheduler's plugin."""
    async with asking() as cluster_:
        cluster_.world.service.state.waiting.learn("raw")
        spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        await cluster_.create("nowhere", schedulerName="raw", topologySpreadConstraints=[spread])
        answer = await cluster_.why("nowhere", "ineligible")
        assert answer["ineligible"] == {"PodTopologySpread": 2}
        assert "topology spread asks for nodes with the label zone" in answer["reason"]


@pytest.mark.parametrize(
    ("profile", "code", "says"),
    [
        ("", "no_slices", "it asks for no MIG slice; write nvidia.com/mig-<profile>"),
        ("nvidia.com/gpu", "whole_gpu", "it asks for nvidia.com/gpu, a whole GPU, which migsched does not hand out"),
    ],
)
async def test_a_pod_that_is_none_of_ours_exists(profile: str, code: str, says: str) -> None:
    """A pod without slices is not told that it does not exist, but what to write."""
    async with asking() as cluster_:
        await cluster_.create("other", profile, schedulerName="default-scheduler")
        answer = await cluster_.why("default/other", code)
        assert answer["reason"].startswith(says)
        assert "schedulerName: migsched instead of default-scheduler" in answer["reason"]
        assert (await cluster_.get("/api/v1/remedy", pod="other")).status_code == 400


async def test_nodes_that_take_no_pods_have_no_room() -> None:
    """A cordoned node and one with other labels are told apart from those that have room for the slices."""
    async with asking(3) as cluster_:
        state, server = cluster_.world.service.state, cluster_.world.server
        state.waiting.learn("raw")
        server.patch(api.NODE, "node-1", {"spec": {"unschedulable": True}})
        await eventually(lambda: state.nodes["node-1"].unschedulable, "the scheduler hears of the cordon")
        await cluster_.create("choosy", schedulerName="raw", nodeSelector={"pool": "of-nobody"})
        answer = await cluster_.why("choosy", "ineligible")
        assert answer["ineligible"] == {"NodeAffinity": 2, "NodeUnschedulable": 1}
        assert answer["counts"] == {"ineligible": 3}


async def test_a_pod_that_does_not_exist_is_said_not_to() -> None:
    """A name that nobody has is 404, with where it was looked for."""
    async with asking() as cluster_:
        answer = await cluster_.get("/api/v1/explain", pod="gone")
        hint = "pod: 'gone': there is no pod default/gone; for a pod of another namespace write namespace/name"
        assert (answer.status_code, answer.json()["detail"]) == (404, hint)


async def test_what_the_agent_refused_is_quoted() -> None:
    """A pod that its kubelet failed, as the agent gave it no slices, is explained by their words, bounded."""
    async with asking(1) as cluster_:
        await cluster_.create("first", "7g.40gb")
        await cluster_.why("first", "ready")
        await cluster_.create("copied", "7g.40gb", schedulerName="raw", nodeName="node-1")
        said = "Allocate failed due to rpc error: its placement is another pod's\x1b[2J, which is unexpected"
        await cluster_.status("copied", phase="Failed", reason="UnexpectedAdmissionError", message=said + " x" * MIB)
        answer = await cluster_.why("copied", "refused_by_agent")
        assert answer["phase"] == "over"
        assert "node node-1 refused it, as its agent gave it no slices: Allocate failed due to rpc" in answer["reason"]
        assert answer["reason"].isprintable()
        assert len(answer["reason"]) < 1_000
        await cluster_.world.api.delete(api.POD, "copied", "default", grace_seconds=0)


async def test_a_pod_bound_past_us_says_why_its_promise_is_not_kept() -> None:
    """A copied annotation holds nothing, and the explanation says why; so it does on a node that does not exist."""
    async with asking(1) as cluster_:
        await cluster_.create("first", "7g.40gb")
        await cluster_.why("first", "ready")
        original = await cluster_.world.api.get(api.POD, "first", "default")
        await cluster_.create(
            "copy", "7g.40gb", original["metadata"]["annotations"], schedulerName="raw", nodeName="node-1"
        )
        await cluster_.create("past", "7g.40gb", schedulerName="raw", nodeName="node-2")
        answer = await cluster_.why("copy", "not_adopted")
        assert answer["reason"].startswith("bound without a placement that can be kept (its promised place is taken: ")
        assert answer["reason"].endswith("; its agent decides")
        answer = await cluster_.why("past", "node_gone")
        assert answer["reason"].startswith("bound to node node-2, which does not exist; delete the pod")
        for name in ("copy", "past"):
            await cluster_.world.api.delete(api.POD, name, "default", grace_seconds=0)


async def test_a_nominated_pod_names_the_pods_that_must_end() -> None:
    """After a preemption the pod waits for its victims, by name."""
    async with asking(1) as cluster_:
        await cluster_.create("victim", "7g.40gb")
        await cluster_.why("victim", "ready")
        await cluster_.create("urgent", "7g.40gb")
        await cluster_.status("urgent", nominatedNodeName="node-1")
        answer = await cluster_.why("urgent", "nominated")
        assert answer["reason"].startswith("nominated to node node-1, where no pod is ending any more; ")
        assert answer["counts"] == {"full": 1}


async def test_a_full_cluster_is_told_from_a_fragmented_one() -> None:
    """Nodes with enough free memory in the wrong places are fragmented; the others are full."""
    async with asking(2) as cluster_:
        for name in ("a", "b", "c"):
            await cluster_.create(name, "3g.20gb")
            await cluster_.why(name, "ready")
        await cluster_.create("large", "7g.40gb")
        answer = await cluster_.why("large", "full")
        assert answer["reason"] == "2 nodes: no free 7g.40gb placement on any GPU (2 full)"
        assert sum(answer["counts"].values()) == answer["nodes_looked_at"] == 2


async def test_a_gpu_that_is_gone_is_named() -> None:
    """A claim on a GPU that its node does not report any more says so, and what to do."""
    async with asking(1) as cluster_:
        await cluster_.create("patient", "1g.5gb")
        await cluster_.why("patient", "ready")
        mig_node = await cluster_.world.api.get(api.MIG_NODE, "node-1")
        gpus = mig_node["status"]["gpus"]
        old = gpus[0]["uuid"]
        state = cluster_.world.service.state
        replaced = [{**gpus[0], "uuid": "GPU-new", "slices": []}]
        server = cluster_.world.server
        server.patch_status(api.MIG_NODE, "node-1", {"status": {"gpus": replaced}})
        answer = await cluster_.why("patient", "gpu_gone")
        assert (
            answer["reason"]
            == f"GPU {old} of its slices is not reported any more; delete the pod so that it is placed again"
        )
        server.patch_status(api.MIG_NODE, "node-1", {"status": {"gpus": gpus}})

        def is_back() -> bool:
            report = state.inventory.report("node-1")
            return report is not None and old in report.by_uuid()

        await eventually(is_back, "the GPU is back")


async def test_pending_pods_are_listed_and_cut() -> None:
    """The oldest first, grouped by reason, and how many are left out is said."""
    async with asking(1) as cluster_:
        await cluster_.create("first", "7g.40gb")
        await cluster_.why("first", "ready")
        for number in range(3):
            await cluster_.create(f"large-{number}", "7g.40gb")
        await cluster_.create("gated", schedulingGates=[{"name": "grove.io/podgang"}])
        await cluster_.why("gated", "gated")
        await cluster_.why("large-2", "full")
        answer = (await cluster_.get("/api/v1/pending")).json()
        assert (answer["pending"], answer["placed"], answer["left_out"]) == (4, 1, 0)
        assert sorted((group["code"], group["pods"]) for group in answer["groups"]) == [("full", 3), ("gated", 1)]
        cut = (await cluster_.get("/api/v1/pending", limit="1", namespace="default")).json()
        assert (len(cut["pods"]), cut["left_out"], cut["cut_by"]) == (1, 3, "limit")
        assert (await cluster_.get("/api/v1/pending", namespace="other")).json()["pending"] == 0


async def test_the_cheapest_remedy_is_computed() -> None:
    """A pod that finds the cluster full is told of the pod whose end makes room, and of a node that would."""
    async with asking(1) as cluster_:
        await cluster_.create("fills", "7g.40gb")
        await cluster_.why("fills", "ready")
        await cluster_.create("large", "7g.40gb")
        await cluster_.why("large", "full")
        answer = (await cluster_.get("/api/v1/remedy", pod="large", time_limit_s="2")).json()
        assert answer["cheapest"] == {"kind": "nodes", "nodes": 1, "model": "a100-40gb", "gpus_per_node": 1}
        assert [trial["kind"] for trial in answer["trials"]] == ["terminating", "moves", "profile", "deadline", "nodes"]


async def test_a_queued_pod_is_told_what_room_it_waits_for_and_a_remedy_is_searched() -> None:
    """A pod that found no place says why as any other does, and its place in the queue; a plan for it is made."""
    async with asking(nodes=1, queue=True) as cluster_:
        await cluster_.create("large", "7g.40gb")
        await cluster_.why("large", "ready")
        await cluster_.create("late", "1g.5gb")
        answer = await cluster_.why("late", "full")
        assert answer["reason"].endswith("in migsched's queue, no pods before it")
        assert answer["kube_scheduler"] == ""
        remedy = await cluster_.get("/api/v1/remedy", pod="default/late")
        assert remedy.status_code == 200, remedy.text


async def test_with_the_queue_nobody_is_told_to_name_a_scheduler() -> None:
    """A pod that the gate does not hold is told to be made anew, and one without slices what to write of these."""
    async with asking(nodes=1, queue=True) as cluster_:
        opted_out = {"name": "past", "labels": {"migsched.io/queue": "off"}}
        limits = {"nvidia.com/mig-1g.5gb": "1"}
        spec = {"containers": [{"name": "main", "resources": {"limits": limits}}], "schedulerName": "default-scheduler"}
        await cluster_.world.api.create(api.POD, {"metadata": opted_out, "spec": spec})
        answer = await cluster_.why("past", "other_scheduler")
        assert answer["reason"].endswith("make it anew as one that the queue's admission policy admits")
        await cluster_.create("plain", "", schedulerName="default-scheduler")
        answer = await cluster_.why("plain", "no_slices")
        assert "schedulerName" not in answer["reason"]
