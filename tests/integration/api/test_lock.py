"""The locked API as it is served: over TLS, with every route of every port and what it asks of its caller."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.routing import Route

from allocator import errors
from kubeclient.reviews import User
from scheduler import settings
from scheduler.admission.webhook import PATH as WEBHOOK
from scheduler.lock import routes
from scheduler.lock.routes import Asks, PathRight
from scheduler.service import Service
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.reviews import MemoryReviews
from simulator.cluster.memory_cluster.server import MemoryServer
from testbed.control_plane import certificates
from tests.integration.api import running_service
from tests.integration.api.running_service import RunningService
from tests.unit.deploy import manifests

PAGE = Path(__file__).parents[3] / "docs" / "api-access.md"
READER, OPERATOR, NOBODY = (User(name) for name in ("reader", "operator", "nobody"))
MEANT = {"X-Migsched-Action": "1"}
BEARING = {user.username: {"Authorization": f"Bearer {user.username}-token"} for user in (READER, OPERATOR, NOBODY)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """A certificate for 127.0.0.1 and its authority."""
    return certificates.ensure(tmp_path_factory.mktemp("pki"))


def cluster_users() -> MemoryReviews:
    """A reader, an operator and a user without rights, with the rights of the shipped roles."""
    reviews = MemoryReviews()
    for user in (READER, OPERATOR, NOBODY):
        reviews.give_token(f"{user.username}-token", user)
    for user, role in ((READER, "migsched-reader"), (OPERATOR, "migsched-operator")):
        found = manifests.one(manifests.DEPLOY / "options" / "api-lock" / "roles.yaml", "ClusterRole", role)
        for rule in found["rules"]:
            for verb in rule["verbs"]:
                for path in rule.get("nonResourceURLs", ()):
                    reviews.grant(user.username, verb, path)
                for resource in rule.get("resources", ()):
                    reviews.grant_on(user.username, verb, rule["apiGroups"][0], resource)
    return reviews


@asynccontextmanager
async def locked(
    pair: certificates.Certificates, reviews: MemoryReviews | None = None, **changes: Any
) -> AsyncIterator[RunningService]:
    """The service with a lock on its API."""
    files: dict[str, Any] = {"api_cert": pair.serving, "api_key": pair.serving_key}
    async with running_service.running(
        reviews=reviews or cluster_users(),
        trust=ssl.create_default_context(cafile=pair.authority),
        api_access="tokens",
        **files,
        **changes,
    ) as running:
        yield running


def served() -> set[tuple[str, str]]:
    """Method and path of every route that the API's application has."""
    return {
        (method, route.path)
        for route in running_service.application().routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD" or route.path not in routes.ROUTES
    }


def test_every_route_of_the_api_has_a_row() -> None:
    """What the application serves is what the lock knows: no route is forgotten, and none is open by oversight."""
    rows = {(method, path): asks for path, methods in routes.ROUTES.items() for method, asks in methods.items()}
    assert served() == rows.keys()
    open_ones = {path for (_, path), asks in rows.items() if asks is Asks.NOTHING}
    assert open_ones == {"/livez", "/readyz", "/", "/page/{file:path}"}
    assert {path for (_, path), asks in rows.items() if asks is Asks.RIGHT_UNLESS_OPEN} == {"/metrics"}


