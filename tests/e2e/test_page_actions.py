"""The web page's actions on a genuine API server: who may have Repacks made and approved, through the gateway.

The service runs as its own account, with the options' roles alone, its API in a process of its own, as in production.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import page_service
from tests.e2e.page_service import POD, ROLES, Asking

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

REPACKS, OVERVIEW, CHANGES = "/api/v1/repacks", "/api/v1/overview", "/api/v1/overview/changes"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with the scheduler's options applied."""
    with page_service.cluster(binaries, tmp_path_factory.mktemp("page")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asking]:
    """The service, ready, with a waiting pod."""
    async with page_service.asking(cluster, tmp_path_factory.mktemp("tls")) as ready:
        yield ready


async def test_a_reader_looks_and_an_operator_acts(asking: Asking, cluster: ControlPlane) -> None:
    """A stranger is 401 and a reader 403; an operator has a Repack made, once, and approved: the object says so."""
    wish = {"pod": POD, "mode": "Approve"}
    assert (await asking.post("", REPACKS, wish, **{"X-Migsched-Action": "1"})).status_code == 401
    refused = await asking.post("reader", REPACKS, wish)
    assert refused.status_code == 403
    assert "may not create repacks.migsched.io" in refused.json()["detail"]
    made = await asking.post("operator", REPACKS, wish)
    assert made.status_code == 200, made.text
    name = made.json()["name"]
    assert (await asking.post("operator", REPACKS, wish)).json() == {"name": name, "created": False}
    deadline = asyncio.get_running_loop().time() + 10
    while (await asking.get("reader", f"{REPACKS}/{name}")).status_code == 404:  # the service hears of it by a watch
        assert asyncio.get_running_loop().time() < deadline
    approval = f"{REPACKS}/{name}/approval"
    assert (await asking.post("reader", approval, {})).status_code == 403
    assert (await asking.post("operator", approval, {"uid": "another"})).status_code == 409
    assert (await asking.post("operator", approval, {})).status_code == 200
    stored = json.loads(cluster.kubectl("get", "repack", name, "--output=json").stdout)
    assert stored["spec"]["approved"] is True
    assert stored["spec"]["wanted"]["pod"]["name"] == "train"


async def test_each_caller_sees_what_it_may_and_the_stream_begins_whole(asking: Asking) -> None:
    """The overview offers a reader nothing to send and an operator all, and its stream begins with the whole of it."""
    may = {account: (await asking.get(account, OVERVIEW)).json()["may"] for account in ROLES}
    assert may == {
        "reader": {"plan": False, "move": False, "demo": False},
        "operator": {"plan": True, "move": True, "demo": False},
    }
    deadline = asyncio.get_running_loop().time() + 30
    while not (await asking.get("reader", OVERVIEW)).json()["waiting"]:  # waiting pods are looked at every few seconds
        assert asyncio.get_running_loop().time() < deadline
    bearing = {"Authorization": f"Bearer {asking.tokens['reader']}"}
    async with asking.client.stream("GET", CHANGES, headers=bearing) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        head = [await anext(lines) for _ in range(3)]
    assert head[1] == "event: overview"
    overview = json.loads(head[2].removeprefix("data: "))
    assert overview["may"] == may["reader"]
    assert [pod["pod"] for pod in overview["waiting"]] == [POD]


async def test_the_page_itself_needs_no_token(asking: Asking) -> None:
    """Its files are open, with the strict policy; what is no file is 404, and data stays 401."""
    page = await asking.client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (await asking.client.get("/page/nothing")).status_code == 404
    assert (await asking.client.get(OVERVIEW)).status_code == 401
