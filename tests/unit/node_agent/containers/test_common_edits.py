"""The driver's part of a specification: read from what NVIDIA's toolkit prints, and merged with a slice's own nodes."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_agent.containers import cdi, common_edits
from node_agent.containers.cdi import Edits
from node_agent.containers.common_edits import CommonEdits, CommonEditsError
from node_agent.gpu.device import DeviceNode

PRINTED: dict[str, Any] = json.loads((Path(__file__).parents[3] / "data" / "cdi_h200.json").read_text())
CAPS = (
    DeviceNode("/dev/nvidia-caps/nvidia-cap12", 12, 241),
    DeviceNode("/dev/nvidia-caps/nvidia-cap13", 13, 241),
)


def read(mode: str, **how: str) -> CommonEdits:
    """The common edits of an H200's driver, as the toolkit describes it in a mode."""
    return common_edits.read(json.dumps(PRINTED[mode]).encode(), **how)


def test_the_common_part_of_a_slices_specification_is_the_toolkits() -> None:
    """All that the toolkit says at the top level is in the specification, unchanged; the device has only its own."""
    edits = Edits(("MIG-1",), CAPS, read("nvml"))
    written = json.loads(json.dumps(cdi.slice_specification("a-1g.18gb-0", edits)))
    assert written["containerEdits"] == PRINTED["nvml"]["containerEdits"]
    assert written["kind"] == "migsched.io/slice"
    (device,) = written["devices"]
    assert device["name"] == "a-1g.18gb-0"
    assert device["containerEdits"] == {
        "env": ["MIGSCHED_VISIBLE_DEVICES=MIG-1"],
        "deviceNodes": [
            {"path": node.path, "permissions": "rw", "type": "c", "major": 241, "minor": node.minor} for node in CAPS
        ],
    }


def test_in_management_mode_the_control_nodes_are_taken_from_the_device() -> None:
    """They sit in the device `all` there, beside GPUs and capabilities, which are not everybody's."""
    nodes = [node["path"] for node in read("management").edits["deviceNodes"]]
    assert nodes == ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"]
    whole = PRINTED["management"]["containerEdits"]
    assert {key: read("management").edits[key] for key in whole} == whole


def test_fields_that_are_not_known_reach_the_runtime() -> None:
    """A newer toolkit's fields, at the top and in an entry, are handed on, and its version with them."""
    printed = copy.deepcopy(PRINTED["nvml"])
    printed["cdiVersion"] = "1.1.0"
    printed["containerEdits"]["netDevices"] = [{"hostInterfaceName": "eth1", "name": "eth1"}]
    printed["containerEdits"]["mounts"][0]["type"] = "bind"
    written = cdi.slice_specification("a", Edits(("MIG-1",), CAPS, common_edits.read(json.dumps(printed).encode())))
    assert written["containerEdits"] == printed["containerEdits"]
    assert written["cdiVersion"] == "1.1.0"


@pytest.mark.parametrize(("toolkits", "written"), [("0.3.0", "0.5.0"), ("0.5.0", "0.5.0"), ("0.10.0", "0.10.0")])
def test_the_version_covers_both_parts(toolkits: str, written: str) -> None:
    """Our names need 0.5.0; what the toolkit uses may need more."""
    common = CommonEdits(toolkits, read("nvml").edits)
    assert cdi.slice_specification("a", Edits(("MIG-1",), CAPS, common))["cdiVersion"] == written


def test_paths_are_the_hosts() -> None:
    """Where the agent sees the driver below another folder, mounts name it as the host does; hooks do anyway."""
    common = read("nvml", root="/usr/local/nvidia", host_root="/run/nvidia/driver")
    assert "/run/nvidia/driver/bin/nvidia-smi" in common.mounted
    assert "/dev/null" in common.mounted
    assert not [path for path in common.mounted if path.startswith("/usr/local")]
    assert common.hooks == ("/usr/bin/nvidia-cdi-hook",)
    assert "/bin/nvidia-smi" in read("nvml", root="/usr/local/nvidia", host_root="/").mounted


def test_whole_gpus_share_one_specification() -> None:
    """The runtime applies a file's top level once, however many of its devices a container has."""
    gpus = {f"GPU-{n}": Edits((f"GPU-{n}",), (DeviceNode(f"/dev/nvidia9{n}", n, 195),), read("nvml")) for n in (0, 1)}
    written = json.loads(json.dumps(cdi.gpu_specification(gpus)))
    assert written["kind"] == "migsched.io/gpu"
    assert written["containerEdits"] == PRINTED["nvml"]["containerEdits"]
    assert [device["name"] for device in written["devices"]] == ["GPU-0", "GPU-1"]
    assert all("env" not in device["containerEdits"] for device in written["devices"])


def drop_version(printed: dict[str, Any]) -> None:
    """No version."""
    del printed["cdiVersion"]


def bad_version(printed: dict[str, Any]) -> None:
    """Not a version."""
    printed["cdiVersion"] = "0.5.0; rm"


def no_mounts(printed: dict[str, Any]) -> None:
    """The driver was not found."""
    printed["containerEdits"]["mounts"] = []


def relative_mount(printed: dict[str, Any]) -> None:
    """A path relative to who knows what."""
    printed["containerEdits"]["mounts"][0]["hostPath"] = "lib/libcuda.so"


def climbing_mount(printed: dict[str, Any]) -> None:
    """A path that leaves the driver's root."""
    printed["containerEdits"]["mounts"][0]["hostPath"] = "/run/nvidia/driver/../../../etc/shadow"


def hook_without_path(printed: dict[str, Any]) -> None:
    """A hook that names no program."""
    del printed["containerEdits"]["hooks"][0]["path"]


def many_mounts(printed: dict[str, Any]) -> None:
    """More than a driver has."""
    printed["containerEdits"]["mounts"] *= 4096


def text_for_nodes(printed: dict[str, Any]) -> None:
    """Text where a list belongs."""
    printed["containerEdits"]["deviceNodes"] = "/dev/nvidiactl"


def number_for_device_nodes(printed: dict[str, Any]) -> None:
    """A number where a device's list belongs."""
    del printed["containerEdits"]["deviceNodes"]
    printed["devices"][0]["containerEdits"]["deviceNodes"] = 7


@pytest.mark.parametrize(
    "spoil",
    [
        drop_version,
        bad_version,
        no_mounts,
        relative_mount,
        climbing_mount,
        hook_without_path,
        many_mounts,
        text_for_nodes,
        number_for_device_nodes,
    ],
)
def test_what_is_no_specification_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    """Nothing of the wrong type or shape becomes a file that the runtime acts on as root."""
    printed = copy.deepcopy(PRINTED["nvml"])
    spoil(printed)
    with pytest.raises(CommonEditsError, match=r"toolkit|containerEdits|cdiVersion|mounts"):
        common_edits.read(json.dumps(printed).encode())


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b" " * (common_edits.MAX_BYTES + 1)],
    ids=["nothing", "null", "list", "half", "no UTF-8", "deep list", "deep object", "long"],
)
def test_text_that_is_no_specification_is_refused(text: bytes) -> None:
    """Whatever the toolkit prints ends in a clear error."""
    with pytest.raises(CommonEditsError, match="the toolkit printed"):
        common_edits.read(text)
