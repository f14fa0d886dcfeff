"""The locked API on a genuine API server: whose tokens it takes, for how long, and certificates that change under load.

The service runs as an account with the extender's role alone, its API in a process of its own, as in production.
"""

import asyncio
import os
import re
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from scheduler import settings
from scheduler.cache.kube import KubeClient
from scheduler.lock import terms
from scheduler.service import Service
from testbed.control_plane import build, certificates
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

NODES = "/api/v1/nodes"
KNOWN_S = 1.0
API_SERVERS_OWN_S = 10.0  # for which kube-apiserver goes by what it has said of a token
STRANGERS = 600
MIB = 2**20


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with deploy/ applied, the option's roles too."""
    with deployed.cluster(binaries, tmp_path_factory.mktemp("lock")) as started:
        deployed.apply_options(started, "api-lock")
        yield started


@dataclass
class Locked:
    """The running service, the files of its certificate, and a client that trusts both certificates."""

    cluster: ControlPlane
    service: Service
    files: tuple[Path, Path]
    pairs: tuple[certificates.Certificates, certificates.Certificates]
    client: httpx.AsyncClient
    doomed: str = ""
    doomed_until: float = 0.0

    async def status(self, token: str | None, path: str = NODES, method: str = "GET") -> int:
        """What a caller with this token gets."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return (await self.client.request(method, path, headers=headers)).status_code

    async def token(self, account: str, *options: str) -> str:
        """A token of a service account, which is made if need be."""
        return await asyncio.to_thread(self._token, account, *options)

    def _token(self, account: str, *options: str) -> str:
        self.cluster.kubectl("create", "serviceaccount", account, check=False)
        return self.cluster.kubectl("create", "token", account, *options).stdout.strip()

    async def bind(self, role: str, *subject: str) -> None:
        """Give somebody a role."""
        name = f"{role}-{abs(hash(subject))}"
        await asyncio.to_thread(
            self.cluster.kubectl, "create", "clusterrolebinding", name, f"--clusterrole={role}", *subject
        )


def install(pair: certificates.Certificates, files: tuple[Path, Path]) -> None:
    """Put a certificate where the service looks, as the kubelet does: whole files in place of others."""
    for source, target in zip((pair.serving, pair.serving_key), files, strict=True):
        shutil.copyfile(source, target.with_suffix(".new"))
        target.with_suffix(".new").rename(target)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Locked]:
    """The service, ready."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("first", "second"):
        (folder / name).mkdir()
    pairs = (certificates.ensure(folder / "first"), certificates.ensure(folder / "second"))
    files = (folder / "tls.crt", folder / "tls.key")
    install(pairs[0], files)
    kubeconfig = cluster.kubeconfig_of(deployed.EXTENDER)
    chosen = settings.load(
        kubeconfig=kubeconfig, extender_port=0, api_host="127.0.0.1", api_port=0, shutdown_s=0.1,
        api_access="tokens", api_cert=files[0], api_key=files[1], api_known_s=KNOWN_S,
    )  # fmt: skip
    service = Service(chosen, await KubeClient.connect(kubeconfig), api_apart=True)
    await service.start()
    trust = ssl.create_default_context(cafile=pairs[0].authority)
    trust.load_verify_locations(pairs[1].authority)
    async with httpx.AsyncClient(base_url=service.api_url, verify=trust, trust_env=False, timeout=30) as client:
        await service.synced()
        yield Locked(cluster, service, files, pairs, client)
    await service.stop()


