"""The files that a real node is made of: images, logs, paths and configuration."""

import ipaddress
import json
import tarfile
import tomllib
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from allocator import errors as allocator_errors
from testbed.control_plane import service_network
from testbed.node import build, configuration, debian, errors, image, pod_logs
from testbed.node.layout import NodeLayout


def test_both_images_are_busybox_with_links(tmp_path: Path) -> None:
    """An archive holds both images under the names that pods use, of one layer with busybox and links to it."""
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"program")
    image.write_archive(tmp_path / "images.tar", busybox)
    with tarfile.open(tmp_path / "images.tar") as archive:

        def blob(digest: str) -> IO[bytes]:
            return content(f"blobs/{digest.replace(':', '/')}")

        def content(name: str) -> IO[bytes]:
            member = archive.extractfile(name)
            assert member is not None
            return member

        listed = json.load(content("index.json"))["manifests"]
        names = [entry["annotations"]["io.containerd.image.name"] for entry in listed]
        assert names == [image.BUSYBOX, image.PAUSE]
        layers = {layer["digest"] for entry in listed for layer in json.load(blob(entry["digest"]))["layers"]}
        (digest,) = layers
        with tarfile.open(fileobj=blob(digest)) as layer_archive:
            assert layer_archive.getmember("bin/busybox").mode == 0o755
            assert layer_archive.getmember("bin/sh").linkname == "busybox"


def test_a_log_is_put_together_from_its_parts() -> None:
    """A line that was split where it was too long is one line again, and spaces and empty lines stay."""
    written = "T stdout F one\nT stdout P tw\nT stdout F o\nT stderr F \nT stdout F  three  \n"
    assert pod_logs.text(written) == "one\ntwo\n\n three  \n"


@pytest.fixture
def pod() -> dict[str, Any]:
    """A pod with two containers, as much of it as a log needs."""
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "main"}, {"name": "side"}]},
    }


def test_the_last_start_is_read(pod: dict[str, Any], tmp_path: Path) -> None:
    """Of a container that was started eleven times, the log of the eleventh is read, counted and not spelled."""
    logs = tmp_path / "default_p_u" / "main"
    logs.mkdir(parents=True)
    for start in (9, 10, 2):
        (logs / f"{start}.log").write_text(f"T stdout F start {start}\n")
    assert pod_logs.read(tmp_path, pod) == "start 10\n"


def test_a_container_that_wrote_nothing_is_named(pod: dict[str, Any], tmp_path: Path) -> None:
    """Where there is no log file, the error names pod and container."""
    with pytest.raises(errors.PodError, match="container side of pod default/p has written no log yet"):
        pod_logs.read(tmp_path, pod, "side")


def test_a_directory_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    """A directory is refused exactly when a device plugin's socket in it could have too long a path."""
    fits = 107 - len("/kubelet/device-plugins/") - 40
    NodeLayout(Path("/" + "d" * (fits - 1))).check()
    with pytest.raises(allocator_errors.InputError, match=r"too long by 1 bytes.*choose a shorter one"):
        NodeLayout(Path("/" + "d" * fits)).check()


@pytest.mark.parametrize("directory", ["/run/n", "/var/lib/n", "/var/log/n"])
def test_a_directory_that_the_node_does_not_see_is_refused(directory: str) -> None:
    """A directory below one that the node has an empty one in place of is refused."""
    with pytest.raises(allocator_errors.InputError, match="a node does not see this machine's"):
        NodeLayout(Path(directory)).check()


def test_nodes_in_different_directories_have_different_cgroups(tmp_path: Path) -> None:
    """A node's cgroup depends on its directory alone, so that a later start finds what an earlier one left."""
    assert NodeLayout(tmp_path / "a").cgroup == NodeLayout(tmp_path / "a").cgroup != NodeLayout(tmp_path / "b").cgroup


@pytest.fixture
def place(tmp_path: Path) -> NodeLayout:
    """A node's directory with its configuration written."""
    place = NodeLayout(tmp_path)
    programs = build.NodeBinaries.within(Path("/programs"))
    configuration.write(
        place, programs, debian.Tools(Path('/tools/"runc"'), Path("/tools/busybox")), api_server_port=6443
    )
    return place


def test_the_kubelet_serves_no_port(place: NodeLayout) -> None:
    """Nobody can reach the kubelet over the network, since it would run commands as root for them."""
    config = yaml.safe_load((place.config / "kubelet.yaml").read_text())
    assert config["enableServer"] is False
    assert config["healthzPort"] == 0
    assert config["readOnlyPort"] == 0


def test_the_kubelet_finds_its_kernel_settings_as_it_wants_them(place: NodeLayout) -> None:
    """Each kernel setting that a kubelet would change is covered by a file that already holds the value."""
    binds = json.loads((place.config / "namespaces.json").read_text())["binds"]
    covered = {bind["target"]: Path(bind["source"]) for bind in binds if bind["target"].startswith("/proc/sys/")}
    del covered["/proc/sys/kernel/random/boot_id"]
    assert {target.removeprefix("/proc/sys/"): int(source.read_text()) for target, source in covered.items()} == (
        configuration.KERNEL_SETTINGS
    )


def test_pods_find_the_api_server_where_they_look_for_it(place: NodeLayout) -> None:
    """The node has the address of the Service `kubernetes`, the first of all Services', and pods have a way to it."""
    namespaces = json.loads((place.config / "namespaces.json").read_text())
    (plugin,) = json.loads((place.config / "cni" / "bridge.conflist").read_text())["plugins"]
    services = ipaddress.ip_network(service_network.SUBNET)
    assert namespaces["service_address"] == str(next(services.hosts()))
    assert plugin["ipam"]["routes"] == [{"dst": str(services)}]
    assert not services.overlaps(ipaddress.ip_network(plugin["ipam"]["ranges"][0][0]["subnet"]))


def test_paths_are_quoted_in_toml(place: NodeLayout) -> None:
    """A path with quotation marks in it is one TOML string."""
    config = tomllib.loads((place.config / "containerd.toml").read_text())
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == '/tools/"runc"'
    assert runtime["cdi_spec_dirs"] == ["/run/cdi"]
