"""The version of migsched: the one in pyproject.toml. What reports itself to Kubernetes takes it from here.

Installed, it is in the package's metadata. A source tree that was never installed has only the file.
"""

import importlib.metadata
import tomllib
from functools import cache
from pathlib import Path

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@cache
def version() -> str:
    """The version, such as 0.1.0."""
    try:
        return importlib.metadata.version("migsched")
    except importlib.metadata.PackageNotFoundError:
        return of_source_tree()


def of_source_tree(project: Path = _PROJECT) -> str:
    """The version that a pyproject.toml states."""
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
