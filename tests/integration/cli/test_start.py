"""The command line as a process: what it loads when it starts, and how it ends when its answer cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "aiohttp", "benchmarks", "cryptography", "fastapi", "grpc", "httptools", "kubeclient", "kubernetes", "msgspec",
    "node_agent", "numpy", "ortools", "prometheus_client", "pydantic", "pydantic_settings", "pynvml", "replay",
    "scheduler", "simulator", "structlog", "testbed", "uvicorn", "uvloop", "yaml",
}  # fmt: skip
HEAVY_FOR_ASKING = {"fastapi", "grpc", "kubernetes", "ortools", "pydantic_settings", "uvicorn"}


def loaded(*arguments: str) -> set[str]:
    """The packages that are loaded once the command line has printed its help."""
    script = (
        "import sys, cli.main as m\n"
        f"sys.argv = ['migsched', *{arguments!r}]\n"
        "try: m.main()\nexcept SystemExit: pass\n"
        "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "Usage:" in done.stdout
    return set(done.stdout.splitlines()[-1].removeprefix("loaded: ").split())


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_the_list_of_commands_loads_no_command(arguments: tuple[str, ...]) -> None:
    """Help takes what prints it: no library of any command, and none of the packages behind them."""
    assert loaded(*arguments) & HEAVY == set()


@pytest.mark.parametrize("command", ["top", "explain"])
def test_light_commands_do_not_wait_for_heavy_libraries(command: str) -> None:
    """Asking a running scheduler loads neither the web framework, nor Kubernetes' client, nor the solver."""
    assert loaded(command, "--help") & HEAVY_FOR_ASKING == set()


@pytest.mark.parametrize("form", ["table", "json"])
def test_an_answer_that_cannot_be_written_is_said(form: str) -> None:
    """A full disk behind standard output is one line and exit code 2, at the end of the program too."""
    question = "{demand: {1g.5gb: 1}, fleet: [{model: a100-40gb, count: 1}]}"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "plan", "-", "-o", form],
            input=question,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "migsched: the answer cannot be written: No space left on device\n",
    )


DEMO = ("demo", "--once", "--nodes", "1", "--gpus", "1", "--extender-port", "0", "--api-port", "0")


def test_a_full_disk_ends_the_demo_in_a_line() -> None:
    """From within the tasks of a running cluster, too: nobody is shown how tasks were grouped."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *DEMO],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    said = "migsched: the answer cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_closed_pipe_is_quiet() -> None:
    """Whoever reads no further gets no complaint."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *DEMO],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")
