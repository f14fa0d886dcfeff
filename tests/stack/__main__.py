"""`python -m tests.stack [--once] [--processes]`: an app, an ingress, Dynamo and Triton on slices, on one machine.

Called by `make stack`. Prints who has which slice and how many requests per second were served, before and after it is
scaled. With `--once` it ends then; else it goes on until Ctrl-C. The exit status is 0 where the story came to its end.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from allocator import errors
from testbed.consumers import packages
from testbed.consumers.ingress import Ingress, Upstream
from testbed.control_plane import build
from testbed.node import errors as node_errors
from testbed.node import machine, preparation
from tests.e2e.real_node.consumers import MODEL
from tests.stack import pods, processes
from tests.stack.app import App

_SERVE_S = 180.0
_MEASURE_S = 5.0
_ROUTES_EVERY_S = 1.0


class Servers(Protocol):
    """Dynamo and Triton, be they pods or processes."""

    kind: str
    api_url: str

    def apply(self, workers: int, servers: int) -> None:
        """Have so many Dynamo workers and Triton servers."""

    def frontends(self) -> list[Upstream]:
        """Of Dynamo."""

    def servers(self) -> list[Upstream]:
        """Of Triton."""

    def workers(self) -> int:
        """How many workers are ready."""

    def slices(self) -> dict[str, str]:
        """The MIG UUID of each pod."""

    def explain(self, tell: Callable[[str], None]) -> None:
        """Tell what keeps them from serving."""


def main() -> int:
    """Run the story; the exit status."""
    parser = argparse.ArgumentParser(prog="make stack", description="App, ingress, Dynamo and Triton on slices.")
    parser.add_argument("--once", action="store_true", help="end after the story")
    parser.add_argument("--processes", action="store_true", help="processes in place of containers")
    options = parser.parse_args()
    try:
        fetched = packages.ensure_installed(_say)
        start = _way(by_processes=options.processes)
        with tempfile.TemporaryDirectory(prefix="st-") as place, start(Path(place), fetched, _say) as servers:
            _tell(servers, once=options.once)
    except errors.MigschedError as error:
        _say(f"make stack: {error}")
        return 1
    except pytest.fail.Exception as error:
        _say(f"make stack: {error}")
        return 1
    except KeyboardInterrupt:
        _say("stopped")
    return 0


def _way(*, by_processes: bool) -> Callable[..., contextlib.AbstractContextManager[Servers]]:
    """Pods where a real node can run, processes where it cannot, which is said aloud."""
    lacks = machine.missing()
    if by_processes or lacks:
        for need in lacks:
            _say(f"no real node here: {need}")
        build.ensure_built(_say)
        return processes.started
    try:
        preparation.ensure(_say)
    except node_errors.MachineError as error:
        _say(f"no real node here: {error}")
        return processes.started
    return pods.started


def _tell(servers: Servers, *, once: bool) -> None:
    _say(f"Triton and Dynamo run as {servers.kind}")
    _say("2 Dynamo workers on 2g.10gb, their front end, and 2 Triton servers on 1g.5gb; no pod names a scheduler")
    with Ingress() as ingress, _routes(servers, ingress):
        _scale(servers, workers=2, triton=2)
        _say(f"app → {ingress.url} (/v1 → Dynamo's front end, /v2 → Triton) → slices")
        _wait(lambda: _answers(ingress), "both answer through the ingress")
        _measure(servers, ingress)
        _say("one worker and one server more, while the app goes on asking:")
        with App(ingress.url, MODEL) as app:
            _scale(servers, workers=3, triton=3)
        for line in app.lines():
            _say(f"  {line}")
        _measure(servers, ingress)
        while not once:
            _measure(servers, ingress)


def _measure(servers: Servers, ingress: Ingress) -> None:
    """Show who has which slice, and what the app measures."""
    with App(ingress.url, MODEL) as app:
        time.sleep(_MEASURE_S)
    subprocess.run([sys.executable, "-m", "cli", "top", "--api-url", servers.api_url, "--used"], check=False)
    for pod, uuid in sorted(servers.slices().items()):
        _say(f"  {pod:40} {uuid}  {app.tallies['Triton'].served_by[uuid] or ''}".rstrip())
    for line in app.lines():
        _say(f"  {line}")


def _scale(servers: Servers, *, workers: int, triton: int) -> None:
    started = time.monotonic()
    servers.apply(workers, triton)
    try:
        _wait(
            lambda: (
                servers.workers() == workers
                and len(servers.servers()) == triton
                and len(servers.frontends()) == 1
                and len(servers.slices()) == workers + triton
            ),
            f"{workers} workers and {triton} servers are ready",
        )
    except pytest.fail.Exception:
        there = f"{servers.workers()} workers, {len(servers.servers())} servers, {len(servers.frontends())} front ends"
        _say(f"there are {there}; slices: {servers.slices()}")
        servers.explain(_say)
        raise
    _say(f"{workers} workers and {triton} servers ready after {time.monotonic() - started:.1f} s")


@contextmanager
def _routes(servers: Servers, ingress: Ingress) -> Iterator[None]:
    """Keep the ingress's routes at what is ready, as a router does by watching EndpointSlices."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(_ROUTES_EVERY_S):
            ingress.route("/v1/", servers.frontends())
            ingress.route("/v2/", servers.servers())

    thread = threading.Thread(target=follow, name="routes")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _answers(ingress: Ingress) -> bool:
    models = ingress.pass_on("GET", "/v1/models", {}, b"")
    return MODEL.encode() in models[2] and ingress.pass_on("GET", "/v2/health/ready", {}, b"")[0] == 200


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SERVE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {_SERVE_S:g} s: {what}")
        time.sleep(0.2)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    sys.exit(main())
