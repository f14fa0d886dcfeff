"""What the control plane writes for its programs and clients: ports, certificates, tokens, kubeconfigs, settings."""

import csv
import http.server
import re
import ssl
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from allocator import errors as core_errors
from testbed import errors, processes
from testbed.control_plane import build, certificates, credentials, ports, readiness, scheduler_config, servers
from testbed.control_plane.control_plane import ControlPlane


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_ports_differ_and_no_client_can_be_given_one() -> None:
    """Chosen ports are different, and below the range from which the kernel takes ports of outgoing connections."""
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    chosen = ports.choose_free(50)
    assert len(set(chosen)) == 50
    assert max(chosen) < lowest_ephemeral


def test_ports_in_use_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody listens on is passed over for the next."""
    (taken,) = ports.choose_free(1)
    offered = iter([taken, taken, taken + 1, taken + 2, taken + 3])
    monkeypatch.setattr("random.randrange", lambda _low, _high: next(offered))
    with http.server.HTTPServer(("127.0.0.1", taken), http.server.BaseHTTPRequestHandler):
        (chosen,) = ports.choose_free(1)
    assert chosen > taken


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, certificates.Certificates]]:
    """A server with our certificate; every path but /ready is answered like a /readyz that fails."""
    made = certificates.ensure(tmp_path)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ready" else 500)
            self.end_headers()
            self.wfile.write(b"[+]ping ok\n[-]etcd failed: reason withheld\n[-]crd failed: x\nreadyz check failed\n")

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.serving, made.serving_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", made
    server.shutdown()
    server.server_close()
    thread.join()


def test_servers_are_trusted_by_the_local_authority_alone(
    tls_server: tuple[str, certificates.Certificates], tmp_path: Path
) -> None:
    """A client that trusts the authority accepts the serving certificate; one that trusts another does not."""
    url, made = tls_server
    assert readiness.Client(made.authority).problem(f"{url}/ready") is None
    other = certificates.ensure(tmp_path / "other")
    problem = readiness.Client(other.authority).problem(f"{url}/ready")
    assert problem is not None
    assert "CERTIFICATE_VERIFY_FAILED" in problem


def test_keys_are_private_and_kept(tmp_path: Path) -> None:
    """Private keys are for their owner's eyes only, and made once per directory."""
    made = certificates.ensure(tmp_path)
    assert [mode(path) for path in (made.serving_key, made.service_account_key)] == [0o600, 0o600]
    before = made.service_account_key.read_bytes()
    assert certificates.ensure(tmp_path).service_account_key.read_bytes() == before


def test_a_server_that_is_not_ready_says_which_checks_fail(
    tls_server: tuple[str, certificates.Certificates], tmp_path: Path
) -> None:
    """When the deadline passes, the error names the failing checks and the log's last lines."""
    url, made = tls_server
    supervisor = processes.Supervisor(tmp_path / "run")
    server = supervisor.start("slow", ["/bin/sleep", "60"])
    with pytest.raises(
        errors.StartError, match=r"slow is not ready after 0 s .*HTTP 500: failing: etcd, crd\).*slow\.log"
    ):
        readiness.wait(readiness.Client(made.authority), f"{url}/readyz", server, timeout_s=0)
    supervisor.stop()


def test_a_server_that_ends_while_starting_is_reported_at_once(tmp_path: Path) -> None:
    """A program that ends is not waited for until the deadline: its status and last words are the error."""
    supervisor = processes.Supervisor(tmp_path / "run")
    server = supervisor.start("broken", [sys.executable, "-c", "raise SystemExit('no such flag')"])
    server.wait(20)
    client = readiness.Client(certificates.ensure(tmp_path).authority)
    (closed,) = ports.choose_free(1)
    with pytest.raises(errors.StartError, match=r"(?s)broken ended with status 1 while starting.*no such flag"):
        readiness.wait(client, f"https://127.0.0.1:{closed}/readyz", server, timeout_s=60)
    supervisor.stop()


def test_token_file_lists_each_user_with_its_groups(tmp_path: Path) -> None:
    """kube-apiserver's token file has a row for the admin and one per user, groups in one field, for the owner only."""
    users = {"system:serviceaccount:ns:name": ["system:serviceaccounts", "system:serviceaccounts:ns"], "lonely": []}
    tokens = credentials.new_tokens(users)
    credentials.write_token_file(tmp_path / "tokens.csv", users, tokens)
    with (tmp_path / "tokens.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        [tokens["admin"], "admin", "1", "system:masters"],
        [
            tokens["system:serviceaccount:ns:name"],
            "system:serviceaccount:ns:name",
            "2",
            "system:serviceaccounts,system:serviceaccounts:ns",
        ],
        [tokens["lonely"], "lonely", "3", ""],
    ]
    assert len(set(tokens.values())) == 3
    assert mode(tmp_path / "tokens.csv") == 0o600


