"""The manifest of the kubectl plugin, by what krew demands of manifests (its documentation, "Plugin manifest")."""

import os
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "krew"
TEXT = {"type": "string", "minLength": 1}
EXPRESSION = {
    "type": "object",
    "required": ["key", "operator", "values"],
    "properties": {"key": {"enum": ["os", "arch"]}, "operator": {"enum": ["In", "NotIn"]}, "values": {"minItems": 1}},
}
PLATFORM = {
    "type": "object",
    "required": ["uri", "sha256", "bin", "selector"],
    "additionalProperties": False,
    "properties": {
        "uri": {"type": "string", "pattern": r"^https://.+\.(tar\.gz|zip)$"},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "bin": TEXT,
        "files": {"type": "array", "minItems": 1, "items": {"required": ["from", "to"], "properties": {"from": TEXT}}},
        "selector": {"properties": {"matchExpressions": {"type": "array", "items": EXPRESSION}}},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "krew.googlecontainertools.github.com/v1alpha2"},
        "kind": {"const": "Plugin"},
        "metadata": {"required": ["name"], "properties": {"name": {"pattern": r"^[a-z0-9][a-z0-9\-]*$"}}},
        "spec": {
            "type": "object",
            "required": ["version", "shortDescription", "platforms"],
            "additionalProperties": False,
            "properties": {
                "version": {"type": "string", "pattern": r"^v\d+\.\d+\.\d+$"},
                "homepage": TEXT,
                "shortDescription": {"type": "string", "maxLength": 50, "pattern": "[^.]$"},
                "description": TEXT,
                "caveats": TEXT,
                "platforms": {"type": "array", "minItems": 1, "items": PLATFORM},
            },
        },
    },
}


def manifest() -> dict[str, Any]:
    """The manifest."""
    document: dict[str, Any] = yaml.safe_load((FOLDER / "mig.yaml").read_text(encoding="utf-8"))
    return document


def test_the_manifest_is_one_of_krew() -> None:
    """It has the fields that krew demands and no others, and its file bears the plugin's name."""
    jsonschema.validate(manifest(), SCHEMA)
    assert manifest()["metadata"]["name"] == "mig"


def test_the_plugin_is_the_version_and_the_programs_of_this_repository() -> None:
    """Its version is the project's; its program is here, can be run, and leads to an entry point that is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    spec = manifest()["spec"]
    assert spec["version"] == f"v{project['version']}"
    (platform,) = spec["platforms"]
    assert {file["from"] for file in platform["files"]} == {"kubectl-mig", "LICENSE"}
    assert os.access(FOLDER / platform["bin"], os.X_OK)
    assert project["scripts"]["kubectl-mig"] == project["scripts"]["migsched"]
