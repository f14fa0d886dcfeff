"""The capacity API of a cluster's scheduler, reached by a port-forward, as commands reach it."""

import json
from pathlib import Path

import pytest
import yaml

from cli import api_client
from cli.api_client import Address
from tests.integration.kubeclient.forwarding_server import POD, ForwardingServer, forwarding
from tests.unit.cli.command_line import CommandLine, serving
from tests.unit.kubeclient.kubeconfigs import kubeconfig

NODES = [{"name": f"n{number:03}", "problem": "", "gpus": []} for number in range(200)]
ANSWERS = {"/api/v1/nodes": (200, NODES), "/api/v1/explain?pod=default/web & co": (404, {"detail": "no such pod"})}


def port_of(url: str) -> int:
    """The port in a URL."""
    return int(url.rpartition(":")[2])


def test_a_command_asks_the_scheduler_of_the_kubeconfigs_cluster(
    migsched: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Named by --kubeconfig, by KUBECONFIG or in the home folder, the cluster's scheduler answers, however long."""
    with serving(ANSWERS) as url, forwarding(port_of(url)) as server:
        file = kubeconfig(tmp_path, server.url)
        by_flag = migsched.run("top", "-o", "json", "--kubeconfig", str(file))
        assert [node["name"] for node in json.loads(by_flag.out)] == [node["name"] for node in NODES]
        assert server.asked[1] == f"/api/v1/namespaces/migsched-system/pods/{POD}/portforward?ports=8080"
        by_context = migsched.run("top", "-o", "json", "--kubeconfig", str(file), "--context", "x")
        assert by_context.out == by_flag.out
        refused = migsched.run("explain", "default/web & co", "--kubeconfig", str(file))
        assert (refused.code, refused.err) == (2, "migsched: no such pod\n")
        monkeypatch.setenv("KUBECONFIG", f"/nowhere:{file}")
        assert migsched.run("top", "-o", "json", "--scheduler-namespace", "other").out == by_flag.out
        assert server.asked[-1].startswith("/api/v1/namespaces/other/pods/")


def test_a_context_picks_cluster_and_user_from_several_files(
    migsched: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """KUBECONFIG may name several files that make one; paths in them start from their own folder."""
    with serving(ANSWERS) as url, forwarding(port_of(url)) as server:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "token").write_text("secret")
        clusters = {"clusters": [{"name": "c", "cluster": {"server": server.url}}]}
        users = {"users": [{"name": "u", "user": {"tokenFile": "token"}}]}
        contexts = {"contexts": [{"name": "y", "context": {"cluster": "c", "user": "u"}}]}
        files = tmp_path / "a" / "users", tmp_path / "contexts"
        files[0].write_text(yaml.safe_dump(users))
        files[1].write_text(yaml.safe_dump({**clusters, **contexts}))
        monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
        assert migsched.run("top", "-o", "json", "--context", "y").code == 0
        unknown = migsched.run("top", "--context", "z")
    assert unknown.code == 2
    assert unknown.err.startswith("migsched: --context: 'z': is not in ")
    assert unknown.err.endswith("use one of y\n")


def _stopped(server: ForwardingServer) -> None:
    server.phase = "Pending"


def _closed(server: ForwardingServer) -> None:
    server.target = 1


def _strict(server: ForwardingServer) -> None:
    server.token = "another"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_stopped, "--scheduler-namespace: 'migsched-system'"),
        (_closed, "failed to connect to localhost:8080"),
        (_strict, "HTTP 403"),
    ],
)
def test_what_is_in_the_way_is_named(damage: object, message: str, migsched: CommandLine, tmp_path: Path) -> None:
    """No running scheduler, a port that nobody listens at, and missing rights are each a line and exit code 2."""
    assert callable(damage)
    with serving(ANSWERS) as url, forwarding(port_of(url)) as server:
        damage(server)
        outcome = migsched.run("top", "--kubeconfig", str(kubeconfig(tmp_path, server.url)))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert message in outcome.err


def test_an_address_and_a_cluster_are_not_named_together(migsched: CommandLine) -> None:
    """--api-url and --scheduler-namespace on one command line contradict each other."""
    outcome = migsched.run("top", "--api-url", "http://127.0.0.1:1", "--scheduler-namespace", "x")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("migsched: --scheduler-namespace: 'x': ")


def test_a_flag_wins_over_the_variable(migsched: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MIGSCHED_API_URL is what one usually asks; a cluster named on the command line is asked instead."""
    monkeypatch.setenv("MIGSCHED_API_URL", "http://127.0.0.1:1")
    with serving(ANSWERS) as url, forwarding(port_of(url)) as server:
        assert migsched.run("top", "-o", "json", "--kubeconfig", str(kubeconfig(tmp_path, server.url))).code == 0


def test_without_an_address_this_machine_is_asked_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If migsched answers here; else the kubeconfig's cluster; as a plugin of kubectl the cluster at once."""
    with (
        serving({**ANSWERS, "/livez": (200, {})}) as ours,
        serving({"/livez": (200, {})}, name="nginx") as foreign,
        forwarding(port_of(ours)) as server,
    ):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, server.url)))
        forwarded = f"migsched-system/{POD} of {server.url}"
        for address, local_url, asked in (
            (Address(), ours, ours),
            (Address(), foreign, forwarded),
            (Address(), "http://127.0.0.1:1", forwarded),
            (Address(local=False), ours, forwarded),
        ):
            with api_client.opened(address, local_url=local_url) as api:
                assert api.where == asked
