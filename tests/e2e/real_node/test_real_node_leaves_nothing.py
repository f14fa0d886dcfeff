"""A real node leaves nothing on the machine but its directory, however it ends."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.control_plane.control_plane import ControlPlane
from testbed.node import configuration
from testbed.node.layout import HIDDEN, NodeLayout
from testbed.node.real_node import RealNode
from tests.e2e.real_node import pods

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[3]

SUPERVISOR = """
import sys, time
from pathlib import Path
from testbed.control_plane.control_plane import ControlPlane
from testbed.node.real_node import RealNode
from tests.e2e.real_node import pods

directory = Path(sys.argv[1])
with ControlPlane(directory / "c") as cluster, RealNode(cluster, "n1", directory / "n") as node:
    pods.run(cluster, pods.pod("p", pods.FOREVER, node="n1"))
    print("running", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def _cleared(cluster: ControlPlane, node: RealNode) -> Iterator[None]:
    """These tests leave no pod and no other node to those of other files, which share the cluster."""
    yield
    pods.clear(cluster, keep=node.name)


def cgroups(place: NodeLayout) -> list[Path]:
    """The node's cgroups, in all hierarchies: one for each controller, or a single one."""
    top = Path("/sys/fs/cgroup")
    return [root / place.cgroup for root in (top, *top.iterdir()) if (root / place.cgroup).is_dir()]


def inside(place: NodeLayout) -> list[int]:
    """The processes of this machine whose mount namespace is the node's."""
    namespace = Path(f"/proc/{place.pid_file.read_text().strip()}/ns/mnt").readlink()
    return [pid for pid in every_process() if link(Path(f"/proc/{pid}/ns/mnt")) == namespace]


def every_process() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def link(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError:
        return None


def ended(descriptors: list[int]) -> bool:
    """Whether the processes of all pidfds end in time."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while descriptors:
        ready = poll.poll(pods.SECONDS * 1000)
        if not ready:
            return False
        for descriptor, _event in ready:
            poll.unregister(descriptor)
            descriptors.remove(descriptor)
            os.close(descriptor)
    return True


def machine_state(place: NodeLayout) -> dict[str, object]:
    """What a container runtime and a kubelet usually change on a machine."""
    return {
        "mounts": Path("/proc/self/mounts").read_text(),
        "network devices": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "kernel settings": {name: (Path("/proc/sys") / name).read_text() for name in configuration.KERNEL_SETTINGS},
        "directories": {path: sorted(Path(path).iterdir()) for path in (*HIDDEN, "/opt", "/etc", "/var/log")},
        "cgroups": cgroups(place),
    }


def test_a_stopped_node_is_gone(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> None:
    """After stop no process, mount, network device, cgroup, kernel setting or file outside the directory is left."""
    directory = tmp_path_factory.mktemp("n")
    place = NodeLayout(directory)
    before = machine_state(place)
    with RealNode(cluster, "n5", directory):
        pods.run(cluster, pods.pod("p", pods.FOREVER, node="n5"))
        processes = [os.pidfd_open(pid) for pid in inside(place)]
        assert len(processes) >= 6  # first process, containerd, kubelet, shim, pause, container
        assert cgroups(place)
    assert ended(processes)
    assert machine_state(place) == before


def test_a_node_ends_with_its_supervisor(usable_machine: None, short_path: Path) -> None:
    """After SIGKILL of the process that runs the node, no process and no cgroup of the node is left."""
    place = NodeLayout(short_path / "n")
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(short_path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        try:
            assert supervisor.stdout.readline() == "running\n"
            processes = [os.pidfd_open(pid) for pid in inside(place)]
            assert len(processes) >= 6
            assert cgroups(place)
        finally:
            supervisor.send_signal(signal.SIGKILL)
    assert ended(processes)
    pods.eventually(lambda: not cgroups(place), "the removal of cgroups")


def test_what_a_killed_node_left_is_taken_over(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where even the holder of the namespaces was killed and cgroups stayed, the next node in the directory starts."""
    directory = tmp_path_factory.mktemp("n")
    place = NodeLayout(directory)
    first = RealNode(cluster, "n4", directory)
    first.start()
    try:
        processes = [os.pidfd_open(pid) for pid in inside(place)]
        first.children[0].kill()
        assert ended(processes)
        assert cgroups(place)
    finally:
        first.stop()
    with RealNode(cluster, "n4", directory) as second:
        pods.run(cluster, pods.pod("after", pods.FOREVER, node="n4"))
        assert second.exec_in_pod("after", "echo", "alive").stdout == "alive\n"
    assert not cgroups(place)
