"""`migsched doctor` and `migsched handover` as they are called, against an API server that the test plays."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator import errors
from cli.diagnosis import registry
from kubeclient import timestamps
from tests.unit.cli import conftest
from tests.unit.cli.command_line import CommandLine, Outcome
from tests.unit.cli.command_line import serving as serving_paths
from tests.unit.cli.diagnosis import api_server
from tests.unit.cli.diagnosis import healthy as made
from tests.unit.cli.diagnosis.healthy import MemoryServer
from tests.unit.kubeclient.kubeconfigs import kubeconfig

migsched = conftest.migsched
METRICS = b'# HELP x y\nmigsched_build_info{version="0.1.0"} 1.0\nmigsched_unreadable_objects{kind="pods"} 0.0\n'


@pytest.fixture
def service() -> Iterator[str]:
    """The URL of a service that answers."""
    answers = {
        "/metrics": (200, METRICS),
        "/api/v1/explain?pod=team-a/triton": (200, {"phase": "bound", "reason": "r"}),
    }
    with serving_paths(answers) as url:
        yield url


def healthy() -> MemoryServer:
    """The healthy cluster at this moment: the command goes by the machine's clock."""
    server = made.healthy()
    server.lists[made.LEASES][0]["spec"]["renewTime"] = timestamps.now()
    return server


def run(migsched: CommandLine, tmp_path: Path, server: MemoryServer, *words: str) -> Outcome:
    """A command by a kubeconfig of this cluster."""
    with api_server.serving(server) as (url, _):
        migsched.monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, url)))
        return migsched.run(*words)


