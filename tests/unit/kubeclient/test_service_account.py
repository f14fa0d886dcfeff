"""Access from within a pod, over TLS on loopback: what is mounted into it lets the agent in, and is read again."""

import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import test_utils, web

from allocator import errors
from kubeclient import kube, service_account
from kubeclient.objects import Node
from testbed.control_plane import certificates


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Kubernetes mounts into a container, in a directory of the test."""
    directory = tmp_path / "serviceaccount"
    directory.mkdir()
    shutil.copy(certificates.ensure(tmp_path).authority, directory / "ca.crt")
    (directory / "token").write_text("first\n")
    monkeypatch.setenv(service_account.HOST, "127.0.0.1")
    monkeypatch.setenv(service_account.PORT, "1")
    return directory


@asynccontextmanager
async def api_server(made_in: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """A server of one node, over TLS; the Authorization headers it got."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({"metadata": {"name": "n1"}})

    made = certificates.ensure(made_in)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.serving, made.serving_key)
    application = web.Application()
    application.router.add_get("/api/v1/nodes/n1", answer)
    server = test_utils.TestServer(application, scheme="https")
    await server.start_server(ssl=context)
    monkeypatch.setenv(service_account.PORT, str(server.port))
    try:
        yield seen
    finally:
        await server.close()


@asynccontextmanager
async def connected(mounted: Path) -> AsyncIterator[kube.Connection]:
    """A connection as a pod makes it, which looks at its files for each call."""
    connection = kube.Connection(service_account.ServiceAccount(mounted, check_s=0.0), authenticated_s=0.0)
    try:
        yield connection
    finally:
        await connection.close()


async def test_the_mounted_token_lets_in(mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is trusted by the mounted authority and is shown the token; a renewed one is used from then on."""
    async with api_server(tmp_path, monkeypatch) as seen, connected(mounted) as connection:
        assert (await connection.get("/api/v1/nodes/n1", Node)).metadata.name == "n1"
        (mounted / "token").write_text("second")
        await connection.get("/api/v1/nodes/n1", Node)
    assert seen == ["Bearer first", "Bearer second"]


async def test_another_authority_is_not_trusted(mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose certificate another authority signed does not get the token, until that one is mounted."""
    (tmp_path / "other").mkdir()
    async with api_server(tmp_path / "other", monkeypatch) as seen, connected(mounted) as connection:
        with pytest.raises(errors.UnreachableError, match="certificate verify failed"):
            await connection.get("/api/v1/nodes/n1", Node)
        assert seen == []
        shutil.copy(certificates.ensure(tmp_path / "other").authority, mounted / "ca.crt")
        assert (await connection.get("/api/v1/nodes/n1", Node)).metadata.name == "n1"
    assert seen == ["Bearer first"]


async def test_an_authority_that_cannot_be_read_leaves_the_one_before(
    mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the mounted files are being written again, connections are made with what was read last."""
    async with api_server(tmp_path, monkeypatch) as seen, connected(mounted) as connection:
        for damage in (lambda: (mounted / "ca.crt").write_text("half"), lambda: (mounted / "ca.crt").unlink()):
            damage()
            await connection.get("/api/v1/nodes/n1", Node)
    assert len(seen) == 2


async def test_a_token_that_vanishes_is_an_unreachable_server(mounted: Path) -> None:
    """It is tried again as any server that does not answer."""
    async with connected(mounted) as connection:
        (mounted / "token").unlink()
        with pytest.raises(errors.UnreachableError, match="token"):
            await connection.get("/api/v1/nodes/n1", Node)


async def test_a_token_that_becomes_unusable_is_named(mounted: Path) -> None:
    """While the token is something that cannot be sent, calls fail with what is wrong with it, and do not show it."""
    async with connected(mounted) as connection:
        (mounted / "token").write_bytes(b"secret\xff")
        with pytest.raises(errors.UnreachableError, match="token holds something else than printable ASCII") as caught:
            await connection.get("/api/v1/nodes/n1", Node)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda at: (at / "ca.crt").unlink(), "No such file"),
        (lambda at: (at / "ca.crt").write_text("nothing"), "serviceaccount"),
        (lambda at: (at / "token").unlink(), "token"),
        (lambda at: (at / "token").write_text(" \n"), "token is empty"),
        (lambda at: (at / "token").write_text("größe"), "something else than printable ASCII"),
        (lambda at: (at / "token").write_bytes(b"\xff"), "something else than printable ASCII"),
        (lambda at: (at / "token").write_text("a\r\nb: c"), "something else than printable ASCII"),
    ],
)
async def test_what_is_missing_is_named(mounted: Path, damage: object, named: str) -> None:
    """A mount that cannot be used is a setting that cannot be meant, and says what would help."""
    assert callable(damage)
    damage(mounted)
    with pytest.raises(errors.SettingsError, match=f"service account.*{named}.*kubeconfig file"):
        service_account.ServiceAccount(mounted)


async def test_an_ipv6_address_is_bracketed(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 clusters name the server by an address that a URL takes in brackets only."""
    monkeypatch.setenv(service_account.HOST, "fd00::1")
    monkeypatch.setenv(service_account.PORT, "443")
    assert service_account.ServiceAccount(mounted).host == "https://[fd00::1]:443"
