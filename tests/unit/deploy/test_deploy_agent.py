"""The agent's DaemonSet: what it mounts and sets is what the agent's settings say, and it has no privilege unasked."""

import copy
import re
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from allocator.eligibility import document, verdict
from allocator.eligibility.verdict import Ineligible
from cli import main as cli
from node_agent import reporter, settings
from node_agent.cluster import coexistence, pod_events
from node_agent.gpu.nvml import devices
from tests.unit.deploy import manifests

DAEMON_SET = manifests.one(manifests.DEPLOY / "agent" / "daemonset.yaml", "DaemonSet")
POD: dict[str, Any] = DAEMON_SET["spec"]["template"]["spec"]
(AGENT,) = POD["containers"]
MOUNTS = {one["mountPath"]: one for one in AGENT["volumeMounts"]}
HOST = {one["name"]: one["hostPath"]["path"] for one in POD["volumes"]}
FIELDS = settings.Settings.model_fields
ENV = {one["name"].removeprefix(settings.PREFIX).lower(): one for one in AGENT["env"]}


def path(field: str) -> PurePosixPath:
    """Where the agent in the DaemonSet looks."""
    given = ENV.get(field, {}).get("value")
    return PurePosixPath(given or FIELDS[field].default)


def mount_of(where: PurePosixPath) -> dict[str, Any]:
    """The mount that a path lies in."""
    found: dict[str, Any] = MOUNTS[next(str(one) for one in (where, *where.parents) if str(one) in MOUNTS)]
    return found


@pytest.mark.parametrize(
    ("field", "writable"),
    [
        ("device_plugin_dir", True),
        ("pod_resources_socket", False),
        ("plugin_registry_dir", False),
        ("cdi_dir", True),
        ("state_dir", True),
        ("driver_root", False),
    ],
)
def test_every_path_of_the_settings_is_the_hosts(field: str, writable: bool) -> None:
    """Each path the agent uses is mounted from the same place of the host, writable only where it writes."""
    mount = mount_of(path(field))
    assert HOST[mount["name"]] == mount["mountPath"]
    assert mount.get("readOnly", False) is not writable


def test_all_paths_of_the_settings_are_seen_to() -> None:
    """A new setting that names a path is mounted, or is known to need no mount."""
    paths = {name for name, info in FIELDS.items() if "Path" in str(info.annotation)}
    mounted = {
        "device_plugin_dir", "pod_resources_socket", "plugin_registry_dir", "cdi_dir", "state_dir", "driver_root",
    }  # fmt: skip
    elsewhere = {"kubeconfig", "host_driver_root", "toolkit_dir"}  # the pod's service account; for options
    assert paths - mounted == {*elsewhere, "host_etc"}
    assert HOST[mount_of(path("host_etc"))["name"]] == "/etc"
    assert mount_of(path("host_etc"))["readOnly"] is True


def test_nothing_else_of_the_host_is_mounted() -> None:
    """Besides those paths the agent has the host's device nodes, and no volume that it does not use."""
    used = {mount_of(path(field))["mountPath"] for field in FIELDS if "Path" in str(FIELDS[field].annotation)
            and field not in ("kubeconfig", "host_driver_root", "toolkit_dir")}  # fmt: skip
    assert MOUNTS.keys() - used == {"/dev"}
    assert {one["name"] for one in AGENT["volumeMounts"]} == HOST.keys()


