"""Credentials that run out while a service runs: each way of a kubeconfig to renew them, over HTTP on loopback."""

import asyncio
import json
import os
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import test_utils, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from allocator import errors
from kubeclient import kube
from kubeclient.kubeconfig import Kubeconfig

API_VERSION = "client.authentication.k8s.io/v1"


@dataclass
class Server:
    """An API server that lets in who bears this token."""

    token: str = ""
    seen: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        """What every call gets."""
        self.seen.append(request.headers.get("Authorization", ""))
        let_in = not self.token or self.seen[-1] == f"Bearer {self.token}"
        return web.json_response({}, status=200 if let_in else 401)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """See Server; it runs."""
    made = Server()
    application = web.Application()
    application.router.add_get("/x", made.answer)
    async with test_utils.TestServer(application) as running:
        made.url = str(running.make_url("/"))
        yield made


@asynccontextmanager
async def connected(file: Path) -> AsyncIterator[kube.Connection]:
    """A connection that looks at its credentials for each call."""
    connection = kube.Connection(await Kubeconfig.load(file, check_s=0.0), authenticated_s=0.0)
    yield connection
    await connection.close()


def kubeconfig(directory: Path, url: str, user: dict[str, Any]) -> Path:
    """A kubeconfig of a user."""
    file = directory / "kubeconfig"
    parts = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "x", **parts}))
    return file


