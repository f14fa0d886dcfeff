"""The images' definition: what preflight checks ask of it, and that each image has what its commands import."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import grimp
import pytest

from node_agent.containers import toolkit
from testbed.image import build, debian_packages, parts, python_packages

ROOT = Path(__file__).parents[3]
COMMANDS = {
    "scheduler": ("scheduler",),
    "agent": ("agent",),
    "cli": ("top", "explain", "pending", "capacity", "plan", "repack", "simulate", "completion"),
}
# What Red Hat's preflight wants of every image (HasRequiredLabel)
LABELS = ("name", "vendor", "version", "release", "summary", "description", "maintainer")
DISTRIBUTIONS = {"yaml": "pyyaml", "google": "protobuf", "grpc": "grpcio", "pynvml": "nvidia-ml-py"}  # by module
# listed for another reason than an import of ours
BESIDES = {"rich": "typer prints with it", "pydantic": "pydantic-settings is made of it"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports what, libraries included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return grimp.build_graph(*packages, include_external_packages=True, cache_dir=None)


def libraries(graph: grimp.ImportGraph, *modules: str) -> set[str]:
    """The distributions of all libraries that modules import, directly or through others of ours, lazily or not."""
    ours = {module for module in graph.modules if not graph.is_module_squashed(module)}
    seen: set[str] = set()
    waiting = [*modules]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            if module in ours:
                waiting += graph.find_modules_directly_imported_by(module)
                waiting += [module.rpartition(".")[0]] if "." in module else []
    installed = metadata.packages_distributions()
    names = {module for module in seen - ours if module in installed}
    return {DISTRIBUTIONS.get(name, installed[name][0]).lower().replace("_", "-") for name in names}


def wanted(target: str) -> set[str]:
    """The distributions that an image's list names."""
    lines = (parts.SOURCES / f"{target}.in").read_text(encoding="utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def pins(path: Path) -> set[tuple[str, str]]:
    """Distributions and their versions in a lock; one may have another version for another Python."""
    return set(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def names(path: Path) -> set[str]:
    """The distributions in a lock."""
    return {name for name, _version in pins(path)}


@pytest.mark.parametrize("target", COMMANDS)
def test_an_image_has_what_its_commands_import(graph: grimp.ImportGraph, target: str) -> None:
    """An image's list names every library that its commands import, and no other."""
    imported = libraries(graph, "cli.__main__", "cli.main", *(f"cli.{command}" for command in COMMANDS[target]))
    assert imported - wanted(target) - BESIDES.keys() == set()
    assert wanted(target) - imported - BESIDES.keys() == set()


@pytest.mark.parametrize("target", COMMANDS)
def test_an_image_has_the_versions_that_are_tested(target: str) -> None:
    """The lock of an image has what its list names, in the versions of the lock that tests run with."""
    assert wanted(target) - names(parts.requirements(target)) == set()
    assert pins(parts.requirements(target)) - pins(ROOT / "requirements" / "runtime.txt") == set()


def test_agents_carry_no_solver_and_servers_no_nvml() -> None:
    """The largest libraries are only where they are used: OR-Tools and pandas never on nodes, gRPC and NVML there."""
    locked = {target: names(parts.requirements(target)) for target in COMMANDS}
    assert locked["agent"].isdisjoint({"ortools", "pandas", "fastapi", "uvloop"})
    assert locked["scheduler"].isdisjoint({"grpcio", "nvidia-ml-py"})
    assert locked["cli"].isdisjoint({"grpcio", "nvidia-ml-py", "fastapi", "uvicorn", "uvloop"})


@pytest.mark.parametrize("target", COMMANDS)
def test_labels_and_user_are_as_preflight_wants(target: str) -> None:
    """Each image has the required labels, none empty, none of Red Hat's own names, and a numeric user but 0."""
    stage = build.stages()[target]
    labels = stage.settings["Labels"]
    assert [name for name in LABELS if not labels.get(name)] == []
    assert labels["name"] == f"migsched-{target}"
    assert labels["version"] == build.version()
    assert not any(re.search(r"red ?hat", labels[name], re.IGNORECASE) for name in ("name", "vendor", "maintainer"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.settings["User"])
    assert stage.settings["Entrypoint"] == ["migsched"]
    assert len(stage.layers) <= 40


def test_the_toolkits_programs_are_the_agents_alone() -> None:
    """NVIDIA's programs are a layer of the agent's image and of no other, where the agent looks for them."""
    assert [target for target in COMMANDS if "toolkit.tar" in build.stages()[target].layers] == ["agent"]
    assert "/" / parts.TOOLKIT == toolkit.SHIPPED


def test_every_package_of_the_base_is_pinned() -> None:
    """The lock has each package that the base is made of, once, with the hash of its file."""
    locked = debian_packages.read_lock(parts.LOCK)
    assert [package.name for package in locked] == sorted(debian_packages.PACKAGES)
    assert all(re.fullmatch(r"[0-9a-f]{64}", package.sha256) for package in locked)


def test_the_images_programs_are_the_projects() -> None:
    """The images have the commands that pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(python_packages.SCRIPTS) == list(project["project"]["scripts"])
    assert set(project["project"]["scripts"].values()) == {"cli.__main__:main"}