def test_what_is_set_is_a_setting() -> None:
    """The container's variables are settings of the agent, and its command starts the agent."""
    assert ENV.keys() <= FIELDS.keys()
    assert AGENT["command"] == ["migsched", "agent"]
    assert CliRunner().invoke(cli.app, [*AGENT["command"][1:], "--help"]).exit_code == 0
    assert ENV["node"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert POD["enableServiceLinks"] is False


def test_probes_ask_where_the_agent_answers() -> None:
    """Probes use the port of the agent's metrics and the paths that it answers."""
    probes = {name: AGENT[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {one["port"] for one in probes.values()} == {FIELDS["metrics_port"].default}
    assert {name: one["path"] for name, one in probes.items()} == {
        "startup": "/livez", "readiness": "/readyz", "liveness": "/livez",
    }  # fmt: skip


def test_one_agent_at_a_time_on_a_node() -> None:
    """An update ends the old agent first, and gives a driver call time to end."""
    strategy = DAEMON_SET["spec"]["updateStrategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxSurge"] == 0
    assert POD["terminationGracePeriodSeconds"] >= devices.Deadlines().change_s


def test_the_agents_privileges_are_these() -> None:
    """It is privileged, root, and sees the host's processes; all else is as small as for other pods."""
    assert AGENT["securityContext"] == {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    assert POD["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert POD["hostPID"] is True
    assert not {"hostNetwork", "hostIPC"} & POD.keys()


def test_it_runs_only_where_a_node_was_handed_over() -> None:
    """A GPU node gets an agent when somebody labels it so, and not by NVIDIA's labels, which others rewrite."""
    assert POD["nodeSelector"]["migsched.io/agent"] == "true"
    assert not POD["nodeSelector"].keys() & coexistence.OPERATOR_LABELS.keys()
    terms = POD["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    keys = [expression["key"] for term in terms for expression in term["matchExpressions"]]
    assert keys == ["nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present"]
    assert POD["priorityClassName"] == "system-node-critical"


def test_the_events_it_may_write_are_those_it_writes() -> None:
    """The policy lets pass the agent's name and all of its reasons, and no others."""
    path = manifests.DEPLOY / "agent" / "own-events.yaml"
    told = " ".join(
        one["expression"] for one in manifests.one(path, "ValidatingAdmissionPolicy")["spec"]["validations"]
    )
    reasons = [value for name, value in vars(pod_events).items() if name.endswith("_EVENT")]
    assert f"'{reporter.COMPONENT}'" in told
    assert sorted(re.findall(r"'(Slice\w+)'", told)) == sorted(reasons)


def test_its_account_exists() -> None:
    """The DaemonSet's account and namespace are those that deploy/rbac/agent makes and its policy names."""
    account = manifests.one(manifests.DEPLOY / "rbac" / "agent" / "agent.yaml", "ServiceAccount")["metadata"]
    assert (POD["serviceAccountName"], DAEMON_SET["metadata"]["namespace"]) == (account["name"], account["namespace"])
    for file in ("own-events.yaml", "own-node.yaml"):
        policy = manifests.one(manifests.DEPLOY / "agent" / file, "ValidatingAdmissionPolicy")["spec"]
        (condition,) = policy["matchConditions"]
        assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in condition["expression"]
    (ours,) = (one["expression"] for one in policy["variables"] if one["name"] == "ours")
    assert all(f"'{label}'" in ours for label in coexistence.OPERATOR_LABELS)


CLIENT = manifests.DEPLOY / "options" / "agent-operator-client" / "kustomization.yaml"


@pytest.mark.parametrize(
    ("client", "runs"),
    [(None, True), ("true", True), ("paused-for-driver-upgrade", False), ("paused-for-mig-change", False)],
)
@pytest.mark.parametrize("known_by", ["nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present", ""])
def test_the_agent_leaves_while_the_operator_pauses_clients(client: str | None, runs: bool, known_by: str) -> None:
    """With the option a paused node has no agent; one without the label, as older operators leave it, keeps it."""
    (patch,) = yaml.safe_load(CLIENT.read_text(encoding="utf-8"))["patches"]
    (step,) = yaml.safe_load(patch["patch"])
    spec = copy.deepcopy(POD)
    *parents, last = step["path"].removeprefix("/spec/template/spec/").split("/")
    place = spec
    for name in parents:
        place = place[name]
    assert last in place
    place[last] = step["value"]
    labels = {"kubernetes.io/os": "linux", "migsched.io/agent": "true", **({known_by: "true"} if known_by else {})}
    labels |= {"nvidia.com/gpu.deploy.client": client} if client else {}
    for spec_, expected in ((spec, runs and bool(known_by)), (POD, bool(known_by))):
        told = verdict.judge(document.pod_of({"containers": [], **spec_}), document.node("n", labels, None, None))
        assert (told.reason is not Ineligible.NODE_AFFINITY) == expected
