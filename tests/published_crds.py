"""CustomResourceDefinitions of others, as their projects publish them: objects are judged by the real schemas."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "data" / "crds"


def file_of(name: str) -> Path:
    """The file of a CRD, such as `clusterpolicies.nvidia.com`."""
    return FOLDER / f"{name}.yaml"


@cache
def spec_schema(name: str) -> dict[str, Any]:
    """The schema of `spec` of a CRD's storage version."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(file_of(name).read_text(encoding="utf-8"), Loader=loader)
    version = next(version for version in document["spec"]["versions"] if version["storage"])
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as an API server under strict validation does."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    is_open = "additionalProperties" in made or made.get("x-kubernetes-preserve-unknown-fields")
    return made if is_open or not isinstance(made.get("properties"), dict) else {**made, "additionalProperties": False}
