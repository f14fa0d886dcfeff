"""A recording served on this machine: the page's questions answered from files, and nobody else's."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cli.recording import server
from cli.recording.recording import Recording
from cli.recording.writer import RecordingLimits, RecordingWriter
from tests.unit.cli.recording import overviews


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of three frames and a page."""
    page = tmp_path / "app"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html><title>page</title>")
    writer = RecordingWriter(tmp_path / "rec", RecordingLimits())
    writer.begin(overviews.overview(0, waiting_total=0))
    for second in (1, 2):
        writer.change(overviews.changes(second, waiting_total=second))
    writer.close()
    application = server.application(Recording(tmp_path / "rec"), page)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asking:
        yield asking


async def test_it_says_from_when_to_when_it_is(client: httpx.AsyncClient) -> None:
    """The recording's begin, end and the times of its frames."""
    answer = (await client.get("/api/v1/recording")).json()
    times = [overviews.stamp(second) for second in range(3)]
    assert answer == {"from": times[0], "to": times[-1], "frames": 3, "times": times}


@pytest.mark.parametrize(("at", "waiting"), [("2026-01-31T12:00:01Z", 1), ("2020-01-01T00:00:00+02:00", 0), ("", 2)])
async def test_it_shows_the_document_of_a_time_and_lets_nothing_be_done(
    client: httpx.AsyncClient, at: str, waiting: int
) -> None:
    """The document of then, the first for earlier times, the last without one; nothing may be done about it."""
    answer = (await client.get("/api/v1/overview", params={"at": at})).json()
    assert answer["waiting_total"] == waiting
    assert not any(answer["may"].values())


async def test_what_is_no_time_and_what_is_not_there_is_said(client: httpx.AsyncClient) -> None:
    """A time that is none is 400, an unknown path 404, an action 404 or 405; each in the API's shape of problems."""
    wrong = await client.get("/api/v1/overview", params={"at": "yesterday"})
    assert (wrong.status_code, "is no time" in wrong.json()["detail"]) == (400, True)
    assert (await client.get("/page/../../etc/passwd")).status_code == 404
    assert (await client.post("/api/v1/repacks", json={})).status_code == 404


async def test_the_page_comes_with_its_policy_and_is_not_sent_twice(client: httpx.AsyncClient) -> None:
    """The index has the strict policy and an ETag; who has it gets 304."""
    page = await client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert json.loads((await client.get("/page/missing.js")).content)["detail"]
