"""Settings, the command line, names, and who else manages the GPUs."""

import gc
import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from allocator.claims.report import Owner, SliceState
from allocator.errors import SettingsError
from allocator.mig import gpu_models
from cli import main as cli
from kubeclient.objects import Meta, PodStatus
from node_agent import process_tuning, settings
from node_agent.cluster import coexistence
from node_agent.cluster.node_pod import HostPath, NodePod, NodePodSpec, Volume
from node_agent.slices import device_ids
from node_agent.slices.device_ids import MAX_ID
from tests.unit.node_agent.agent_on_node import OPTIONS, AgentOnNode

GPU = "GPU-81345ab9-a6af-5a7e-b5a7-37d803b00ac0"


@pytest.mark.parametrize("model", gpu_models.known())
def test_device_ids_are_short_distinct_and_fit_for_cdi(model: str) -> None:
    """Every placement of every model has an id of its own, within the kubelet's limit, of characters CDI takes."""
    catalogue = gpu_models.find(model)
    offered = device_ids.offered({GPU: catalogue})
    assert len(offered) == len(list(catalogue.placements()))
    assert all(len(id_) <= MAX_ID for id_ in offered)
    assert all(id_.replace("-", "").replace(".", "").isalnum() for id_ in offered)


def test_a_set_has_one_name_whatever_the_order() -> None:
    """Ids given together have one name that does not depend on their order; a single id has its own."""
    assert device_ids.set_name(["b", "a"]) == device_ids.set_name(["a", "b"])
    assert device_ids.set_name(["a"]) == "a"


RIVALS = [
    ({"app": "nvidia-device-plugin-daemonset"}, "/var/lib/kubelet/device-plugins"),
    ({"name": "nvidia-device-plugin-ds"}, "/var/lib/kubelet/device-plugins/"),
    ({"app.kubernetes.io/name": "nvidia-device-plugin"}, "/var/data/kubelet/device-plugins"),
    ({"app": "nvidia-mig-manager"}, "/sys"),
]


def labelled(labels: dict[str, str], *paths: str, phase: str = "Running") -> NodePod:
    """A pod with these labels that mounts these paths of the host, and a volume of another kind."""
    volumes = (Volume(), *(Volume(HostPath(path)) for path in paths))
    return NodePod(Meta("rival", "gpu-operator", "u", labels=labels), NodePodSpec(volumes=volumes), PodStatus(phase))


@pytest.mark.parametrize(("labels", "path"), RIVALS)
def test_a_running_rival_is_named_with_the_labels_that_help(labels: dict[str, str], path: str) -> None:
    """NVIDIA's writers on the node are named, until their pods are over."""
    told = coexistence.rival(labelled(labels, "/run/nvidia", path))
    assert told is not None
    assert "gpu-operator/rival" in told
    assert "nvidia.com/gpu.deploy.mig-manager=false" in told
    assert coexistence.rival(labelled(labels, path, phase="Succeeded")) is None


@pytest.mark.parametrize(("labels", "path"), RIVALS)
def test_a_pod_is_no_rival_by_its_labels(labels: dict[str, str], path: str) -> None:
    """Any user can label a pod: without the host's path that the component needs it is none, nor with another label."""
    assert coexistence.rival(labelled(labels)) is None
    assert coexistence.rival(labelled(labels, "/data")) is None
    assert coexistence.rival(labelled({"app": "web"}, path)) is None


def test_a_socket_of_nvidias_plugin_is_a_rival_while_it_is_served(tmp_path: Path) -> None:
    """Whatever its pod is called, its socket gives it away; one that nobody serves was left by a killed plugin."""
    path = tmp_path / "nvidia-mig-1g.5gb.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as served:
        served.bind(str(path))
        served.listen()
        assert str(path) in (coexistence.conflict([], tmp_path, tmp_path) or "")
    assert path.exists()
    assert coexistence.conflict([], tmp_path, tmp_path) is None


def test_a_dra_driver_is_a_rival_while_it_is_registered(tmp_path: Path) -> None:
    """A node whose GPUs NVIDIA's DRA driver serves is refused by its registration socket, not by one left behind."""
    path = tmp_path / "gpu.nvidia.com-1f2e-reg.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as served:
        served.bind(str(path))
        served.listen()
        assert "DRA" in (coexistence.conflict([], tmp_path, tmp_path) or "")
    assert path.exists()
    assert coexistence.conflict([], tmp_path, tmp_path) is None


DRA, MODE = "nvidia.com/gpu.deploy.dra-driver", "nvidia.com/gpu-operator.resource-allocation.mode"


