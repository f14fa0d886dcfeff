"""A real node: kubelet and containerd in namespaces of their own, joined to a `ControlPlane`.

Called by the end-to-end tests. `layout` says where things are, `configuration` how the node's
settings differ from a production node's.

Three supervised programs make a node: `namespaces` (go/run.go) holds the mount, process and network namespaces and the
cgroups; containerd and kubelet run inside. When `namespaces` ends, be it because this process was killed, the kernel
ends every process of the node and drops its mounts and network devices, and `namespaces` itself removes the cgroups.
Only the directory stays.
"""

import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from testbed import errors as control_plane_errors
from testbed import processes
from testbed.control_plane import control_plane
from testbed.node import configuration, errors, image, layout, pod_logs, pod_network, preparation
from testbed.progress import Progress

_READY_TIMEOUT_S = 60.0  # for a program to become ready, and for the node to be Ready
_ASK_EVERY_S = 0.05
_EXEC_TIMEOUT_S = 60.0
_IMPORT_TIMEOUT_S = 300.0  # hundreds of MB are written twice
_PROGRAMS = ("namespaces", "containerd", "kubelet")  # each needs those before it
_BOOTED = b"containerd successfully booted"
_CONTAINERD_NAMESPACE = "k8s.io"  # the one that the kubelet's containers are in


