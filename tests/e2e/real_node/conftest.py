"""A real node for the tests in this folder, which are skipped, saying what is missing, where no node can run.

Control plane, node and agent start once and are shared: to start them takes longer than most tests. Each test leaves
them as it would like to find them.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from allocator import errors
from testbed.consumers import errors as consumer_errors
from testbed.consumers import packages
from testbed.control_plane import build as control_plane_build
from testbed.control_plane.control_plane import ControlPlane
from testbed.image import build as image_build
from testbed.image import errors as image_errors
from testbed.image import parts
from testbed.image.build import BuiltImage
from testbed.node import errors as real_node_errors
from testbed.node import preparation, toolkit
from testbed.node.real_node import RealNode
from tests.e2e.real_node.agent_stack import AgentStack
from tests.e2e.real_node.consumers import Consumers

_OUTCOME = pytest.StashKey[errors.MigschedError | None]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test, where a build of minutes is shown and no test's time limit runs."""
    if session.config.option.collectonly or not any("usable_machine" in names(item) for item in session.items):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    tell = terminal.write_line if terminal else None
    session.stash[_OUTCOME] = None
    try:
        preparation.ensure(tell)
        if toolkit.can_be_built() and any("toolkit_programs" in names(item) for item in session.items):
            toolkit.ensure_built(tell)
        if any("consumer_packages" in names(item) for item in session.items):
            with contextlib.suppress(consumer_errors.ConsumerError):  # the fixture says it
                packages.ensure_installed(tell)
        if any("images" in names(item) for item in session.items):
            with contextlib.suppress(image_errors.ImageError):  # the fixture says it
                parts.ensure_built(tell or (lambda _line: None))
    except errors.MigschedError as exc:
        session.stash[_OUTCOME] = exc


def names(item: pytest.Item) -> list[str]:
    """The fixtures that a test uses, directly or not."""
    return list(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def usable_machine(request: pytest.FixtureRequest) -> None:
    """This machine can run a node, and all that it needs is there."""
    match request.session.stash[_OUTCOME]:
        case real_node_errors.MachineError() as exc:
            pytest.skip(str(exc))
        case errors.MigschedError() as exc:
            pytest.fail(str(exc), pytrace=False)


@pytest.fixture(scope="package")
def toolkit_programs(usable_machine: None) -> toolkit.ToolkitPrograms:
    """NVIDIA's own programs that describe a driver."""
    if not toolkit.can_be_built():
        pytest.skip(f"NVIDIA's container toolkit needs a C compiler to be built: install {toolkit.COMPILER}")
    return toolkit.ensure_built()


@pytest.fixture(scope="package")
def images(
    toolkit_programs: toolkit.ToolkitPrograms, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, BuiltImage]:
    """The product's images by target, in archives; skipped where this machine cannot put them together."""
    try:
        return image_build.build(tmp_path_factory.mktemp("images"), lambda _line: None)
    except image_errors.ImageError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="package")
def cluster(
    usable_machine: None, binaries: control_plane_build.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A control plane with the stock scheduler."""
    with ControlPlane(tmp_path_factory.mktemp("c"), binaries=binaries) as started:
        started.start_scheduler()
        yield started


@pytest.fixture(scope="package")
def node(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A node that all tests of this folder share."""
    with RealNode(cluster, "n1", tmp_path_factory.mktemp("n"), labels={"accelerator": "simulated"}) as started:
        yield started


@pytest.fixture(scope="package")
def whole(cluster: ControlPlane, node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentStack]:
    """Everything running, shared by all tests of this folder."""
    with closing(AgentStack(cluster, node, tmp_path_factory.mktemp("a"))) as started:
        yield started


@pytest.fixture
def stack(whole: AgentStack) -> Iterator[AgentStack]:
    """The running stack without pods, serving; what a test leaves is cleared and checked."""
    whole.recover()
    yield whole
    whole.clear()


@pytest.fixture(scope="session")
def consumer_packages(usable_machine: None) -> packages.Packages:
    """Triton and Dynamo. Without them the tests are skipped, saying why, but in CI, which must have them."""
    try:
        return packages.ensure_installed()
    except consumer_errors.ConsumerError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc), pytrace=False)
        pytest.skip(str(exc))


@pytest.fixture(scope="package")
def queued(
    usable_machine: None, binaries: control_plane_build.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentStack]:
    """A cluster and a node of their own for pods that name no scheduler: they are queued, and Repacks carried out."""
    directory = tmp_path_factory.mktemp("q")
    with ControlPlane(directory / "c", binaries=binaries) as cluster:
        cluster.start_controller_manager()
        cluster.start_scheduler()
        node = RealNode(cluster, "n1", directory / "n")
        with node, closing(AgentStack(cluster, node, directory, queue=True)) as stack:
            yield stack


@pytest.fixture(scope="package")
def consumers(
    queued: AgentStack, consumer_packages: packages.Packages, tmp_path_factory: pytest.TempPathFactory
) -> Consumers:
    """Triton and Dynamo on the cluster with the queue."""
    return Consumers(queued, consumer_packages, tmp_path_factory.mktemp("consumers"))
