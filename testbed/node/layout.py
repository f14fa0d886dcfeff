"""Where a node keeps what, on this machine and as its own programs see it. Called by `configuration` and `real_node`.

A node's programs run in a mount namespace in which /run and /var/lib are empty but for what is bound into them, so the
paths that kubelet and containerd insist on belong to one node each, and nothing of the machine's own container runtime
is in sight.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from allocator import errors

# as the node's programs see them
KUBELET_ROOT = Path("/var/lib/kubelet")
CONTAINERD_ROOT = Path("/var/lib/containerd")
CONTAINERD_STATE = Path("/run/containerd")
CONTAINERD_SOCKET = CONTAINERD_STATE / "containerd.sock"
CDI = Path("/run/cdi")
LOGS = Path("/var/log")
HIDDEN = (Path("/run"), Path("/var/lib"))

_SOCKET_PATH_BYTES = 107  # sun_path, without its closing zero
_SOCKET_NAME_BYTES = 40  # for the name that a device plugin gives its socket


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """Paths of a node on this machine, all below one directory."""

    directory: Path

    @property
    def kubelet(self) -> Path:
        """The kubelet's root directory."""
        return self.directory / "kubelet"

    @property
    def device_plugins(self) -> Path:
        """Where a device plugin finds `kubelet.sock` and puts its own socket."""
        return self.kubelet / "device-plugins"

    @property
    def device_manager_socket(self) -> Path:
        """Where a device plugin registers."""
        return self.device_plugins / "kubelet.sock"

    @property
    def pod_resources_socket(self) -> Path:
        """Where the kubelet says which pod holds which device."""
        return self.kubelet / "pod-resources" / "kubelet.sock"

    @property
    def cdi(self) -> Path:
        """Where containerd looks for CDI specs."""
        return self.directory / "cdi"

    @property
    def containerd(self) -> Path:
        """Images and containers."""
        return self.directory / "containerd"

    @property
    def logs(self) -> Path:
        """What the containers wrote, below `pods/`."""
        return self.directory / "var-log"

    @property
    def config(self) -> Path:
        """The configuration files of the node's programs."""
        return self.directory / "config"

    @property
    def pid_file(self) -> Path:
        """Names the first process in the node's namespaces, while they exist."""
        return self.directory / "namespaces.pid"

    @property
    def cgroup(self) -> str:
        """The node's cgroup, the same at every start in this directory, so that what was left over is found."""
        return f"migsched-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}"

    def check(self) -> None:
        """Pass where a node can live in this directory.

        Raises InputError where sockets in it would have too long a path, or the node would not see it.
        """
        longest = len(os.fsencode(self.device_plugins)) + 1 + _SOCKET_NAME_BYTES
        if longest > _SOCKET_PATH_BYTES:
            raise errors.InputError(
                "directory",
                str(self.directory),
                f"too long by {longest - _SOCKET_PATH_BYTES} bytes: a socket's path ends after {_SOCKET_PATH_BYTES}; "
                "choose a shorter one",
            )
        for hidden in (*HIDDEN, LOGS):
            if self.directory.is_relative_to(hidden.resolve()):
                raise errors.InputError(
                    "directory", str(self.directory), f"a node does not see this machine's {hidden}; choose another"
                )
