"""The image's build: what the wheel is made of reaches it."""

import tomllib
from pathlib import Path

from node_agent.containers import toolkit
from testbed.node import toolkit as built_toolkit
from tests.unit.deploy import manifests

ROOT = Path(__file__).parents[3]


def test_every_package_of_the_wheel_goes_into_the_build() -> None:
    """The build's context leaves out no package that the wheel has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignored = (manifests.DEPLOY / "images" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [package for package in packages if f"!{package}" not in ignored] == []


def test_the_toolkits_programs_lie_where_the_agent_looks() -> None:
    """The image has NVIDIA's two programs in the agent's folder, built from the module that the tests use too."""
    built = (manifests.DEPLOY / "images" / "Dockerfile").read_text(encoding="utf-8")
    assert f"COPY --from=toolkit /toolkit {toolkit.SHIPPED}\n" in built
    assert all(f"nvidia-container-toolkit/cmd/{program}" in built for program in (toolkit.CTK, toolkit.HOOK))
    assert f"COPY {built_toolkit.SOURCES.relative_to(ROOT)} ." in built