def test_the_page_lists_every_route_of_every_port() -> None:
    """docs/api-access.md has a row for each route, with what it asks; and those of the other ports ask for nothing."""
    rows = set(re.findall(r"^\| (\w+) \| `(\w+) (/[^`]*)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    expected = set()
    for path, methods in routes.ROUTES.items():
        for method, asks in methods.items():
            asked = routes.right(method, path)
            said = f"`{asked.verb}` on the resource `repacks.migsched.io`"
            if isinstance(asked, PathRight):
                said = "nothing" if asks is Asks.NOTHING else f"`{asked.verb}` on `{asked.path}`"
            said += ", or nothing by `api_open_metrics`" if asks is Asks.RIGHT_UNLESS_OPEN else ""
            expected.add(("API", method, path, said))
    config = yaml.safe_load(manifests.KUBE_SCHEDULER_CONFIG.read_text(encoding="utf-8"))["extenders"][0]
    verbs = {f"/v1/{config[verb]}" for verb in ("filterVerb", "prioritizeVerb", "preemptVerb", "bindVerb")}
    expected |= {("extender", "POST", path, "nothing: loopback only") for path in verbs}
    expected.add(("webhook", "POST", WEBHOOK, "nothing: API servers name no token"))
    expected |= {("agent", "GET", path, "nothing") for path in ("/livez", "/readyz", "/metrics")}
    assert rows == expected


async def status_of(running: RunningService, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of an answer, which may have no end."""
    async with running.client.stream(method, path, headers=headers, content=b"{}") as answer:
        return answer.status_code


async def test_each_route_asks_for_what_its_row_says(pair: certificates.Certificates) -> None:
    """Strangers get 401 and users without rights 403 on all that is locked; a reader reads; an operator also posts."""
    async with locked(pair) as running:
        for path, methods in routes.ROUTES.items():
            for method, asks in methods.items():
                statuses = {
                    name: await status_of(running, method, path, headers | MEANT)
                    for name, headers in {"": {}, **BEARING}.items()
                }
                if asks is Asks.NOTHING:
                    assert set(statuses.values()) <= {200, 404}, path  # no file is called as the row is
                    continue
                assert (statuses[""], statuses["nobody"]) == (401, 403), path
                assert statuses["operator"] not in (401, 403), path
                assert (statuses["reader"] == 403) is (method == "POST"), path


async def test_what_kube_scheduler_and_api_servers_call_is_not_locked(pair: certificates.Certificates) -> None:
    """The extender's verbs and the webhook are answered without a token while the API is locked."""
    config = yaml.safe_load(manifests.KUBE_SCHEDULER_CONFIG.read_text(encoding="utf-8"))["extenders"][0]
    webhook: dict[str, Any] = {"webhook_cert": pair.serving, "webhook_key": pair.serving_key, "webhook_port": 0}
    async with locked(pair, **webhook, webhook_host="127.0.0.1") as running:
        for verb in ("filterVerb", "prioritizeVerb", "preemptVerb", "bindVerb"):
            async with httpx.AsyncClient(trust_env=False) as kube_scheduler:
                answer = await kube_scheduler.post(f"{running.service.extender_url}/v1/{config[verb]}", content=b"{")
            assert answer.status_code == 400, "the body is read, and is bad"
        gated = await running.client.post(f"{running.service.webhook_url}{WEBHOOK}", content=b"{")
        assert gated.status_code == 400


async def test_unknown_routes_are_401_to_strangers(pair: certificates.Certificates) -> None:
    """Without a token nobody learns what there is."""
    async with locked(pair) as running:
        for path in ("/api/v1/nothing", "/api/v2/nodes", "/.git", "//livez", "/livez/", "/metrics/"):
            url = f"{running.service.api_url}{path}"
            assert (await running.client.get(url)).status_code == 401
            assert (await running.client.get(url, headers=BEARING["operator"])).status_code == 404


async def test_an_open_api_is_open_and_metrics_alone_can_be(pair: certificates.Certificates) -> None:
    """On loopback without a lock everything is answered; with one, metrics are open if told so."""
    async with running_service.running() as running:
        assert (await running.client.get("/api/v1/nodes")).status_code == 200
    async with locked(pair, api_open_metrics=True) as running:
        assert (await running.client.get("/metrics")).status_code == 200
        assert (await running.client.get("/api/v1/nodes")).status_code == 401


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"api_host": "0.0.0.0"}, "api_access: 'loopback'"),
        ({"api_host": "::"}, "api_access: 'loopback'"),
        ({"api_host": "10.0.0.1"}, "api_access: 'loopback'"),
        ({"api_host": "0.0.0.0", "api_access": "tokens"}, "api_access: 'tokens': needs api_cert"),
        ({"api_cert": Path("a")}, "api_cert: .*needs api_key"),
        ({"api_key": Path("a")}, "api_cert: .*needs api_key"),
    ],
    ids=str,
)
def test_no_api_is_open_by_oversight(given: dict[str, Any], setting: str) -> None:
    """An address that others reach needs a lock over TLS, or the word that none is wanted; the error says so."""
    with pytest.raises(errors.SettingsError, match=setting):
        Service(settings.load(**given), MemoryCluster(MemoryServer()))


@pytest.mark.parametrize(
    "given",
    [{"api_host": host} for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")]
    + [{"api_host": "127.0.0.1", "api_access": "tokens"}, {"api_host": "0.0.0.0", "api_access": "open"}],
    ids=str,
)
def test_loopback_needs_no_lock_and_open_is_a_word(given: dict[str, Any]) -> None:
    """A demo and a sidecar start as they did; whoever wants no lock says so."""
    assert settings.load(**given).lock_terms().certificate == ""


async def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    """The service does not start, and says which setting is wrong."""
    file = tmp_path / "pem"
    file.write_text("none")
    chosen = settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", api_cert=file, api_key=file)
    service = Service(chosen, MemoryCluster(MemoryServer()))
    with pytest.raises(errors.SettingsError, match="api_cert"):
        await service.start()
    await service.stop()


async def test_the_caller_is_who_the_planner_takes_turns_among(pair: certificates.Certificates) -> None:
    """Two users behind one address have a part of their own: the one that asks a lot leaves room for the other."""
    reviews = cluster_users()
    reviews.give_token("other-token", User("other"))
    reviews.grant("other", "post", "/migsched/*")
    async with locked(pair, reviews, api_calls=4, planner_queue=4) as running:
        document = {"demand": {"1g.5gb": 7}, "fleet": [{"model": "a100-40gb", "count": "unlimited"}]}

        async def ask(headers: dict[str, str]) -> int:
            answer = await running.client.post("/api/v1/plan", json=document, headers=headers)
            return answer.status_code

        greedy = [asyncio.create_task(ask(BEARING["operator"])) for _ in range(8)]
        other = await ask({"Authorization": "Bearer other-token"})
        assert other == 200
        statuses = await asyncio.gather(*greedy)
        assert 200 in statuses
        assert set(statuses) <= {200, 503}
