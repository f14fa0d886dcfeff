"""The version stands in one place."""

import re
from pathlib import Path

from config.version import of_source_tree, version

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_version_is_a_released_form() -> None:
    """It has three numbers, as pyproject.toml states it."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", version())
    assert version() == of_source_tree(PROJECT)


def test_a_source_tree_that_is_not_installed_has_the_version_of_its_project_file(tmp_path: Path) -> None:
    """Where there is no package metadata, pyproject.toml is read."""
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "migsched"\nversion = "7.8.9"\n')
    assert of_source_tree(project) == "7.8.9"