def test_a_healthy_cluster_ends_with_0(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """One line says how many checks looked."""
    outcome = run(migsched, tmp_path, healthy(), "doctor", "--api-url", service)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"nothing found by {len(registry.CHECKS)} checks\n"


def test_a_fault_ends_with_1_and_its_fix(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """People see what was seen, the fix as a command, and the page."""
    server = healthy()
    server.lists[made.POLICY] = [made.cluster_policy(mig={"strategy": "single"})]
    outcome = run(migsched, tmp_path, server, "doctor", "--api-url", service)
    assert outcome.code == 1
    lines = [line.split() for line in outcome.out.splitlines()]
    assert "error: The GPU Operator's MIG strategy is not mixed (mig-strategy)" in outcome.out
    assert ["seen:", "clusterpolicy/cluster-policy", "spec.mig.strategy:", "single"] in lines
    assert ["see:", "docs/gpu-operator.md#what-to-set"] in lines
    assert lines[-1] == ["1", "finding", "by", str(len(registry.CHECKS)), "checks"]


def test_a_fix_is_one_line_however_narrow_the_terminal(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """A command that is broken into lines cannot be pasted."""
    migsched.monkeypatch.setenv("COLUMNS", "40")
    server = healthy()
    server.lists[made.POLICY] = [made.cluster_policy(mig={"strategy": "single"})]
    outcome = run(migsched, tmp_path, server, "doctor", "--api-url", service)
    (fix,) = (line for line in outcome.out.splitlines() if line.startswith("  fix:"))
    assert fix.endswith("""--patch '{"spec":{"mig":{"strategy":"mixed"}}}'""")


def test_without_the_service_it_says_so_and_ends_with_3(migsched: CommandLine, tmp_path: Path) -> None:
    """What only the service knows was not looked at, and nothing else is missed."""
    outcome = run(migsched, tmp_path, healthy(), "doctor", "--api-url", "http://127.0.0.1:1")
    assert outcome.code == 3
    assert "migsched's service was not reached: --api-url: no answer from" in outcome.out
    assert "not looked at: service-left-objects-out" in outcome.out


def test_a_note_does_not_change_the_exit_code(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """It is good to know, and no fault."""
    server = healthy()
    server.version = {"major": "1", "minor": "39", "gitVersion": "v1.39.0"}
    outcome = run(migsched, tmp_path, server, "doctor", "--api-url", service)
    assert (outcome.code, "kubernetes-untried" in outcome.out) == (0, True)


def test_findings_beyond_the_limit_are_announced(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """The table says how many more there are, and which flag shows them; programs get the number."""
    server = healthy()
    server.lists[made.MIG_NODES] += [made.mig_node(f"gone-{each}", made.gpu(uuid=f"GPU-{each}")) for each in range(3)]
    words = ("doctor", "--api-url", service, "--limit", "1")
    assert "mignode-without-node: 2 more; --limit shows them" in run(migsched, tmp_path, server, *words).out
    answer = json.loads(run(migsched, tmp_path, server, *words, "-o", "json").out)
    assert (len(answer["findings"]), answer["left_out"]) == (1, {"mignode-without-node": 2})


def test_one_pod_is_explained_and_judged_alone(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """Findings of others are left out, and the explanation is the service's."""
    server = healthy()
    server.lists[made.POLICY] = [made.cluster_policy(mig={"strategy": "single"})]
    server.lists[made.PODS].append(made.pod("lost", on="gone"))
    outcome = run(migsched, tmp_path, server, "doctor", "pod", "team-a/triton", "--api-url", service)
    assert (outcome.code, outcome.out.splitlines()[0]) == (0, "explain: bound, r")
    lost = run(migsched, tmp_path, server, "doctor", "pod", "team-a/lost", "--api-url", service, "-o", "json")
    answer = json.loads(lost.out)
    assert {finding["code"] for finding in answer["findings"]} == {"pod-node-gone"}
    assert answer["explanation"]["code"] == "node_gone"


def test_one_node_is_judged_alone(migsched: CommandLine, tmp_path: Path, service: str) -> None:
    """Only what is about it is found."""
    server = healthy()
    server.lists[made.NODES] = [made.node(**{"nvidia.com/gpu.deploy.mig-manager": "true"}), made.node("gpu-2")]
    outcome = run(migsched, tmp_path, server, "doctor", "node", made.NODE, "--api-url", service, "-o", "json")
    assert {finding["code"] for finding in json.loads(outcome.out)["findings"]} == {"mig-manager-enabled"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("node", "nowhere"), "nowhere: there is neither a Node nor a MigNode of this name"),
        (("pod", "team-a/nobody"), "team-a/nobody: there is no such pod that has to do with GPUs"),
        (("gpu", "x"), "write node NAME, pod NAMESPACE/NAME, or nothing"),
        (("node",), "write node and a name"),
    ],
)
def test_what_is_not_there_ends_with_2(
    words: tuple[str, ...], said: str, migsched: CommandLine, tmp_path: Path, service: str
) -> None:
    """One line says what was meant."""
    outcome = run(migsched, tmp_path, healthy(), "doctor", *words, "--api-url", service)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err


def test_a_server_that_does_not_answer_ends_with_2(migsched: CommandLine, tmp_path: Path) -> None:
    """There is nothing to be said of its cluster."""
    migsched.monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    for words in (("doctor",), ("handover", "gpu-1")):
        outcome = migsched.run(*words)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("migsched: GET /version: ")


def test_without_a_kubeconfig_the_fix_is_named(migsched: CommandLine) -> None:
    """There is no cluster to ask."""
    for words in (("doctor",), ("handover", "gpu-1")):
        outcome = migsched.run(*words)
        assert outcome.code == 2
        assert outcome.err.endswith("there is none: name one, or set KUBECONFIG\n")


def test_handover_prints_commands_and_sends_nothing(migsched: CommandLine, tmp_path: Path) -> None:
    """Each step is a command, and the pods in the way are named."""
    server = healthy()
    server.lists[made.NODES] = [made.node(**{"nvidia.com/gpu.deploy.mig-manager": "true"})]
    with api_server.serving(server) as (url, patches):
        migsched.monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, url)))
        outcome = migsched.run("handover", made.NODE)
        refused = migsched.run("handover", made.NODE, "--apply")
    assert (outcome.code, refused.code, patches) == (0, 1, [])
    assert "kubectl label node gpu-1 --overwrite nvidia.com/gpu.deploy.mig-manager=false\n" in outcome.out
    assert "in the way: 1 pod with its GPUs: team-a/triton" in outcome.out


def test_handover_carries_out_what_changes_objects(migsched: CommandLine, tmp_path: Path) -> None:
    """Patches go out in order, and each step says whether it was done."""
    server = healthy()
    server.lists[made.PODS] = []
    with api_server.serving(server) as (url, patches):
        migsched.monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, url)))
        outcome = migsched.run("handover", made.NODE, "--back", "--apply", "-o", "json")
    assert outcome.code == 0
    first, second = (patch["metadata"]["labels"] for _, patch in patches)
    assert (first, second) == ({"migsched.io/agent": None}, dict.fromkeys(made.OPERATOR_LABELS, "true"))
    assert [step["applied"] for step in json.loads(outcome.out)["steps"]] == [False, True, False, True, False, False]


def test_handover_does_not_guess(migsched: CommandLine, tmp_path: Path) -> None:
    """Where the policy may not be read, it cannot be told what to set."""
    server = healthy()
    server.refused[made.POLICY] = errors.RefusedError("clusterpolicies is forbidden")
    outcome = run(migsched, tmp_path, server, "handover", made.NODE)
    assert outcome.code == 2
    assert outcome.err.startswith("migsched: handover has to read clusterpolicies: ")