class RealNode:
    """One node in one directory. A context manager; all of its methods may block for seconds.

    Started again in the same directory, it comes back with the images, containers and device allocations it had, as a
    machine that was switched off does. Pods name `image.BUSYBOX` as their image, with `imagePullPolicy: Never`.

    Attributes:
        name: of the Node object.
        device_plugin_directory: holds `kubelet.sock`; a device plugin's own socket belongs here too.
        pod_resources_socket: the kubelet's PodResources API.
        cdi_directory: containerd reads CDI specs from here when it makes a container. In containers and for the node's
            own programs it is /run/cdi.
        log_directory: one `NAME.log` per program.
    """

    def __init__(
        self,
        cluster: control_plane.ControlPlane,
        name: str,
        directory: Path,
        *,
        labels: Mapping[str, str] | None = None,
        kubelet: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Take a directory for the node's files; nothing is started yet.

        `cluster` is joined on start and must run by then. `name` and `labels` are the Node object's. `kubelet` are
        fields of a KubeletConfiguration beside or instead of those that every node here has. `directory` is made where
        it is missing; it must be short, because sockets lie below it. `progress` hears what is built and fetched.

        Raises InputError where the directory cannot hold a node.
        """
        self._place = layout.NodeLayout(directory.absolute())
        self._place.check()
        self.name = name
        self.directory = self._place.directory
        self.device_plugin_directory = self._place.device_plugins
        self.pod_resources_socket = self._place.pod_resources_socket
        self.cdi_directory = self._place.cdi
        self.log_directory = self.directory / "logs"
        self._cluster = cluster
        self._labels = labels or {}
        self._kubelet = kubelet or {}
        self._progress = progress
        self._prepared: preparation.Prepared | None = None
        self._supervisor: processes.Supervisor | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def children(self) -> tuple[processes.Process, ...]:
        """The processes `namespaces`, `containerd` and `kubelet`, in this order; empty unless started."""
        return self._supervisor.processes if self._supervisor else ()

    def start(self) -> None:
        """Start containerd and kubelet and wait until the Node object is Ready.

        Raises MachineError where this machine cannot run a node; the message says what is missing. Raises BuildError
        where the programs had to be built and could not be. Raises StartError where the directory is in use, or a
        program ended or was not ready in time; nothing is left running.
        """
        if self._supervisor is not None:
            raise control_plane_errors.StartError(f"the node in {self.directory} is started already")
        self._prepared = preparation.ensure(self._progress)
        self._supervisor = processes.Supervisor(self.directory)
        try:
            configuration.write(
                self._place,
                self._prepared.programs,
                self._prepared.tools,
                self._kubelet,
                api_server_port=int(self._cluster.url.rpartition(":")[2]),
            )
            image.write_archive(self._place.config / "images.tar", self._prepared.tools.busybox)
            self._boot(import_images=True)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the node, its containers included; what they mounted is gone. Idempotent.

        The directory and the Node object stay.
        """
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            supervisor.stop()

    def reboot(self) -> None:
        """Switch the node off, without warning to anything in it, and on again; wait until it is Ready.

        What is in memory is lost: processes, mounts, /run. The disk stays: images, and the kubelet's checkpoints.

        Raises StartError where a program ended or was not ready in time.
        """
        for name in ("kubelet", "containerd"):
            self._process(name).kill()
        self._process("namespaces").stop()
        self._boot(import_images=False)

    def kill_kubelet(self) -> None:
        """SIGKILL the kubelet; `restart_kubelet` brings it back. Containers run on."""
        self._process("kubelet").kill()

    def restart_kubelet(self) -> None:
        """Stop the kubelet, if it runs, and start it; wait until it serves device plugins and the node is Ready.

        Raises StartError where it ended or was not ready in time.
        """
        self._process("kubelet").restart()
        self._wait_for_kubelet()

    def import_images(self, archive: Path) -> None:
        """Make the images of an OCI archive known to the node, under the names that the archive says.

        Raises CommandError where containerd cannot use it.
        """
        self._ctr("images", "import", str(archive), timeout_s=_IMPORT_TIMEOUT_S)

    def exec_in_pod(
        self, pod: str, *command: str, container: str | None = None, namespace: str = "default", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of a pod of this node, with the environment of the container's own process.

        `command` is a program and its arguments; none of them goes through a shell. Without `container` it runs in the
        pod's first one. `check` raises where the exit status is not 0.

        Raises PodError where there is no such pod or container, or it does not run. Raises CommandError where the
        command failed or did not end in time.
        """
        container_id = self._container(pod, container, namespace)
        return self._ctr(
            "tasks", "exec", f"--exec-id=exec-{uuid.uuid4().hex[:12]}", container_id, *command, check=check
        )

    def kill_container(self, pod: str, *, container: str | None = None, namespace: str = "default") -> None:
        """SIGKILL the process of a container, the pod's first one by default; the kubelet does what the pod says then.

        Raises PodError where there is no such pod or container, or it does not run.
        """
        self._ctr("tasks", "kill", "--signal=SIGKILL", self._container(pod, container, namespace))

    def pod_log(self, pod: str, *, container: str | None = None, namespace: str = "default") -> str:
        """What a container of a pod of this node wrote since it was last started.

        Raises PodError where there is no such pod, or the container has not been started yet.
        """
        return pod_logs.read(self._place.logs / "pods", self._pod(pod, namespace), container)

    def connect(self, address: str, port: int, timeout_s: float = 10.0) -> socket.socket:
        """A TCP connection from within the node's network, e.g. to a pod's address.

        Raises OSError where nothing listens there, or the node does not run.
        """
        return pod_network.connect(self._place.pid_file, address, port, timeout_s)

    def _boot(self, *, import_images: bool) -> None:
        programs, supervisor = self._programs.programs, self._running
        boot_id = str(uuid.uuid4())
        configuration.write_boot_id(self._place, boot_id)
        self._place.pid_file.unlink(missing_ok=True)  # of a node that was killed
        namespaces = [str(programs.namespaces), "run", str(self._place.config / "namespaces.json")]
        supervisor.start("namespaces", namespaces)
        self._wait("namespaces", self._place.pid_file.exists, "has not made the namespaces")
        containerd = [str(programs.containerd), f"--config={self._place.config / 'containerd.toml'}"]
        path = {"PATH": f"{programs.containerd.parent}:/usr/sbin:/usr/bin:/sbin:/bin"}
        written = self._containerd_log()
        supervisor.start("containerd", self._inside("--network", *containerd), path)
        self._wait("containerd", lambda: _accepts(self._within(layout.CONTAINERD_SOCKET)), "does not answer")
        # it accepts before its CRI is initialised; a kubelet that asks in between ends
        self._wait("containerd", lambda: _BOOTED in self._containerd_log(after=written), "has not booted")
        if import_images:
            self.import_images(self._place.config / "images.tar")
        flags = configuration.kubelet_flags(self._place, self.name, self._cluster.kubeconfig, self._labels)
        # in the node's network: its probes reach pods, and the API server is at 127.0.0.1 there too, by the relay
        supervisor.start("kubelet", self._inside("--network", str(self._programs.kubelet), *flags))
        self._wait_for_kubelet(boot_id)

    def _containerd_log(self, after: bytes = b"") -> bytes:
        """What containerd has logged, without what it had logged before."""
        log = self.log_directory / "containerd.log"
        return log.read_bytes().removeprefix(after) if log.exists() else b""

    def _wait_for_kubelet(self, boot_id: str | None = None) -> None:
        """Wait for a kubelet that was just started: its sockets answer again, and the node is Ready in this boot."""
        for path in (self._place.device_manager_socket, self._place.pod_resources_socket):
            self._wait("kubelet", lambda path=path: _accepts(path), f"does not serve {path}")  # type: ignore[misc]
        self._wait("kubelet", lambda: self._ready(boot_id), "has not made the node Ready")

    def _ready(self, boot_id: str | None) -> bool:
        answer = self._cluster.kubectl("get", "node", self.name, "--output=json", check=False)
        if answer.returncode:
            return False
        status = json.loads(answer.stdout)["status"]
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", ())
        )
        return ready and boot_id in (None, status["nodeInfo"]["bootID"])

    def _wait(self, name: str, condition: Callable[[], bool], problem: str) -> None:
        process = self._process(name)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not condition():
            for needed in map(self._process, _PROGRAMS[: _PROGRAMS.index(name) + 1]):
                if not needed.running:
                    raise control_plane_errors.StartError(
                        needed.describe(f"ended with status {needed.exit_status} while the node was starting")
                    )
            if time.monotonic() > deadline:
                raise control_plane_errors.StartError(process.describe(f"{problem} after {_READY_TIMEOUT_S:g} s"))
            time.sleep(_ASK_EVERY_S)

    def _inside(self, *command: str) -> list[str]:
        """The command line that runs a command in the node's namespaces."""
        return [str(self._programs.programs.namespaces), "enter", str(self._place.pid_file), *command]

    def _within(self, path: Path) -> Path:
        """The path by which this machine reaches what the node has at `path`."""
        first = self._place.pid_file.read_text(encoding="ascii").strip()
        return Path(f"/proc/{first}/root") / path.relative_to("/")

    def _ctr(
        self, *arguments: str, check: bool = True, timeout_s: float = _EXEC_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        shown = f"ctr {' '.join(arguments)}"
        address = f"--address={layout.CONTAINERD_SOCKET}"
        command = self._inside(
            str(self._programs.programs.ctr), address, f"--namespace={_CONTAINERD_NAMESPACE}", *arguments
        )
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": "1"},  # of cgroup version 1
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise control_plane_errors.CommandError(f"{shown}: no end after {timeout_s:g} s") from error
        if check and done.returncode:
            wrote = (done.stderr or done.stdout).strip()
            raise control_plane_errors.CommandError(f"{shown}: exit status {done.returncode}: {wrote}")
        return done

    def _pod(self, pod: str, namespace: str) -> dict[str, Any]:
        answer = self._cluster.kubectl("get", "pod", pod, f"--namespace={namespace}", "--output=json", check=False)
        if answer.returncode:
            raise errors.PodError(answer.stderr.strip())
        read: dict[str, Any] = json.loads(answer.stdout)
        if read["spec"].get("nodeName") != self.name:
            raise errors.PodError(f"pod {namespace}/{pod} is not on node {self.name}")
        return read

    def _container(self, pod: str, container: str | None, namespace: str) -> str:
        """Containerd's id of a running container."""
        statuses = self._pod(pod, namespace)["status"].get("containerStatuses", ())
        for status in statuses:
            if container in (None, status["name"]) and "running" in status["state"]:
                return str(status["containerID"]).removeprefix("containerd://")
        states = [f"{status['name']} ({', '.join(status['state'])})" for status in statuses]
        what = f"running container {container}" if container else "running container"
        existing = ", ".join(states) or "none has been made"
        raise errors.PodError(f"pod {namespace}/{pod} has no {what}: {existing}")

    def _process(self, name: str) -> processes.Process:
        for process in self.children:
            if process.name == name:
                return process
        raise control_plane_errors.StartError(f"{name} is not started in {self.directory}")

    @property
    def _programs(self) -> preparation.Prepared:
        if self._prepared is None:
            raise control_plane_errors.StartError(f"the node in {self.directory} is not started")
        return self._prepared

    @property
    def _running(self) -> processes.Supervisor:
        if self._supervisor is None:
            raise control_plane_errors.StartError(f"the node in {self.directory} is not started")
        return self._supervisor


def _accepts(path: Path) -> bool:
    """Whether a process listens on a Unix socket. The file alone says nothing: a killed server leaves it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
