"""`python -m tests.soak MINUTES [SEED]`: everything that can go wrong, together, on a real control plane and node.

Prints a verdict with its figures; the exit status is 0 where every rule held. Called by `make soak MINUTES=n`.
"""

import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from testbed.node import preparation
from testbed.node.real_node import RealNode
from tests.e2e import history
from tests.e2e.history import Recorder
from tests.e2e.real_node.agent_stack import AgentStack
from tests.soak import tenants
from tests.soak.bad_network import BadNetwork
from tests.soak.credentials import Rotation
from tests.soak.faults import Faults
from tests.soak.tenants import HonestTenant, HostileTenant

RECORD = Path(__file__).parents[2] / "build" / "soak"
TICK_S = 0.5
HOSTILE_EVERY_S = 5.0
FAULT_EVERY_S = 12.0
SETTLE_S = 180.0
MOST_SHOWN = 20  # changes under a container: one mark that is left brings one with each change
MEMORY_MIB = {"extender": 512, "agent": 256}  # below the limits in deploy/, of which the extender's holds a planner too


def main(minutes: str = "10", seed: str = "1") -> int:
    """Run it; the exit status."""
    sys.setrecursionlimit(5 * tenants.DEEP)  # what hostile tenants wrote is read here too
    threading.stack_size(256 * 2**20)
    preparation.ensure(_say)
    binaries = build.ensure_built(_say)
    with tempfile.TemporaryDirectory(prefix="s-") as place, ExitStack() as cleanup:
        soak = _Soak(Path(place), binaries, random.Random(int(seed)), cleanup)
        problems = soak.run(float(minutes) * 60)
        for line in soak.figures():
            _say(line)
    for problem in problems:
        _say(f"BROKEN  {problem}")
    _say(f"verdict: {'every rule held' if not problems else f'{len(problems)} rules broken'} (seed {seed})")
    return 1 if problems else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the answer


class _Soak:
    """Everything running, and who acts on it."""

    def __init__(self, place: Path, binaries: build.Binaries, chance: random.Random, cleanup: ExitStack) -> None:
        cluster = cleanup.enter_context(ControlPlane(place / "c", binaries=binaries))
        node = cleanup.enter_context(RealNode(cluster, "n1", place / "n"))
        self.network = cleanup.enter_context(BadNetwork(int(cluster.url.rpartition(":")[2])))
        self.rotation = Rotation(cluster, self.network.port, place)
        (place / "a").mkdir()
        self.stack = AgentStack(cluster, node, place / "a", self.rotation.kubeconfig)
        cleanup.callback(self.stack.close)
        self.recorder = Recorder(cluster.kubeconfig)
        self.honest = HonestTenant(self.stack, chance)
        self.hostile = HostileTenant(self.stack, chance)
        self.faults = Faults(self.stack, self.network, self.rotation, chance)
        self.memory: dict[str, float] = {}
        self.settled_s = 0.0
        self.problems: list[str] = []

    def run(self, seconds: float) -> list[str]:
        """Act for so long, let everything come to rest, and judge."""
        began = time.monotonic()
        hostile_at = fault_at = began
        while (now := time.monotonic()) < began + seconds:
            pods = self.recorder.pods()
            self.honest.act(pods)
            if now >= hostile_at:
                hostile_at = now + HOSTILE_EVERY_S
                self.hostile.act(pods)
            if now >= fault_at + FAULT_EVERY_S:
                fault_at = now
                self.faults.act()
            self.faults.settle()
            self._look_at_services()
            self.stack.hardware.forget_dead_users()
            time.sleep(TICK_S)
        return self._judge()

    def _judge(self) -> list[str]:
        problems = self.problems
        self.faults.end()
        ended = time.monotonic()
        try:
            self.stack.cluster.kubectl("delete", "pods", "--all", "--wait=false")
            self.stack.eventually(lambda: not self.stack.pods(), "all pods are gone", SETTLE_S)
            self.stack.eventually(self.stack.serves, "the agent serves", SETTLE_S)
            self.stack.come_to_rest()
        except (Exception, pytest.fail.Exception) as error:  # each is a broken rule, told with the others
            why = str(error).partition(";")[0] or repr(error)
            problems.append(f"not at rest: {why}; left: {self._left()}")
        self.settled_s = time.monotonic() - ended
        events = self.recorder.stop()
        RECORD.mkdir(parents=True, exist_ok=True)
        (RECORD / "history.tsv").write_text(history.condensed(events), encoding="utf-8")
        (RECORD / "extender.log").write_text(self.stack.extender.log(), encoding="utf-8")
        (RECORD / "agent.log").write_text(self.stack.agent.log.read_text(encoding="utf-8"), encoding="utf-8")
        problems += history.violations(events, gpu_models.find("a100-40gb"), self.hostile.edited)
        problems += self.stack.hardware.violations[:MOST_SHOWN]
        self.stack.hardware.forget_dead_users()
        used = self.stack.hardware.used()
        if used:
            problems.append(f"containers of deleted pods still run, with {sorted(used)}")
        for name, most in MEMORY_MIB.items():
            if self.memory.get(name, 0.0) > most:
                problems.append(f"the {name} held {self.memory[name]:.0f} MiB, more than {most}")
        return problems

    def _left(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.stack.pods()]

    def _look_at_services(self) -> None:
        for name, service in (("extender", self.stack.extender), ("agent", self.stack.agent)):
            if not service.running:
                self.problems.append(f"the {name} ended by itself")
                service.start()
            pages = int(Path(f"/proc/{service.pid}/statm").read_text(encoding="ascii").split()[1])
            self.memory[name] = max(self.memory.get(name, 0.0), pages * 4096 / 2**20)

    def figures(self) -> list[str]:
        """What was done, and what came of it, a line each."""

        def counted(counts: dict[str, int]) -> str:
            return ", ".join(f"{count} × {name.replace('_', ' ')}" for name, count in sorted(counts.items())) or "none"

        return [
            f"pods of honest tenants: {self.honest.created}; ended: {counted(self.honest.outcomes)}",
            f"acts of hostile tenants: {counted(self.hostile.acts)}; refused: {counted(self.hostile.refused)}",
            f"faults: {counted(self.faults.struck)}; tokens: {self.rotation.rotations}",
            f"changes of GPUs: {self.stack.hardware.changes}; changes recorded: {len(self.recorder.events)}",
            "most memory: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in self.memory.items()),
            f"at rest after {self.settled_s:.0f} s",
        ]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
