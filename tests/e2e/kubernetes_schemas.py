"""Kubernetes' own strict schemas, each read once: `kubernetes_validate.validate` reads megabytes for each object."""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate import utils
from referencing import Registry, Resource


def problems(document: dict[str, Any], version: str) -> list[str]:
    """What the schema of a version, such as 1.36, refuses of an object; unknown fields included."""
    group, _, api_version = document["apiVersion"].rpartition("/")
    named = "-".join(part for part in (group.split(".")[0], api_version) if part)
    found = _validator(document["kind"].lower(), named, version).iter_errors(document)
    return [f"{document['kind']} {document['metadata']['name']}: {error.json_path}: {error.message}" for error in found]


@cache
def _validator(kind: str, api_version: str, version: str) -> Draft202012Validator:
    schema = utils.schema_contents(f"{_folder(version)}/{kind}-{api_version}.json", version)
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions(version))


@cache
def _definitions(version: str) -> Registry[Any]:
    shared = utils.schema_contents(f"{_folder(version)}/_definitions.json", version)
    registry: Registry[Any] = Resource.from_contents(shared) @ Registry()
    return registry


def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version}.0-local-strict"