@pytest.mark.parametrize(
    ("labels", "served"),
    [
        ({}, False),
        ({DRA: "true"}, True),
        ({DRA: "paused-for-driver-upgrade"}, True),
        ({DRA: "false"}, False),
        ({MODE: "dra"}, True),
        ({MODE: "dra", DRA: "false"}, False),
        ({MODE: "device-plugin"}, False),
        ({"nvidia.com/gpu.deploy.client": "true"}, False),
    ],
)
def test_a_node_of_gpu_cluster_is_known_by_its_labels(labels: dict[str, str], served: bool) -> None:
    """The operator's node labels tell that its DRA driver serves the node; then nothing of its labels is touched."""
    told = coexistence.served_by_dra(labels)
    assert (told is not None) == served
    assert told is None or f"{DRA}=false" in told
    assert (coexistence.to_assert(labels) == {}) == served


def test_labels_that_are_right_are_left_alone() -> None:
    """Only what differs is set."""
    right = dict(coexistence.OPERATOR_LABELS)
    assert coexistence.to_assert(right) == {}
    assert coexistence.to_assert(right | {"nvidia.com/gpu.deploy.mig-manager": "true"}) == {
        "nvidia.com/gpu.deploy.mig-manager": "false"
    }


def test_settings_name_the_field_that_is_wrong(tmp_path: Path) -> None:
    """An unknown key and an impossible value are refused by name; a flag beats the file."""
    file = tmp_path / "agent.yaml"
    file.write_text("poll_s: 7\nnode: a\n")
    assert settings.load(file).poll_s == 7
    assert settings.load(file, poll_s=3.0).poll_s == 3
    file.write_text("polls: 7\n")
    with pytest.raises(SettingsError, match="polls"):
        settings.load(file)
    with pytest.raises(SettingsError, match="inject"):
        settings.load(inject="docker")


def test_one_look_prints_what_a_mig_node_would_hold() -> None:
    """`migsched agent --observe --once -o json` prints the status and changes nothing."""
    done = CliRunner().invoke(
        cli.app, ["agent", "--observe", "--once", "-o", "json", "--node", "n", "--simulate", "h200-141gb:2"]
    )
    assert done.exit_code == 0
    status = json.loads(done.stdout)
    assert [gpu["product"] for gpu in status["gpus"]] == ["NVIDIA H200"] * 2
    assert status["agent"]["mode"] == "observer"


def test_one_look_respects_the_setting_of_excluded_gpus() -> None:
    """`--exclude-gpus` holds for one look as for the agent: the GPU is reported as left alone, and offers nothing."""
    command = ["agent", "--observe", "--once", "-o", "json", "--node", "n", "--simulate", "h200-141gb:2"]
    done = CliRunner().invoke(cli.app, [*command, "--exclude-gpus", "1"])
    status = json.loads(done.stdout)
    assert [gpu.get("message", "") for gpu in status["gpus"]] == [
        "",
        "left alone: the agent's setting exclude_gpus names it",
    ]
    assert status["summary"]["freeMemorySlices"] == 8


def test_one_look_without_observe_is_a_mistake() -> None:
    """--once alone would suggest that the agent acts once."""
    done = CliRunner().invoke(cli.app, ["agent", "--once", "--node", "n", "--simulate", "h200-141gb:1"])
    assert done.exit_code == 2
    assert "--observe" in done.output


@pytest.mark.parametrize("known", [True, False])
def test_an_observed_slice_names_its_pod_by_a_true_uid_or_not_at_all(tmp_path: Path, known: bool) -> None:
    """Beside another plugin, whose ids are MIG UUIDs, the owner's UID is the API server's; without it none is told."""
    node = AgentOnNode(tmp_path, options=replace(OPTIONS, observer=True))
    there = node.foreign("1g.5gb", 0)
    pod = node.bind("a", "1g.5gb")
    node.pods[pod.uid].devices["main", "nvidia.com/mig-1g.5gb"] = (str(there.mig_uuid),)
    node.state.on_listing(node.listing())
    node.state.on_pods({pod.uid: pod} if known else {})
    ((found,),) = [gpu.slices for gpu in node.agent.step().report.gpus]
    assert found.state is SliceState.ALLOCATED
    assert found.owner == (Owner("default", "a", pod.uid, "main") if known else None)


def test_what_was_loaded_is_set_apart_once() -> None:
    """After giving memory back, the collector leaves alone what is there."""
    try:
        process_tuning.release_memory()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_threads_take_turns_sooner_than_by_default() -> None:
    """An Allocate that passes through several threads does not wait five milliseconds at each."""
    before = sys.getswitchinterval()
    try:
        process_tuning.shorten_switch_interval()
        assert sys.getswitchinterval() < before
    finally:
        sys.setswitchinterval(before)
