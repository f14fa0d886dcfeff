"""A small cluster in which Repacks are carried out, shared by the tests of moves."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import policy_gate
from tests.e2e.scheduling.stack import DEPLOY, Stack


@contextmanager
def started(binaries: build.Binaries, directory: Path) -> Iterator[Stack]:
    """Three nodes with one GPU each, the gate, Repacks, and kube-scheduler in its default configuration."""
    with ControlPlane(directory, binaries=binaries) as plane:
        plane.start_controller_manager()
        policy_gate.apply(plane)
        plane.apply(DEPLOY / "crd" / "repacks.yaml")
        plane.start_scheduler()
        with closing(Stack(plane, 3, 1)) as made:
            yield made