class Plugin:
    """A credential plugin: a command that says what a file holds, and counts how often it was run."""

    def __init__(self, directory: Path) -> None:
        self._says, self._runs = directory / "credential.json", directory / "runs"

    @property
    def user(self) -> dict[str, Any]:
        """The kubeconfig's user."""
        says, runs = shlex.quote(str(self._says)), shlex.quote(str(self._runs))
        command = f"echo run >> {runs}; cat {says}"
        return {"exec": {"apiVersion": API_VERSION, "command": "sh", "args": ["-c", command]}}

    @property
    def runs(self) -> int:
        """How often it was run."""
        return len(self._runs.read_text().splitlines())

    def says(self, status: dict[str, str], expires_in_s: float | None = None) -> None:
        """What it says from now on."""
        if expires_in_s is not None:
            at = datetime.now(UTC) + timedelta(seconds=expires_in_s)
            status = {**status, "expirationTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._says.write_text(json.dumps({"apiVersion": API_VERSION, "kind": "ExecCredential", "status": status}))

    def hangs(self) -> Callable[[str], None]:
        """It says nothing until what is returned is called with a token."""
        self._says.unlink()
        os.mkfifo(self._says)
        status = {"token": "", "expirationTimestamp": "2100-01-01T00:00:00Z"}

        def answer(token: str) -> None:
            document = {"apiVersion": API_VERSION, "kind": "ExecCredential", "status": status | {"token": token}}
            self._says.write_text(json.dumps(document))

        return answer

    def breaks(self) -> None:
        """It fails from now on."""
        self._says.unlink()


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """See Plugin."""
    return Plugin(tmp_path)


async def test_a_plugin_is_asked_again_before_its_token_runs_out(
    server: Server, plugin: Plugin, tmp_path: Path
) -> None:
    """A token with time left is used as it is; one that has run out is renewed before the next call."""
    plugin.says({"token": "long"}, expires_in_s=3600)
    async with connected(kubeconfig(tmp_path, server.url, plugin.user)) as connection:
        for _ in range(2):
            await connection.request("GET", "/x")
    assert plugin.runs == 1
    plugin.says({"token": "short"}, expires_in_s=-1)
    async with connected(kubeconfig(tmp_path, server.url, plugin.user)) as connection:
        plugin.says({"token": "renewed"}, expires_in_s=3600)
        for _ in range(2):
            await connection.request("GET", "/x")
    assert server.seen == ["Bearer long", "Bearer long", "Bearer renewed", "Bearer renewed"]
    assert plugin.runs == 3


async def test_a_token_that_was_refused_is_renewed(server: Server, plugin: Plugin, tmp_path: Path) -> None:
    """HTTP 401 has the plugin asked again: the call that met it is refused, and the next one let in."""
    plugin.says({"token": "revoked"})
    async with connected(kubeconfig(tmp_path, server.url, plugin.user)) as connection:
        await connection.request("GET", "/x")
        server.token = "new"
        plugin.says({"token": "new"})
        with pytest.raises(errors.RefusedError):
            await connection.request("GET", "/x")
        await connection.request("GET", "/x")
    assert server.seen[1:] == ["Bearer revoked", "Bearer new"]


async def test_a_plugin_that_fails_later_leaves_what_there_was(server: Server, plugin: Plugin, tmp_path: Path) -> None:
    """A renewal that fails is tried again with the next call, which goes out with the token that there is."""
    plugin.says({"token": "old"}, expires_in_s=-1)
    async with connected(kubeconfig(tmp_path, server.url, plugin.user)) as connection:
        plugin.breaks()
        await connection.request("GET", "/x")
        plugin.says({"token": "new"}, expires_in_s=3600)
        await connection.request("GET", "/x")
    assert server.seen == ["Bearer old", "Bearer new"]


async def test_a_plugin_that_gives_nothing_is_named(plugin: Plugin, tmp_path: Path) -> None:
    """At the start a plugin without credentials is an error that names the file, the command and what to do."""
    file = kubeconfig(tmp_path, "http://127.0.0.1:1", plugin.user)
    with pytest.raises(errors.SettingsError, match=r"plugin 'sh' gave no credentials; run it by hand"):
        await Kubeconfig.load(file)


async def test_a_plugin_that_hangs_is_asked_once(server: Server, plugin: Plugin, tmp_path: Path) -> None:
    """Calls go on with the token that there is, and the plugin's late answer counts."""
    plugin.says({"token": "old"}, expires_in_s=-1)
    access = await Kubeconfig.load(kubeconfig(tmp_path, server.url, plugin.user), check_s=0.0, read_s=0.5)
    answer = plugin.hangs()
    for _ in range(2):
        assert await access.headers() == {"Authorization": "Bearer old"}
    assert plugin.runs == 2
    await asyncio.to_thread(answer, "new")
    assert await access.headers() == {"Authorization": "Bearer new"}
    assert plugin.runs == 2
    await access.close()


def client_certificate(valid_s: float) -> dict[str, str]:
    """A client's certificate and key, as a plugin says them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(seconds=valid_s))
    signed = made.sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return {
        "clientCertificateData": signed.public_bytes(pem).decode(),
        "clientKeyData": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode(),
    }


async def test_certificates_of_a_plugin_are_renewed(plugin: Plugin, tmp_path: Path) -> None:
    """A plugin's client certificate that has run out is another one in the next connection's context."""
    plugin.says(client_certificate(valid_s=-1))
    access = await Kubeconfig.load(kubeconfig(tmp_path, "https://127.0.0.1:1", plugin.user), check_s=0.0)
    first = access.ssl_context()
    assert access.ssl_context() is first
    plugin.says(client_certificate(valid_s=3600))
    for _ in range(2):
        assert await access.headers() == {}
    assert plugin.runs == 2
    assert access.ssl_context() is not first


async def test_a_token_file_is_read_again(server: Server, tmp_path: Path) -> None:
    """What stands in the file now goes out, without the line break at its end; relative to the kubeconfig."""
    token = tmp_path / "token"
    token.write_text("first\n")
    async with connected(kubeconfig(tmp_path, server.url, {"tokenFile": "token"})) as connection:
        await connection.request("GET", "/x")
        token.write_text("second\n")
        await connection.request("GET", "/x")
        for damage in (lambda: token.write_text("größe"), lambda: token.write_text(""), token.unlink):
            damage()
            with pytest.raises(errors.UnreachableError, match=r"token"):
                await connection.request("GET", "/x")
    assert server.seen == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("text", ["größe", "a\nb", "a\x00b", "a\r\nInjected: b"])
async def test_a_token_that_cannot_be_sent_is_named(tmp_path: Path, text: str) -> None:
    """A token that is not printable ASCII is an error at the start, in the file or beside it, that does not show it."""
    (tmp_path / "token").write_text(text)
    for user in ({"tokenFile": "token"}, {"token": text}):
        with pytest.raises(errors.SettingsError, match="something else than printable ASCII") as caught:
            await Kubeconfig.load(kubeconfig(tmp_path, "http://127.0.0.1:1", user))
        assert text not in str(caught.value)


async def test_a_kubeconfig_that_was_written_again_is_followed(server: Server, tmp_path: Path) -> None:
    """Another token in the file is used from then on; what cannot be read meanwhile changes nothing."""
    file = kubeconfig(tmp_path, server.url, {"token": "first"})
    async with connected(file) as connection:
        await connection.request("GET", "/x")
        file.write_text("clusters: [")
        await connection.request("GET", "/x")
        file.unlink()
        await connection.request("GET", "/x")
        kubeconfig(tmp_path, server.url, {"token": "second"})
        await connection.request("GET", "/x")
    assert server.seen == ["Bearer first"] * 3 + ["Bearer second"]
