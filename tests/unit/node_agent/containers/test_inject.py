"""What the kubelet is told in each way of giving containers their GPUs, and where the toolkit is found."""

from pathlib import Path

import pytest

from node_agent.containers.cdi import Edits
from node_agent.containers.common_edits import CommonEdits
from node_agent.containers.driver_root import DriverRoot
from node_agent.containers.inject import Inject
from node_agent.containers.toolkit import Toolkit, ToolkitError
from node_agent.gpu.device import DeviceNode
from node_agent.kubelet.backend import response
from node_agent.kubelet.plugin import AllocateResponse

SLICE, WHOLE = "nvidia.com/mig-1g.5gb", "nvidia.com/gpu"
COMMON = CommonEdits("0.5.0", {"mounts": [{"hostPath": "/lib/a", "containerPath": "/lib/a"}]})
NODES = (DeviceNode("/dev/null", 3), DeviceNode("/dev/not-there", 4))
OURS = "MIGSCHED_VISIBLE_DEVICES"
LIST = "/var/run/nvidia-container-devices"


@pytest.mark.parametrize("inject", list(Inject))
@pytest.mark.parametrize("resource", [SLICE, WHOLE])
def test_cuda_visible_devices_is_never_set(inject: Inject, resource: str) -> None:
    """Serving frameworks read it as numbers."""
    told = response(inject, resource, ["a"], Edits(("MIG-1",), NODES, COMMON))
    assert "CUDA_VISIBLE_DEVICES" not in (told.env or {})


@pytest.mark.parametrize("inject", [Inject.CDI, Inject.RUNTIME])
def test_slices_are_named(inject: Inject) -> None:
    """What the name means is in the specification, which can be rewritten."""
    assert response(inject, SLICE, ["a"], Edits(("MIG-1",), NODES, COMMON)) == AllocateResponse(
        cdi=("migsched.io/slice=a",)
    )


def test_whole_gpus_are_named_one_by_one() -> None:
    """Each is a device of one file; which of them a container has is in our variable."""
    told = response(Inject.CDI, WHOLE, ["GPU-1", "GPU-2"], Edits(("GPU-1", "GPU-2"), NODES, COMMON))
    assert told == AllocateResponse(cdi=("migsched.io/gpu=GPU-1", "migsched.io/gpu=GPU-2"), env={OURS: "GPU-1,GPU-2"})


def test_nvidias_runtime_is_told_by_its_variable() -> None:
    """It brings nodes and files of a whole GPU itself."""
    told = response(Inject.RUNTIME, WHOLE, ["GPU-1"], Edits(("GPU-1",), NODES))
    assert told == AllocateResponse(env={OURS: "GPU-1", "NVIDIA_VISIBLE_DEVICES": "GPU-1"})


@pytest.mark.parametrize("resource", [SLICE, WHOLE])
def test_a_device_list_as_mounts(resource: str) -> None:
    """Where the variable is refused to ordinary containers, only mounts of the host's /dev/null name devices."""
    told = response(Inject.MOUNTS, resource, ["a", "b"], Edits(("MIG-1", "MIG-2"), NODES))
    assert told == AllocateResponse(
        env={OURS: "MIG-1,MIG-2", "NVIDIA_VISIBLE_DEVICES": LIST}, null_mounts=(f"{LIST}/MIG-1", f"{LIST}/MIG-2")
    )


@pytest.mark.parametrize("resource", [SLICE, WHOLE])
def test_variables_and_nodes(resource: str) -> None:
    """Without CDI the kubelet passes the variable and the nodes that exist."""
    told = response(Inject.ENV, resource, ["a"], Edits(("MIG-1",), NODES))
    assert told == AllocateResponse(env={OURS: "MIG-1", "NVIDIA_VISIBLE_DEVICES": "MIG-1"}, nodes=("/dev/null",))


# Where the toolkit is


def programs(directory: Path, content: str = "1") -> Path:
    """A folder with both programs."""
    directory.mkdir(parents=True)
    for name in ("nvidia-ctk", "nvidia-cdi-hook"):
        (directory / name).write_text(content)
        (directory / name).chmod(0o755)
    return directory


def toolkit(tmp_path: Path, directory: Path | None = None, *, host: Path | None = None) -> Toolkit:
    """A toolkit that looks below a folder alone."""
    seen = tmp_path / "root"
    return Toolkit(
        DriverRoot(seen, host or seen),
        directory,
        tmp_path / "installed",
        operator=tmp_path / "operator",
        shipped=tmp_path / "shipped",
    )


def test_the_settings_folder_counts_alone(tmp_path: Path) -> None:
    """Where it is set and lacks a program, no other one is taken instead."""
    programs(tmp_path / "operator")
    mine = programs(tmp_path / "mine")
    assert toolkit(tmp_path, mine).locate() == (mine / "nvidia-ctk", mine / "nvidia-cdi-hook")
    (mine / "nvidia-cdi-hook").unlink()
    with pytest.raises(ToolkitError, match="toolkit_dir"):
        toolkit(tmp_path, mine).locate()


def test_the_hosts_own_programs_come_before_the_images(tmp_path: Path) -> None:
    """The Operator's, then the host's /usr/bin by the path that the host has, then what the image ships."""
    shipped = programs(tmp_path / "shipped")
    assert toolkit(tmp_path).locate() == (shipped / "nvidia-ctk", tmp_path / "installed" / "nvidia-cdi-hook")
    own = programs(tmp_path / "root" / "usr" / "bin")
    host = Path("/")
    assert toolkit(tmp_path, host=host).locate() == (own / "nvidia-ctk", Path("/usr/bin/nvidia-cdi-hook"))
    operator = programs(tmp_path / "operator")
    assert toolkit(tmp_path, host=host).locate() == (operator / "nvidia-ctk", operator / "nvidia-cdi-hook")


def test_a_driver_containers_programs_are_not_the_hosts(tmp_path: Path) -> None:
    """Hooks run on the host, which does not have the driver container's /usr/bin."""
    programs(tmp_path / "root" / "usr" / "bin")
    with pytest.raises(ToolkitError, match="toolkit_dir"):
        toolkit(tmp_path).locate()


def test_the_images_hook_is_put_on_the_host_and_renewed(tmp_path: Path) -> None:
    """A newer image's hook replaces an older one, also one of the same length, and can be run."""
    shipped = programs(tmp_path / "shipped", "old")
    _, hook = toolkit(tmp_path).locate()
    assert hook.read_text() == "old"
    (shipped / "nvidia-cdi-hook").write_text("new")
    assert toolkit(tmp_path).locate()[1] == hook
    assert hook.read_text() == "new"
    assert hook.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in hook.parent.iterdir()] == ["nvidia-cdi-hook"]


def test_no_toolkit_at_all_says_what_to_do(tmp_path: Path) -> None:
    """The message names where it was looked for, and the fix."""
    with pytest.raises(ToolkitError) as caught:
        toolkit(tmp_path).locate()
    for word in (str(tmp_path / "operator"), str(tmp_path / "shipped"), "toolkit_dir", "install"):
        assert word in str(caught.value)
