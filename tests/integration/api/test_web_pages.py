"""The API's pages for people, as a browser gets them: complete, from this host alone, under a strict policy."""

import hashlib
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
import pytest_asyncio

from scheduler.api import web_pages
from tests.integration.api import running_service
from tests.integration.api.running_service import RunningService

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[RunningService]:
    """The service with the gateway in front."""
    async with running_service.running(apart=True) as running:
        yield running


class Links(HTMLParser):
    """What a page loads and leads to; scripts and styles that stand in it itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.leads_to: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        given = dict(attrs)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "script":
            self.loaded.append(given.get("src") or "")
        elif tag == "link":
            self.loaded.append(given.get("href") or "")
        elif tag == "a":
            self.leads_to.append(given.get("href") or "")


async def get(served: RunningService, path: str) -> httpx.Response:
    """The answer to a browser that was told this address."""
    return await served.client.get(path, headers={"Sec-Fetch-Site": "none"})


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_is_complete_without_another_host(served: RunningService, path: str) -> None:
    """All that a page loads is served beside it, nothing stands inline, and every link leads somewhere."""
    page = await get(served, path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = Links(page.text)
    assert links.loaded
    assert links.inline == []
    for target in (*links.loaded, *links.leads_to):
        assert re.match(r"/(?!/)", target), target
        answer = await served.client.get(target, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 200, target
        assert answer.headers["content-type"].split(";")[0] in {
            "text/css", "text/javascript", "text/html", "image/svg+xml", "text/plain", "application/json",
        }  # fmt: skip


@pytest.mark.parametrize("path", sorted(web_pages.FILES))
async def test_browsers_are_told_to_load_nothing_else(served: RunningService, path: str) -> None:
    """The policy allows scripts, styles and calls of this host, no frame, and comes with each file."""
    answer = await get(served, path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["server"] == "migsched"


async def test_pages_of_other_sites_may_not_use_them(served: RunningService) -> None:
    """The gateway's rules about origins hold for pages too."""
    answer = await served.client.get("/docs", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


async def test_they_are_no_part_of_the_openapi_document(served: RunningService) -> None:
    """Programs are told of calls, not of pages."""
    assert not set((await served.client.get("/openapi.json")).json()["paths"]) & set(web_pages.FILES)


async def test_vendored_files_are_unchanged() -> None:
    """Swagger UI's files and licences have the sums that are written down."""
    lines = (web_pages.ASSETS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: sum_ for sum_, name in (line.split() for line in lines)}
    kept = {file.name for file in web_pages.ASSETS.iterdir()} - {"SHA256SUMS", "README.md"}
    assert sums.keys() == kept
    assert {"LICENSE", "NOTICE"} <= kept
    for name, expected in sums.items():
        assert hashlib.sha256((web_pages.ASSETS / name).read_bytes()).hexdigest() == expected, name
