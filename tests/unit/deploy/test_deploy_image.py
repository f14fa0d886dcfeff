"""The image's build: what the wheel is made of reaches it."""

import tomllib
from pathlib import Path

from tests.unit.deploy import manifests

ROOT = Path(__file__).parents[3]


def test_every_package_of_the_wheel_goes_into_the_build() -> None:
    """The build's context leaves out no package that the wheel has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignored = (manifests.DEPLOY / "images" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [package for package in packages if f"!{package}" not in ignored] == []