async def test_who_cannot_ask_the_api_server_lets_nobody_in(locked: Locked) -> None:
    """Without the option's right every token is 503 with Retry-After, and probes are answered."""
    token = await locked.token("reader")
    answer = await locked.client.get(NODES, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "refuses migsched the question" in answer.json()["detail"]
    assert (await locked.client.get("/readyz")).status_code == 200
    await locked.bind("migsched-api-lock", f"--user={deployed.EXTENDER}")


async def test_strangers_users_and_users_with_the_right(locked: Locked) -> None:
    """A stranger is 401, a user of the cluster without a role 403, and one with a role is served what it says."""
    reader, doomed = await locked.token("reader"), await locked.token("doomed")
    while await locked.status(reader) == 503:  # the API server's authorizer hears of a binding by a watch
        await asyncio.sleep(0.05)
    assert await locked.status(None) == 401
    assert await locked.status(f"{reader[:-4]}aaaa") == 401
    assert await locked.status(reader) == 403, "every user may get /api/* of the API server itself"
    await locked.bind("migsched-reader", "--serviceaccount=default:reader", "--serviceaccount=default:doomed")
    for token in (reader, doomed):
        while await locked.status(token) != 200:
            await asyncio.sleep(0.05)
    assert [await locked.status(reader, path) for path in ("/metrics", "/api/v1/pending")] == [200, 200]
    assert await locked.status(reader, "/api/v1/plan", "POST") == 403
    other = await locked.token("reader", "--audience=somebody-else")
    assert await locked.status(other) == 401
    await asyncio.to_thread(locked.cluster.kubectl, "delete", "serviceaccount", "doomed")
    locked.doomed, locked.doomed_until = doomed, time.monotonic() + KNOWN_S + API_SERVERS_OWN_S


def reviews_asked(cluster: ControlPlane) -> int:
    """How many TokenReviews the API server has been asked for."""
    text = cluster.kubectl("get", "--raw", "/metrics").stdout
    rows = re.findall(r'^apiserver_request_total\{[^}]*resource="tokenreviews"[^}]*\} (\d+)$', text, re.MULTILINE)
    return sum(map(int, rows))


async def test_hostile_tokens_flood_nobody(locked: Locked) -> None:
    """Tokens that are too long, not text or all different cost the API server few reviews and the gateway no memory."""
    pid = locked.service.servers.gateway_pid
    assert pid is not None
    statm = Path(f"/proc/{pid}/statm")
    before, asked, began = statm.read_text(), reviews_asked(locked.cluster), time.monotonic()
    assert await locked.status("x" * 20_000) == 401
    with pytest.raises(httpx.HTTPError):  # larger than a head may be: the connection ends, or it is 4xx
        (await locked.client.get(NODES, headers={"Authorization": f"Bearer {'x' * 2**16}"})).raise_for_status()
    odd = await locked.client.get(NODES, headers=[(b"Authorization", b"Bearer a\x01\xff")])
    assert odd.status_code in (400, 401)
    places = asyncio.Semaphore(24)

    async def stranger(number: int) -> int:
        async with places:
            return await locked.status(f"stranger-{number}")

    statuses = await asyncio.gather(*(stranger(number) for number in range(STRANGERS)))
    assert set(statuses) <= {401, 503}
    grown = int(statm.read_text().split()[1]) - int(before.split()[1])
    assert grown * os.sysconf("SC_PAGE_SIZE") < 16 * MIB
    most = (time.monotonic() - began) * terms.REVIEWS / terms.REVIEW_PACE_S + terms.REVIEWS + terms.REVIEWS_WAITING
    assert reviews_asked(locked.cluster) - asked <= min(STRANGERS, most)


async def test_a_certificate_changes_under_load_without_a_dropped_request(locked: Locked) -> None:
    """While callers come and stay, the certificate becomes another one, and every request is answered."""
    token = await locked.token("reader")
    headers = {"Authorization": f"Bearer {token}"}
    first, second = (ssl.create_default_context(cafile=pair.authority) for pair in locked.pairs)
    both = ssl.create_default_context(cafile=locked.pairs[0].authority)
    both.load_verify_locations(locked.pairs[1].authority)
    statuses: list[int] = []
    over = asyncio.Event()

    async def stays() -> None:
        async with httpx.AsyncClient(base_url=locked.service.api_url, verify=both, trust_env=False) as client:
            while not over.is_set():
                statuses.append((await client.get(NODES, headers=headers, timeout=30)).status_code)
                await asyncio.sleep(0.01)

    async def comes() -> None:
        while not over.is_set():
            async with httpx.AsyncClient(base_url=locked.service.api_url, verify=both, trust_env=False) as client:
                statuses.append((await client.get(NODES, headers=headers, timeout=30)).status_code)

    async def trusted(context: ssl.SSLContext) -> bool:
        host, _, port = locked.service.api_url.removeprefix("https://").rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True

    clients = [asyncio.create_task(client()) for client in (stays, stays, stays, comes, comes)]
    assert await trusted(first)
    install(locked.pairs[1], locked.files)
    while not await trusted(second):
        assert not any(client.done() for client in clients)
        await asyncio.sleep(0.05)
    at_change = len(statuses)
    await eventually(lambda: len(statuses) > at_change + 50, "the callers go on")
    over.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert not await trusted(first)


async def test_the_token_of_a_deleted_account_is_refused_in_time(locked: Locked) -> None:
    """After what is kept here and in the API server has run out, the token lets nobody in."""
    while await locked.status(locked.doomed) == 200:
        assert time.monotonic() < locked.doomed_until + 2.0, "two seconds for a busy machine"
        await asyncio.sleep(0.05)
    assert await locked.status(locked.doomed) == 401
