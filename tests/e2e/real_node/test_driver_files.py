"""What an ordinary container finds of the driver, on a real kubelet and containerd with no NVIDIA runtime."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.gpu.gpu import SimulatedGpu
from testbed.node.toolkit import ToolkitPrograms
from tests.e2e.real_node.agent_stack import (
    GPUS,
    AgentStack,
    Document,
    container,
    is_over,
    is_running,
    pod_of,
)
from tests.e2e.real_node.fabricated_driver import CONTROL, LIBRARIES, FabricatedDriver
from tests.e2e.real_node.test_agent_pods import allocatable, switch

pytestmark = pytest.mark.e2e

OLD, NEW = "580.95.05", "590.44.01"
LDCONFIG = "/sbin/ldconfig"  # linked statically, so that it runs in any image


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> FabricatedDriver:
    """A driver's folder, with its device nodes."""
    return FabricatedDriver(tmp_path_factory.mktemp("driver") / "root", GPUS)


@pytest.fixture(scope="module")
def completing(whole: AgentStack, root: FabricatedDriver, toolkit_programs: ToolkitPrograms) -> Iterator[AgentStack]:
    """The stack with an agent that brings the driver's files; afterwards it is as it was."""
    whole.recover()
    whole.agent.stop()
    root.install(OLD)
    start(whole, root, toolkit_programs)
    try:
        whole.eventually(whole.serves, "the agent serves")
        yield whole
    finally:
        if whole.agent.running:
            whole.agent.stop()
        whole.agent.start()
        whole.eventually(whole.serves, "the agent serves as before")


@pytest.fixture
def driver(root: FabricatedDriver) -> FabricatedDriver:
    """A driver that is installed."""
    root.install(OLD)
    return root


@pytest.fixture
def complete(completing: AgentStack, driver: FabricatedDriver) -> Iterator[AgentStack]:
    """The stack without pods, serving; what a test leaves is cleared and checked."""
    yield completing
    completing.clear()


def start(stack: AgentStack, driver: FabricatedDriver, programs: ToolkitPrograms, **settings: str) -> None:
    """Start the agent as beside a driver."""
    known = {"driver_root": str(driver.root), "toolkit_dir": str(programs.directory)}
    stack.agent.start(**{**known, **settings})


@contextlib.contextmanager
def other_agent(
    stack: AgentStack, driver: FabricatedDriver, programs: ToolkitPrograms, **settings: str
) -> Iterator[None]:
    """For some time an agent with other settings."""
    stack.agent.stop()
    start(stack, driver, programs, **settings)
    try:
        yield
    finally:
        stack.agent.stop()
        start(stack, driver, programs)
        stack.eventually(stack.serves, "the agent serves as before")