@pytest.mark.parametrize("name", ["admin", ""])
def test_a_user_needs_a_name_of_its_own(name: str) -> None:
    """The admin's name and the empty one are refused."""
    with pytest.raises(core_errors.InputError, match="users"):
        credentials.new_tokens({name: []})


def test_kubeconfig_is_complete_and_private(tmp_path: Path) -> None:
    """A kubeconfig needs no other file, names its user, and is for the owner only."""
    made = certificates.ensure(tmp_path)
    path = tmp_path / "kubeconfig"
    credentials.write_kubeconfig(path, url="https://127.0.0.1:1", authority=made.authority, user="u", token="t")
    config = yaml.safe_load(path.read_text("utf-8"))
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert config["users"] == [{"name": "u", "user": {"token": "t"}}]
    assert config["contexts"][0]["context"] == {"cluster": "local", "user": "u"}
    assert mode(path) == 0o600


def test_shipped_scheduler_configuration_changes_only_where_it_must(tmp_path: Path) -> None:
    """Connection, leader election and the extender's address and resources are replaced; the rest is what ships."""
    shipped = yaml.safe_load(scheduler_config.TEMPLATE.read_text("utf-8"))
    made = scheduler_config.kube_scheduler_config(
        "http://127.0.0.1:9/v1", tmp_path / "kubeconfig", ["nvidia.com/mig-1g.5gb"]
    )
    assert made["clientConnection"]["kubeconfig"] == str(tmp_path / "kubeconfig")
    assert made["leaderElection"] == {"leaderElect": False}
    assert made["profiles"] == shipped["profiles"]
    extender = made["extenders"][0]
    assert extender["urlPrefix"] == "http://127.0.0.1:9/v1"
    assert extender["managedResources"] == [{"name": "nvidia.com/mig-1g.5gb", "ignoredByScheduler": False}]
    replaced = {"urlPrefix", "managedResources"}
    assert {k: v for k, v in extender.items() if k not in replaced} == {
        k: v for k, v in shipped["extenders"][0].items() if k not in replaced
    }


def test_scheduler_without_extender_keeps_the_profile(tmp_path: Path) -> None:
    """Without an extender's address there is no extender; the profile can take another name."""
    made = scheduler_config.kube_scheduler_config(None, tmp_path / "kubeconfig", profile="plain")
    assert "extenders" not in made
    assert [profile["schedulerName"] for profile in made["profiles"]] == ["plain"]


@pytest.mark.parametrize("text", ["[]", "kind: Pod", "kind: KubeSchedulerConfiguration\nprofiles: []"])
def test_a_template_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """A template that is not a scheduler configuration with one profile and one extender is named."""
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    with pytest.raises(core_errors.InputError, match=re.escape(str(tmp_path / "config.yaml"))):
        scheduler_config.kube_scheduler_config(None, tmp_path / "kubeconfig", template=tmp_path / "config.yaml")


def test_no_controller_judges_the_health_of_nodes(tmp_path: Path) -> None:
    """Simulated nodes have no heartbeats, so nothing that would taint or empty them for it may run."""
    programs = build.Binaries.within(tmp_path)
    command = servers.controller_manager(programs, certificates.ensure(tmp_path), tmp_path / "kubeconfig", 1)
    (listed,) = (flag.partition("=")[2] for flag in command if flag.startswith("--controllers="))
    assert {"deployment-controller", "job-controller", "garbage-collector-controller"} <= set(listed.split(","))
    assert not {"*", "node-lifecycle-controller"} & set(listed.split(","))


def test_a_control_plane_that_is_not_started_says_so(tmp_path: Path) -> None:
    """Using a control plane before its start is an error that names its directory, and stopping it is none."""
    cluster = ControlPlane(tmp_path, binaries=build.Binaries.within(tmp_path))
    with pytest.raises(errors.StartError, match=re.escape(str(tmp_path))):
        cluster.start_scheduler()
    with pytest.raises(errors.StartError, match="kube-apiserver is not started"):
        cluster.restart_apiserver()
    cluster.stop()


def test_a_control_plane_without_programs_leaves_the_directory_free(tmp_path: Path) -> None:
    """A start that fails gives the directory back, and the error names the program that is missing."""
    for _attempt in range(2):
        cluster = ControlPlane(tmp_path, binaries=build.Binaries.within(tmp_path / "empty"))
        with pytest.raises(errors.StartError, match="etcd: cannot run"):
            cluster.start()
