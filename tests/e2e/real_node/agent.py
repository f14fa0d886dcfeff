"""The node agent's process beside a real kubelet: started, killed and started again over the same state."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from config.fail_points import VARIABLE
from testbed.control_plane.control_plane import ControlPlane
from testbed.node.real_node import RealNode
from tests.e2e.real_node.hardware import Hardware

ROOT = Path(__file__).parents[3]
_SETTINGS = {"poll_s": "0.25", "grace_s": "0.5", "retry_s": "0.5", "report_interval_s": "0.1", "metrics_port": "0"}
_LAST = '"nvidia.com/mig-7g.40gb","event":"registered"'  # of the resources, by name


class Agent:
    """The node agent's process; started, killed and started again over the same state."""

    def __init__(
        self,
        cluster: ControlPlane,
        node: RealNode,
        hardware: Hardware,
        directory: Path,
        kubeconfig: Path | None = None,
    ) -> None:
        self.state = directory / "state"
        self.log = directory / "agent.log"
        self.boot = "boot-1"
        self._hardware = hardware
        settings = {
            **_SETTINGS,
            "node": node.name,
            "kubeconfig": str(kubeconfig or cluster.kubeconfig),
            "state_dir": str(self.state),
            "cdi_dir": str(node.cdi_directory),
            "device_plugin_dir": str(node.device_plugin_directory),
            "pod_resources_socket": str(node.pod_resources_socket),
            "host_etc": str(directory / "etc"),  # not this machine's
            "plugin_registry_dir": str(directory / "plugins_registry"),
        }
        self._environment = {f"MIGSCHED_AGENT_{key.upper()}": value for key, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._registrations = 0

    def start(self, *die_at: str, fail_points: str = "", **settings: str) -> None:
        """Start it, with some settings changed; returns at once. `die_at` is a state and before or after."""
        changed = {f"MIGSCHED_AGENT_{key.upper()}": value for key, value in settings.items()}
        changed[VARIABLE] = fail_points
        command = [sys.executable, "-m", "tests.e2e.real_node.agent_process", str(self._hardware.socket), self.boot]
        command += die_at
        self._registrations = self._registered()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **self._environment, **changed}
            )

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        assert self._process.poll() is None, f"the agent ended by itself:\n{self.log.read_text()[-3000:]}"
        self._process.kill()
        self._process.wait(30)

    @property
    def registered(self) -> bool:
        """Whether the process that was started last has registered its devices with the kubelet."""
        return self._registered() > self._registrations

    def _registered(self) -> int:
        return self.log.read_text().count(_LAST) if self.log.exists() else 0

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process that was started last has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def killed(self) -> bool:
        """Whether it was ended by SIGKILL."""
        return self._process is not None and self._process.poll() == -signal.SIGKILL

    def stop(self) -> None:
        """SIGTERM; fails if it ended before, or not well."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            assert self._process.wait(30) == 0, self.log.read_text()[-3000:]
