"""`migsched scheduler` as a process of its own, for benchmarks that measure it from outside."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

READY_S = 240
_POLL_S = 0.02


class ServiceProcess:
    """The service over a kubeconfig, on free ports; a context manager that ends it. `program` is what starts it."""

    def __init__(
        self,
        kubeconfig: Path,
        directory: Path,
        *,
        shortlist: int = 10,
        slack: float = 0.0,
        program: Sequence[str] = ("cli", "scheduler"),
        queue: bool = False,
        moves: bool = False,
    ) -> None:
        switches = {"MIGSCHED_QUEUE": str(queue).lower(), "MIGSCHED_MOVES": str(moves).lower()}
        self._environment = {**os.environ, **switches}
        self._log = directory / "migsched-scheduler.log"
        self._command = [sys.executable, "-m", *program, "--kubeconfig", str(kubeconfig)]
        self._command += ["--extender-port", "0", "--api-port", "0", "--api-host", "127.0.0.1"]
        self._command += ["--shortlist", str(shortlist), "--shortlist-slack", str(slack)]
        self._process: subprocess.Popen[bytes] | None = None
        self.extender_url = ""
        self.api_url = ""

    def __enter__(self) -> "ServiceProcess":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log, stdout=log)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.wait(60)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def wait_ready(self) -> float:
        """Until its log says that it is synced. Returns the seconds it took; raises RuntimeError with the log's end."""
        began = time.perf_counter()
        while time.perf_counter() - began < READY_S:
            lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
            events = {line.get("event"): line for line in lines}
            if "ready" in events:
                self.extender_url = events["listening"]["extender"]
                self.api_url = events["listening"]["api"]
                return time.perf_counter() - began
            if self._running.poll() is not None:
                break
            time.sleep(_POLL_S)
        raise RuntimeError(f"the service did not become ready:\n{self._log.read_text()[-2000:]}")

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory now and at its peak."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return tuple(int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]  # two keys

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
