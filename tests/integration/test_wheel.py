"""The package as it is installed: what is in it works without the repository, and what is left out says so."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("testbed/", "simulator/nvml/", "benchmarks/servers/", "tests/")

Migsched = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory), cwd=ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def migsched(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Migsched:
    """Runs `migsched` of a fresh environment that holds the wheel, beside the libraries of this one."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory / "venv", symlinks=True)
    python = directory / "venv" / "bin" / "python"
    (packages,) = (directory / "venv" / "lib").glob("python3*/site-packages")
    # A path in such a file is searched, but the .pth files there are not read: this checkout stays out.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", str(wheel))

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(str(directory / "venv" / "bin" / "migsched"), *arguments, cwd=directory, check=False)

    return command


def run(*command: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=check,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )


def test_the_wheel_holds_the_product_only(wheel: Path) -> None:
    """The wheel holds the product, its manifests and pages, and nothing that only tests and benchmarks start."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {"cli/main.py", "node_agent/service.py", "deploy/examples/triton-1g.yaml"} <= set(names)
    assert {f"scheduler/api/assets/{name}" for name in ("swagger-ui-bundle.js", "LICENSE", "NOTICE")} <= set(names)
    assert [name for name in names if name.startswith(LEFT_OUT)] == []


def test_it_is_installed_as_a_plugin_of_kubectl_too(migsched: Migsched, wheel: Path) -> None:
    """Both programs are there, of the same version as the wheel."""
    assert migsched("--version").stdout == f"migsched {wheel.name.split('-')[1]}\n"
    (entry_points,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("entry_points.txt"))
    assert b"kubectl-mig = cli.__main__:main" in zipfile.ZipFile(wheel).read(entry_points)


def test_an_installed_migsched_runs_the_demo(migsched: Migsched) -> None:
    """Without the repository, `migsched demo` places the example workloads."""
    done = migsched("demo", "--once", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert any(pod["slices"] for pod in json.loads(done.stdout)["pods"])


@pytest.mark.parametrize("arguments", [("--help",), ("cluster", "--help"), ("bench", "--help")])
def test_an_installed_migsched_shows_all_its_help(migsched: Migsched, arguments: tuple[str, ...]) -> None:
    """Every command is explained, those that need the repository included."""
    done = migsched(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: migsched" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (("cluster",), "`make cluster` there"),
        (("bench", "extender"), '`make bench ARGS="--only extender"` there'),
        (("bench", "interference"), '`make bench ARGS="--only interference"` there'),
        (("bench", "crowd"), '`make bench ARGS="--only crowd"` there'),
        (("bench", "scheduler"), '`make bench ARGS="--only scheduler"` there'),
        (("bench", "agent"), '`make bench ARGS="--only agent"` there'),
        (("bench", "sync"), '`make bench ARGS="--only sync"` there'),
        (("bench", "all", "--quick"), "`make bench` there"),
    ],
)
def test_what_needs_the_repository_says_so(migsched: Migsched, arguments: tuple[str, ...], target: str) -> None:
    """What starts programs that the wheel lacks is one line that names checkout and target, exit code 2."""
    done = migsched(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "in a checkout of the repository only" in line
    assert target in line
