"""Runs unit and property tests against the built wheel, once for each Python that it claims. Called by `make matrix`.

Each Python has an environment of its own, `.venv-3.12` and so on, with the hashed requirements and the wheel. The tests
run from a copy in a temporary folder, so that the packages come from the environment and not from the checkout. What
the wheel leaves out and a test needs is put beside it by path: `testbed` in the folder, `simulator/nvml` and
`benchmarks/servers` in the environment. A Python that this machine does not have is named and left out; none at all is
a failure.

The first Python draws by the profile that HYPOTHESIS_PROFILE names, so that `make check` draws its budgets in full
once, at full speed: coverage, which would slow them down, and the other Pythons draw by `dev`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).with_name("uv")
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
CLASSIFIER = "Programming Language :: Python :: "
LEFT_OUT = ("simulator/nvml", "benchmarks/servers")  # inside packages that the wheel has
DRAWERS = ("tests/unit", "tests/property")
PROFILE = "dev"  # of all Pythons but the first
PARALLEL = ("-n", "auto", "--maxprocesses=4", "--dist", "loadgroup", "--no-loadscope-reorder")  # as in the Makefile
OF_THE_CHECKOUT = (  # compare the documentation with sources and records beside it, and prove nothing of a wheel
    "tests/unit/allocator/mig/test_docs_geometry.py",
    "tests/unit/benchmarks/test_recorded.py",
    "tests/unit/test_docs_imports.py",
)


def main(pytest_arguments: list[str]) -> int:
    """Run the tests under each Python that there is; the exit code says whether all of them passed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    versions = [name.removeprefix(CLASSIFIER) for name in project["project"]["classifiers"] if CLASSIFIER in name]
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    outcomes: dict[str, str] = {}
    profile = os.environ.get("HYPOTHESIS_PROFILE", PROFILE)
    with tempfile.TemporaryDirectory(prefix="migsched-matrix-") as place:
        wheel = _build(Path(place))
        copy = _copy(Path(place) / "checkout", packages)
        for version in versions:
            interpreter = _find(version)
            if interpreter is None:
                outcomes[version] = "not run: this machine has no such Python"
                continue
            began = time.monotonic()
            python = _environment(version, interpreter, wheel)
            passed = _test(python, copy, profile, pytest_arguments)
            outcomes[version] = f"{'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s by {profile}"
            profile = PROFILE
    for version, outcome in outcomes.items():
        _say(f"Python {version}: {outcome}")
    kinds = {outcome.partition(" ")[0] for outcome in outcomes.values()}
    return int("FAILED" in kinds or "passed" not in kinds)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - progress, for people


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


def _build(place: Path) -> Path:
    """The wheel, built from this checkout."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = place.glob("*.whl")
    return wheel


def _copy(place: Path, packages: list[str]) -> Path:
    """The checkout without the packages that the wheel brings, and without what git ignores."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        top = set(packages) if Path(folder) == ROOT else set()
        return {name for name in names if name in top or name == "__pycache__" or name.startswith(".")}

    shutil.copytree(ROOT, place, ignore=ignored)
    for package in ("benchmarks", "node_agent"):  # their pages are read by tests, their code is the wheel's
        for page in (ROOT / package).glob("*.md"):
            (place / package).mkdir(exist_ok=True)
            shutil.copy(page, place / package)
    return place


def _find(version: str) -> Path | None:
    """The interpreter of a version: on PATH, or of pyenv, whose stand-ins on PATH may lead nowhere."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [*os.get_exec_path(), *(str(path) for path in sorted(pyenv.glob(f"{version}.*/bin")))]
    for candidate in (Path(folder) / name for folder in folders):
        if candidate.is_file() and _answers(candidate, version):
            return candidate
    return None


def _answers(interpreter: Path, version: str) -> bool:
    """Whether it runs, and is of this version."""
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([str(interpreter), "-c", script], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and asked.stdout.strip() == version


def _environment(version: str, interpreter: Path, wheel: Path) -> Path:
    """The Python of `.venv-VERSION`, with the requirements as they are locked and the wheel as it is built."""
    directory = ROOT / f".venv-{version}"
    python, stamp = directory / "bin" / "python", directory / ".requirements"
    locked = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="ascii") != locked:
        _run(UV, "venv", "--quiet", "--clear", "--python", interpreter, directory)
        _run(UV, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", REQUIREMENTS)
        stamp.write_text(locked, encoding="ascii")
    _run(UV, "pip", "install", "--quiet", "--python", python, "--no-deps", "--reinstall", wheel)
    (packages,) = (directory / "lib").glob("python3*/site-packages")
    for part in LEFT_OUT:
        shutil.rmtree(packages / part, ignore_errors=True)
        shutil.copytree(ROOT / part, packages / part, ignore=shutil.ignore_patterns("__pycache__"))
    return python


def _test(python: Path, copy: Path, profile: str, arguments: list[str]) -> bool:
    """Whether the tests pass, with as many examples as a profile draws."""
    version = python.parent.parent.name.removeprefix(".venv-")
    _say(f"\n== unit and property tests of the wheel under {version}, by the profile {profile}")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CI")}
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *PARALLEL, *DRAWERS]
    command += [f"--ignore={file}" for file in OF_THE_CHECKOUT] + arguments
    done = subprocess.run(command, cwd=copy, env={**environment, "HYPOTHESIS_PROFILE": profile}, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
