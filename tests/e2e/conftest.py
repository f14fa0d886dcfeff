"""Fixtures that run the genuine control plane. Tests that use them are marked `e2e`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from testbed import errors
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from testbed.helm import build as helm_build
from tests.e2e.helm import Helm

_OUTCOME = pytest.StashKey[build.Binaries | errors.BuildError]()
_HELM = pytest.StashKey[Path | errors.BuildError]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test, where a build of minutes is shown and no test's time limit runs."""
    if session.config.option.collectonly or not any(item.get_closest_marker("e2e") for item in session.items):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    try:
        session.stash[_OUTCOME] = build.ensure_built(terminal.write_line if terminal else None)
    except errors.BuildError as exc:
        session.stash[_OUTCOME] = exc
    if any("helm" in getattr(item, "fixturenames", ()) for item in session.items):
        try:
            session.stash[_HELM] = helm_build.ensure_built(terminal.write_line if terminal else None)
        except errors.BuildError as exc:
            session.stash[_HELM] = exc


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> build.Binaries:
    """The built programs."""
    outcome = request.session.stash.get(_OUTCOME, None)
    if outcome is None:
        pytest.fail("a test that runs the control plane must be marked e2e", pytrace=False)
    if isinstance(outcome, errors.BuildError):
        pytest.fail(str(outcome), pytrace=False)
    return outcome


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, with a home of its own."""
    outcome = request.session.stash.get(_HELM, None)
    if not isinstance(outcome, Path):
        pytest.fail(str(outcome or "a test that runs Helm must be marked e2e"), pytrace=False)
    return Helm(outcome, tmp_path_factory.mktemp("helm"))


@pytest.fixture
def control_plane(binaries: build.Binaries, tmp_path: Path) -> Iterator[Callable[..., ControlPlane]]:
    """A factory: each call starts a control plane with the given settings; all are stopped after the test.

    For one that several tests share, use `ControlPlane` itself as a context manager in a fixture of a wider scope.
    """
    with ExitStack() as started:

        def start(**settings: Any) -> ControlPlane:
            settings.setdefault("directory", tmp_path / f"cluster-{len(list(tmp_path.iterdir()))}")
            return started.enter_context(ControlPlane(binaries=binaries, **settings))

        yield start