def condition(stack: AgentStack, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition of the MigNode."""
    conditions = stack.get("mignode", stack.node.name).get("status", {}).get("conditions", ())
    return next(
        ((one["status"], one["reason"], one["message"]) for one in conditions if one["type"] == kind), ("", "", "")
    )


def asking(stack: AgentStack, name: str, *profiles: str, limits: dict[str, int] | None = None) -> Document:
    """A pod like any other; only the image's missing ldconfig is brought to it."""
    main = container("main", profiles)
    main["volumeMounts"].append({"name": "ldconfig", "mountPath": LDCONFIG})
    if limits:
        main["resources"] = {"limits": limits}
    made = pod_of(stack, name, main)
    made["spec"]["volumes"].append({"name": "ldconfig", "hostPath": {"path": LDCONFIG, "type": "File"}})
    return made


def says(stack: AgentStack, name: str, *command: str) -> list[str]:
    """The lines that a command prints in a pod."""
    return stack.node.exec_in_pod(name, *command).stdout.splitlines()


def nodes(stack: AgentStack, name: str) -> set[str]:
    """NVIDIA's device nodes in a pod, below /dev."""
    script = "cd /dev; for node in nvidia* nvidia-caps/*; do test -c $node && echo $node; done; true"
    return set(says(stack, name, "sh", "-c", script))


def libraries(stack: AgentStack, name: str) -> dict[str, str]:
    """What the dynamic loader of a pod finds, by the name that programs ask for; nothing where it has no cache."""
    listed = stack.node.exec_in_pod(name, LDCONFIG, "-p", check=False).stdout.splitlines()
    lines = [line.split(" => ") for line in listed if " => " in line]
    return {left.split()[0]: path for left, path in lines}


def specification(stack: AgentStack) -> dict[str, Any]:
    """The only specification of slices."""
    (name,) = stack.specs()
    read: dict[str, Any] = json.loads((stack.node.cdi_directory / f"migsched-slice-{name}.json").read_text())
    return read


def named_files(specification: dict[str, Any]) -> set[str]:
    """The files of the host that a specification names."""
    edits = specification["containerEdits"]
    return {mount["hostPath"] for mount in edits["mounts"]} | {hook["path"] for hook in edits["hooks"]}


def own_nodes(stack: AgentStack, uuid: str) -> set[str]:
    """The device nodes that only the slice's users get."""
    gpu, placement = stack.hardware.slices()[uuid]
    board = stack.hardware.driver.find(gpu)
    (made,) = [instance for instance in board.instances() if instance.placement == placement]
    caps = stack.hardware.device_nodes(gpu, made.gi_id)
    return {f"nvidia{board.minor}", *(node.path.removeprefix("/dev/") for node in caps)}


def test_a_container_finds_the_driver_and_its_slice(complete: AgentStack, driver: FabricatedDriver) -> None:
    """The dynamic loader finds libcuda, nvidia-smi runs, the nodes are the slice's, and the UUID is known."""
    complete.run(asking(complete, "one", "1g.5gb"))
    uuid = complete.visible("one")
    assert complete.hardware.slices()[uuid][1].profile == "1g.5gb"
    assert libraries(complete, "one")["libcuda.so.1"] == f"/{LIBRARIES}/libcuda.so.1"
    assert says(complete, "one", "/usr/bin/nvidia-smi") == [f"driver {OLD}", f"MIG device {uuid}"]
    assert nodes(complete, "one") == CONTROL.keys() | own_nodes(complete, uuid)
    environment = says(complete, "one", "env")
    assert "NVIDIA_VISIBLE_DEVICES=void" in environment
    assert not [line for line in environment if line.startswith("CUDA_VISIBLE_DEVICES")]


def test_the_common_part_is_the_toolkits(
    complete: AgentStack, driver: FabricatedDriver, toolkit_programs: ToolkitPrograms
) -> None:
    """A slice's specification has what the toolkit says of the driver, word for word, and the slice's own nodes."""
    complete.run(asking(complete, "one", "1g.5gb"))
    written = specification(complete)
    told = generated(driver, toolkit_programs, "--mode=nvml", "--device-id=none")
    assert written["containerEdits"] == told["containerEdits"]
    (own,) = written["devices"]
    uuid = complete.visible("one")
    assert own["containerEdits"]["env"] == [f"MIGSCHED_VISIBLE_DEVICES={uuid}"]
    paths = {node["path"].removeprefix("/dev/") for node in own["containerEdits"]["deviceNodes"]}
    assert paths == own_nodes(complete, uuid)


def test_without_nvml_the_files_alone_are_enough(
    complete: AgentStack, driver: FabricatedDriver, toolkit_programs: ToolkitPrograms
) -> None:
    """Then the toolkit keeps the control nodes in its device `all`; a container gets them, and no others' nodes."""
    driver.install(OLD, nvml=False)
    complete.run(asking(complete, "one", "1g.5gb"))
    common = specification(complete)["containerEdits"]
    told = generated(driver, toolkit_programs, "--mode=management")
    assert {name: common[name] for name in ("env", "mounts", "hooks")} == told["containerEdits"]
    control = [node for node in told["devices"][0]["containerEdits"]["deviceNodes"] if node["path"][5:] in CONTROL]
    assert common["deviceNodes"] == control
    assert libraries(complete, "one")["libcuda.so.1"] == f"/{LIBRARIES}/libcuda.so.1"
    assert nodes(complete, "one") == CONTROL.keys() | own_nodes(complete, complete.visible("one"))


def test_after_a_driver_upgrade_new_containers_get_the_new_files(
    complete: AgentStack, driver: FabricatedDriver
) -> None:
    """An upgrade renames every file; specifications are made anew, and none points at one that is gone."""
    complete.run(asking(complete, "old", "1g.5gb"))
    driver.install(NEW)
    complete.run(asking(complete, "new", "3g.20gb"))
    assert says(complete, "new", "/usr/bin/nvidia-smi")[0] == f"driver {NEW}"
    assert libraries(complete, "new")["libcuda.so.1"] == f"/{LIBRARIES}/libcuda.so.1"
    complete.delete("new")
    complete.eventually(lambda: len(complete.specs()) == 1, "the other's specification is gone")
    named = named_files(specification(complete))
    assert f"{driver.root}/{LIBRARIES}/libcuda.so.{NEW}" in named
    assert [path for path in named if not Path(path).exists()] == []


def test_a_container_of_two_profiles_finds_the_driver_once(complete: AgentStack) -> None:
    """Two names on one container bring the common part twice; what it finds is the same, with both slices."""
    complete.run(asking(complete, "both", "1g.5gb", "3g.20gb"))
    uuids = complete.visible("both").split(",")
    assert len(uuids) == 2
    assert libraries(complete, "both")["libcuda.so.1"] == f"/{LIBRARIES}/libcuda.so.1"
    listed = says(complete, "both", LDCONFIG, "-p")
    assert len([line for line in listed if "libcuda.so.1 " in line]) == 1
    assert nodes(complete, "both") == CONTROL.keys() | own_nodes(complete, uuids[0]) | own_nodes(complete, uuids[1])


@contextlib.contextmanager
def whole_gpus(stack: AgentStack, number: int) -> Iterator[tuple[SimulatedGpu, ...]]:
    """For some time that many GPUs are offered as a whole; pods that use them must be over at the end."""
    boards = stack.hardware.driver.by_index()[-number:]
    stack.empty()
    for board in boards:
        switch(stack, board.uuid, enabled=False)
    try:
        stack.eventually(lambda: allocatable(stack, "nvidia.com/gpu") == number, "the kubelet offers whole GPUs")
        yield boards
    finally:
        for board in boards:
            switch(stack, board.uuid, enabled=True)
        stack.eventually(stack.serves, "all GPUs offer slices")


def test_whole_gpus_get_the_same(complete: AgentStack) -> None:
    """A container with two whole GPUs finds the driver once, and the nodes of both, and knows their UUIDs."""
    with whole_gpus(complete, 2) as boards:
        complete.create(asking(complete, "whole", limits={"nvidia.com/gpu": 2}))
        complete.eventually(lambda: is_running(complete.get("pod", "whole")), "it runs")
        uuids = complete.visible("whole").split(",")
        assert sorted(uuids) == sorted(board.uuid for board in boards)
        assert libraries(complete, "whole")["libcuda.so.1"] == f"/{LIBRARIES}/libcuda.so.1"
        assert nodes(complete, "whole") == CONTROL.keys() | {f"nvidia{board.minor}" for board in boards}
        complete.eventually(lambda: complete.hardware.used() == set(uuids), "they are marked")
        complete.delete("whole")
        complete.eventually(lambda: not complete.hardware.used(), "they are given back")


SLICE_AND_GPU = {"nvidia.com/mig-1g.5gb": 1, "nvidia.com/gpu": 1}


def test_a_slice_and_a_whole_gpu_come_together(complete: AgentStack) -> None:
    """A container that has both finds the driver once, the nodes of both, and both UUIDs, the slice's first."""
    with whole_gpus(complete, 1) as (board,):
        complete.run(asking(complete, "both", limits=SLICE_AND_GPU))
        uuid, gpu = complete.visible("both").split(",")
        assert gpu == board.uuid
        assert libraries(complete, "both")["libcuda.so.1"] == f"/{LIBRARIES}/libcuda.so.1"
        assert nodes(complete, "both") == CONTROL.keys() | own_nodes(complete, uuid) | {f"nvidia{board.minor}"}
        assert "NVIDIA_VISIBLE_DEVICES=void" in says(complete, "both", "env")
        complete.clear()


def test_without_a_toolkit_no_container_starts_and_the_agent_says_why(
    complete: AgentStack, driver: FabricatedDriver, toolkit_programs: ToolkitPrograms, tmp_path: Path
) -> None:
    """Not Ready, with the fix; the pod is refused with the same words instead of running without CUDA."""
    with other_agent(complete, driver, toolkit_programs, toolkit_dir=str(tmp_path), allocate_timeout_s="1"):
        complete.eventually(lambda: condition(complete, "Ready")[1] == "DriverFilesUnknown", "it is not ready")
        status, _, message = condition(complete, "DriverFiles")
        assert status == "False"
        assert "toolkit_dir" in message
        complete.eventually(lambda: complete.agent.registered, "its devices are registered")
        complete.create(asking(complete, "refused", "1g.5gb"))
        complete.eventually(lambda: is_over(complete.get("pod", "refused")), "it is refused")
        refused = complete.get("pod", "refused")["status"]
        assert refused["reason"] == "UnexpectedAdmissionError"
        assert "toolkit_dir" in refused["message"]
        assert complete.specs() == frozenset()
        complete.delete("refused")
        complete.eventually(lambda: not complete.pods(), "it is gone")
    complete.run(asking(complete, "again", "1g.5gb"))
    assert condition(complete, "DriverFiles")[:2] == ("True", "Known")


VARIABLE, LIST = "NVIDIA_VISIBLE_DEVICES", "/var/run/nvidia-container-devices"


@pytest.mark.parametrize("inject", ["runtime", "mounts", "env"])
def test_the_other_ways_leave_the_driver_to_nvidias_runtime(
    complete: AgentStack, driver: FabricatedDriver, toolkit_programs: ToolkitPrograms, inject: str
) -> None:
    """Its runtime, which this node does not have, would go by what is seen here; our variable is as ever."""
    with other_agent(complete, driver, toolkit_programs, inject=inject):
        complete.eventually(complete.serves, "the agent serves")
        complete.run(asking(complete, "one", "1g.5gb"))
        uuid = complete.visible("one")
        environment = says(complete, "one", "env")
        assert "libcuda.so.1" not in libraries(complete, "one")
        assert nodes(complete, "one") == set() or inject == "env"
        if inject == "mounts":
            assert f"{VARIABLE}={LIST}" in environment
            assert says(complete, "one", "ls", LIST) == [uuid]
            says(complete, "one", "test", "-c", f"{LIST}/{uuid}")
        else:
            assert f"{VARIABLE}={uuid}" in environment
        assert bool(complete.specs()) is (inject == "runtime")
        complete.clear()
        if inject != "runtime":
            keeps_one_value(complete, inject)


def keeps_one_value(stack: AgentStack, inject: str) -> None:
    """Without CDI names the kubelet keeps one of two values, of which the pod is told; mounts add up."""
    with whole_gpus(stack, 1) as (board,):
        stack.create(asking(stack, "both", limits=SLICE_AND_GPU))
        stack.eventually(lambda: is_running(stack.get("pod", "both")), "it runs")
        (uuid,) = stack.hardware.slices()
        assert stack.visible("both") in (uuid, board.uuid)
        if inject == "env":
            stack.eventually(lambda: bool(stack.events("both", "SliceHidden")), "the pod is told")
        else:
            assert not stack.events("both", "SliceHidden")
            assert sorted(says(stack, "both", "ls", LIST)) == sorted([uuid, board.uuid])
        stack.delete("both")
        stack.eventually(lambda: not stack.pods(), "it is gone")
        stack.clear()


def generated(driver: FabricatedDriver, programs: ToolkitPrograms, *how: str) -> dict[str, Any]:
    """What NVIDIA's toolkit says of the driver."""
    command = [
        str(programs.ctk), "--quiet", "cdi", "generate", *how, "--format=json",
        f"--driver-root={driver.root}", f"--dev-root={driver.root}", f"--nvidia-cdi-hook-path={programs.hook}",
    ]  # fmt: skip
    printed = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    told: dict[str, Any] = json.loads(printed)
    return told
