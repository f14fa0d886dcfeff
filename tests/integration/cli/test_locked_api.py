"""A locked API, asked by commands: whose token goes where, and what is said where none does."""

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.control_plane import certificates
from tests.integration.kubeclient.forwarding_server import forwarding
from tests.unit.cli.command_line import CommandLine, serving

NODES = [{"name": f"n{number:03}", "problem": "", "gpus": []} for number in range(200)]
FORBIDDEN = "'jane' may not get /migsched/api/v1/nodes; ...: kubectl create clusterrolebinding NAME --user=jane"
ANSWERS = {"/api/v1/nodes": (200, NODES), "/api/v1/explain?pod=x": (403, {"detail": FORBIDDEN})}
ASKED = ("top", "-o", "json")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """A certificate for 127.0.0.1 and its authority."""
    return certificates.ensure(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def tls(pair: certificates.Certificates) -> ssl.SSLContext:
    """What the API serves with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.serving, pair.serving_key)
    return context


def config(folder: Path, server: str, user: dict[str, Any]) -> Path:
    """A kubeconfig with this user."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def users(folder: Path) -> dict[str, dict[str, Any]]:
    """The same token, in every way in which a kubeconfig gives one."""
    (folder / "token").write_text("secret\n")
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "secret"},
    }
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "echo",
        "args": [json.dumps(credential)],
        "interactiveMode": "Never",
    }
    return {"token": {"token": "secret"}, "tokenFile": {"tokenFile": str(folder / "token")}, "exec": {"exec": plugin}}


@pytest.mark.parametrize("way", ["token", "tokenFile", "exec"])
def test_the_kubeconfigs_user_asks_through_the_tunnel(
    way: str, migsched: CommandLine, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    """Where the pod's probes speak TLS, the user's token is sent inside the tunnel, and a long answer comes whole."""
    with (
        serving(ANSWERS, token="secret", tls=tls) as url,
        forwarding(int(url.rpartition(":")[2])) as server,
    ):
        server.secure = True
        file = config(tmp_path, server.url, users(tmp_path)[way])
        outcome = migsched.run(*ASKED, "--kubeconfig", str(file))
    assert (outcome.code, outcome.err) == (0, "")
    assert len(json.loads(outcome.out)) == len(NODES)


def test_a_pod_that_is_not_locked_gets_no_token(migsched: CommandLine, tmp_path: Path) -> None:
    """Where the pod's probes speak plain HTTP, the kubeconfig's token stays here, and a named one is sent."""
    with serving(ANSWERS, token="secret") as url, forwarding(int(url.rpartition(":")[2])) as server:
        file = config(tmp_path, server.url, {"token": "secret"})
        outcome = migsched.run(*ASKED, "--kubeconfig", str(file))
        assert (outcome.code, outcome.out) == (2, "")
        assert "is locked (HTTP 401)" in outcome.err
        (tmp_path / "token").write_text("secret")
        named = migsched.run(*ASKED, "--kubeconfig", str(file), "--token-file", str(tmp_path / "token"))
        assert named.code == 0


def test_a_tunnel_that_breaks_says_why(migsched: CommandLine, tmp_path: Path) -> None:
    """What the kubelet says of a port that nobody listens at is told, and not what TLS made of it."""
    with forwarding(1) as server:
        server.secure = True
        outcome = migsched.run(*ASKED, "--kubeconfig", str(config(tmp_path, server.url, {"token": "secret"})))
    assert (outcome.code, outcome.out) == (2, "")
    assert "failed to connect to localhost:8080" in outcome.err


def test_an_authority_that_is_named_is_asked_for_in_the_tunnel_too(
    migsched: CommandLine, tmp_path: Path, tls: ssl.SSLContext, pair: certificates.Certificates
) -> None:
    """With --certificate-authority the pod's certificate has to bear the Service's name, which this one does not."""
    with serving(ANSWERS, token="secret", tls=tls) as url, forwarding(int(url.rpartition(":")[2])) as server:
        server.secure = True
        file = config(tmp_path, server.url, {"token": "secret"})
        outcome = migsched.run(*ASKED, "--kubeconfig", str(file), "--certificate-authority", str(pair.authority))
    assert outcome.code == 2
    assert "migsched.migsched-system.svc" in outcome.err


def test_a_url_gets_the_token_that_is_named(
    migsched: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tls: ssl.SSLContext,
    pair: certificates.Certificates,
) -> None:
    """By file, variable or the user of a named kubeconfig; over TLS that the named authority signed."""
    with serving(ANSWERS, token="secret", tls=tls) as url:
        at = (*ASKED, "--api-url", url, "--certificate-authority", str(pair.authority))
        (tmp_path / "token").write_text("secret\n")
        assert migsched.run(*at, "--token-file", str(tmp_path / "token")).code == 0
        file = config(tmp_path, "https://127.0.0.1:1", {"token": "secret"})
        assert migsched.run(*at, "--kubeconfig", str(file)).code == 0
        monkeypatch.setenv("KUBECONFIG", str(file))
        assert migsched.run(*at, "--context", "x").code == 0
        unasked = migsched.run(*at)
        assert unasked.code == 2
        assert "no token was sent; name a token by --token-file or MIGSCHED_TOKEN" in unasked.err
        monkeypatch.setenv("MIGSCHED_TOKEN", "secret")
        assert migsched.run(*at).code == 0
        monkeypatch.setenv("MIGSCHED_TOKEN", "old")
        refused = migsched.run(*at)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "does not take the token for valid" in refused.err
        untrusted = migsched.run(*ASKED, "--api-url", url)
        assert untrusted.code == 2
        assert "certificate verify failed" in untrusted.err


def test_a_right_that_is_missing_is_told_with_its_fix(migsched: CommandLine) -> None:
    """The command that binds the role comes from the API, and is shown as it is."""
    with serving(ANSWERS) as url:
        outcome = migsched.run("explain", "x", "--api-url", url)
    assert outcome.code == 2
    assert FORBIDDEN in outcome.err


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080", "http://migsched.example:8080", "http://127.0.0.1.example"])
def test_no_token_travels_in_the_clear(url: str, migsched: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token and a plain URL of another machine are refused before anything is sent."""
    monkeypatch.setenv("MIGSCHED_TOKEN", "secret")
    outcome = migsched.run("top", "--api-url", url)
    assert outcome.code == 2
    assert f"migsched: --api-url: '{url}': would get a token in the clear" in outcome.err


def test_a_client_certificate_is_not_passed_on(migsched: CommandLine, tmp_path: Path, tls: ssl.SSLContext) -> None:
    """A user without a token is told so, beside a URL and through the tunnel."""
    with serving(ANSWERS, token="secret", tls=tls) as url, forwarding(int(url.rpartition(":")[2])) as server:
        server.secure, server.token = True, ""
        file = config(tmp_path, server.url, {})
        for arguments in (("--api-url", url, "--kubeconfig", str(file)), ("--kubeconfig", str(file))):
            outcome = migsched.run(*ASKED, *arguments)
            assert outcome.code == 2
            assert "a client certificate cannot be passed on" in outcome.err


@pytest.mark.parametrize("text", ["", "a\x00b", "ä"], ids=repr)
def test_a_file_without_a_token_is_named(text: str, migsched: CommandLine, tmp_path: Path) -> None:
    """An empty file, and one with what no header can hold, is an error that names the flag."""
    (tmp_path / "token").write_text(text)
    outcome = migsched.run("top", "--api-url", "https://127.0.0.1:1", "--token-file", str(tmp_path / "token"))
    assert outcome.code == 2
    assert outcome.err.startswith("migsched: --token-file: ")
