"""Stacks for the scheduling tests: one control plane per module, since starting one takes seconds."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e.scheduling.stack import Stack

NODES, GPUS = 5, 8


@pytest.fixture(scope="module")
def plane(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with its controllers."""
    with ControlPlane(tmp_path_factory.mktemp("cluster"), binaries=binaries) as started:
        started.start_controller_manager()
        yield started


@pytest.fixture(scope="module")
def bare(plane: ControlPlane) -> Iterator[Stack]:
    """5 nodes × 8 A100-40GB without extender and scheduler."""
    with closing(Stack(plane, NODES, GPUS)) as stack:
        yield stack


@pytest.fixture(scope="module")
def whole(bare: Stack) -> Stack:
    """The same with the extender and kube-scheduler running."""
    bare.serve()
    bare.schedule()
    return bare


@pytest.fixture
def stack(whole: Stack) -> Iterator[Stack]:
    """The running stack, without workloads."""
    yield whole
    whole.clear()
