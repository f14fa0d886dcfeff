"""Access by a kubeconfig: what it says of the connection is honoured or refused, never dropped."""

import shutil
import ssl
from pathlib import Path

import pytest

from allocator import errors
from kubeclient import kube
from kubeclient.kubeconfig import Kubeconfig
from testbed.control_plane import certificates
from tests.unit.kubeclient.kubeconfigs import kubeconfig
from tests.unit.kubeclient.scripted import OBJECT, always, serving


@pytest.mark.parametrize("text", [None, "- no kubeconfig", "apiVersion: v1\nkind: Config\n", "a: ["])
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, text: str | None) -> None:
    """A missing file and one that configures nothing are errors that name the file."""
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    why = "cannot be used: .*No such file" if text is None else "cannot be used"
    with pytest.raises(errors.SettingsError, match=f"^kubeconfig: '{file}': {why}"):
        await kube.Connection.connect(file)


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_a_tls_server_name_is_honoured(tmp_path: Path) -> None:
    """The server's certificate has to bear the kubeconfig's tls-server-name instead of the URL's host."""
    made = certificates.ensure(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made.serving, made.serving_key)
    asked_for: list[str | None] = []
    tls.sni_callback = lambda _, name, __: asked_for.append(name)
    async with serving(always(OBJECT), tls=tls) as (_, server):
        url = f"https://127.0.0.1:{server.port}"
        cluster = {"certificate-authority": str(made.authority)}
        bears = await kube.Connection.connect(kubeconfig(tmp_path, url, **cluster, **{"tls-server-name": "kubernetes"}))
        assert await bears.request("GET", "/x") == b"{}"
        await bears.close()
        lacks = await kube.Connection.connect(kubeconfig(tmp_path, url, **cluster, **{"tls-server-name": "elsewhere"}))
        with pytest.raises(errors.UnreachableError, match="elsewhere"):
            await lacks.request("GET", "/x")
        await lacks.close()
    assert asked_for == ["kubernetes", "elsewhere"]


@pytest.mark.usefixtures("no_proxy")
async def test_a_proxy_url_is_refused(tmp_path: Path) -> None:
    """The error names the file, the proxy without its password, and what to do."""
    file = kubeconfig(tmp_path, "https://api.example", **{"proxy-url": "http://me:secret@proxy:3128"})
    with pytest.raises(errors.SettingsError) as caught:
        await kube.Connection.connect(file)
    assert str(caught.value) == (
        f"kubeconfig: {str(file)!r}: its proxy-url 'http://proxy:3128' cannot be used: no proxy is used towards the "
        "API server; remove proxy-url, or name a server that is reached without one"
    )


@pytest.mark.usefixtures("no_proxy")
async def test_a_proxy_in_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that kubectl would use is refused, unless NO_PROXY names the server."""
    file = kubeconfig(tmp_path, "https://api.example:6443")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    with pytest.raises(errors.SettingsError, match=r"variable HTTPS_PROXY: .* add api\.example to NO_PROXY"):
        await kube.Connection.connect(file)
    monkeypatch.setenv("NO_PROXY", "api.example")
    await (await kube.Connection.connect(file)).close()


@pytest.mark.parametrize("url", ["https://api:port", "https://api:70000", "https://[api"])
async def test_a_server_that_is_not_a_url_is_named(tmp_path: Path, url: str) -> None:
    """A URL that cannot be read is an error of the settings that shows it."""
    with pytest.raises(errors.SettingsError, match=r"API server: .*is not a valid URL"):
        await kube.Connection.connect(kubeconfig(tmp_path, url))


async def test_an_authority_in_a_file_is_followed(tmp_path: Path) -> None:
    """An authority that was renewed in its file is trusted by connections made after the next look at it."""
    (tmp_path / "new").mkdir()
    old, new = certificates.ensure(tmp_path), certificates.ensure(tmp_path / "new")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(new.serving, new.serving_key)
    async with serving(always(OBJECT), tls=tls) as (_, server):
        file = kubeconfig(tmp_path, f"https://127.0.0.1:{server.port}", **{"certificate-authority": str(old.authority)})
        connection = kube.Connection(await Kubeconfig.load(file, check_s=0.0))
        with pytest.raises(errors.UnreachableError, match="certificate verify failed"):
            await connection.request("GET", "/x")
        shutil.copy(new.authority, old.authority)
        assert await connection.request("GET", "/x") == b"{}"
        await connection.close()
