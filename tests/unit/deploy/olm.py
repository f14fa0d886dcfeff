"""The files of deploy/olm, read for tests."""

import textwrap
from pathlib import Path
from typing import Any

import yaml

from tests.unit.deploy import manifests

BUNDLE = manifests.OLM / "bundle"
MIRROR = manifests.OLM / "mirror"
CSV_FILE = BUNDLE / "manifests" / "migsched.clusterserviceversion.yaml"


def read(path: Path) -> dict[str, Any]:
    """The only document of a file."""
    (found,) = manifests.documents(path)
    return dict(found)


def bundled() -> list[dict[str, Any]]:
    """Every object of the bundle, the ClusterServiceVersion among them."""
    return [read(path) for path in sorted((BUNDLE / "manifests").iterdir())]


def entries() -> dict[str, dict[str, Any]]:
    """The catalogue's documents by schema; one of each."""
    found = manifests.documents(manifests.OLM / "catalog" / "migsched" / "catalog.yaml")
    by_schema = {document["schema"]: dict(document) for document in found}
    assert len(by_schema) == len(found)
    return by_schema


def code_blocks(page: Path, language: str) -> list[str]:
    """What stands in a page's fences of a language."""
    parts = page.read_text(encoding="utf-8").split("```")
    blocks = [part.partition("\n") for part in parts[1::2]]
    return [textwrap.dedent(text.rstrip(" ")) for first, _, text in blocks if first.strip() == language]


def documents_in(page: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects that a page shows."""
    found = [document for block in code_blocks(page, "yaml") for document in yaml.safe_load_all(block)]
    return [document for document in found if isinstance(document, dict) and "kind" in document]
