"""Everything that a real node needs, checked, fetched and built. Called by `RealNode`, `make real-node` and tests.

Cheap checks come first, so that a machine that cannot run a node learns so before it builds for minutes.
"""

from dataclasses import dataclass
from pathlib import Path

from testbed.control_plane import build as control_plane_build
from testbed.node import build, debian, machine
from testbed.progress import Progress


@dataclass(frozen=True, slots=True)
class Prepared:
    """The programs of a node."""

    kubelet: Path
    programs: build.NodeBinaries
    tools: debian.Tools


def ensure(progress: Progress | None = None) -> Prepared:
    """The programs of a node, making those that are not in the cache yet.

    `progress` hears what is fetched and built.

    Raises MachineError where this machine cannot run a node; the message says what is missing. Raises BuildError where
    a program could not be built; the message says why and what to do, and names the log.
    """
    machine.require()
    tools = debian.ensure_installed(progress)
    return Prepared(control_plane_build.ensure_built(progress).kubelet, build.ensure_built(progress), tools)
