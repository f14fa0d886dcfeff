"""The CRD's schema takes what agents write and refuses what cannot be meant.

The API server itself judges in tests/e2e/test_deploy_on_api_server.py; this is the quick check of the same cases.
"""

import copy
import json
from typing import Any

import jsonschema
import msgspec
import pytest

from allocator.claims import contract
from allocator.mig import catalogue
from tests.unit.deploy import manifests, mig_nodes

CRD = manifests.one(manifests.DEPLOY / "crd" / "mignodes.yaml", "CustomResourceDefinition")
(VERSION,) = CRD["spec"]["versions"]
STATUS: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]["properties"]["status"]


def closed(schema: Any) -> Any:
    """The same schema, refusing fields that it does not name (the API server drops those)."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if "properties" in found and "type" in found:
        found["additionalProperties"] = False
    return found


VALIDATOR = jsonschema.Draft7Validator(closed(copy.deepcopy(STATUS)))


@pytest.mark.parametrize("status", mig_nodes.GOOD.values(), ids=mig_nodes.GOOD.keys())
def test_what_agents_write_is_accepted(status: mig_nodes.Status) -> None:
    """Each status that the contract's code writes is valid, and has no field that the schema does not know."""
    VALIDATOR.validate(status)


@pytest.mark.parametrize("status", mig_nodes.BAD.values(), ids=mig_nodes.BAD.keys())
def test_what_cannot_be_meant_is_refused(status: mig_nodes.Status) -> None:
    """Each bad status differs from a good one in one value, and that value is refused."""
    assert not VALIDATOR.is_valid(status)


@pytest.mark.parametrize("status", mig_nodes.GOOD.values(), ids=mig_nodes.GOOD.keys())
def test_what_is_accepted_can_be_read(status: mig_nodes.Status) -> None:
    """The contract's code reads every status that the schema accepts without finding a problem in it."""
    raw = msgspec.json.encode(status)
    assert contract.decode_status(raw, "n1").problem == ""


def test_names_are_those_of_the_contract() -> None:
    """Group, version and plural are those that the code asks the API server for."""
    spec = CRD["spec"]
    assert (spec["group"], VERSION["name"], spec["names"]["plural"]) == (
        contract.GROUP,
        contract.VERSION,
        contract.PLURAL,
    )
    assert CRD["metadata"]["name"] == f"{contract.PLURAL}.{contract.GROUP}"


def test_limits_are_those_of_the_contract() -> None:
    """Memory slices and profiles are limited as the code limits them, so nothing is stored that it cannot read."""
    one = STATUS["properties"]["catalogues"]["items"]["properties"]
    assert one["memorySlices"]["maximum"] == catalogue.MAX_MEMORY_SLICES
    assert one["profiles"]["maxItems"] == catalogue.MAX_PROFILES
    slices = STATUS["properties"]["gpus"]["items"]["properties"]["slices"]["items"]["properties"]
    assert slices["size"]["maximum"] == catalogue.MAX_MEMORY_SLICES
    assert slices["start"]["maximum"] == catalogue.MAX_MEMORY_SLICES - 1


def test_every_list_and_text_is_limited() -> None:
    """No list and no text in a status may grow without bound."""
    unlimited = []

    def walk(schema: dict[str, Any], path: str) -> None:
        kind = schema.get("type")
        if kind == "array":
            unlimited.extend([path] if "maxItems" not in schema else [])
            walk(schema["items"], f"{path}[]")
        elif kind == "string":
            unlimited.extend([path] if not {"maxLength", "enum", "format"} & schema.keys() else [])
        for name, one in schema.get("properties", {}).items():
            walk(one, f"{path}.{name}")

    walk(STATUS, "status")
    assert unlimited == []


def test_only_the_status_subresource_holds_data() -> None:
    """The status is a subresource of its own, so that writing it needs its own right; there is no spec."""
    assert VERSION["subresources"] == {"status": {}}
    assert VERSION["schema"]["openAPIV3Schema"]["properties"].keys() == {"apiVersion", "kind", "metadata", "status"}


def test_columns_show_fields_that_exist() -> None:
    """Each printer column's path leads to a field of the schema."""
    for column in VERSION["additionalPrinterColumns"]:
        path = column["jsonPath"]
        if path == ".metadata.creationTimestamp":
            continue
        schema: Any = VERSION["schema"]["openAPIV3Schema"]
        for part in path.partition("[")[0].strip(".").split("."):
            schema = schema["properties"][part]
        if "[" in path:
            schema = schema["items"]["properties"][path.rpartition(".")[2]]
        assert schema["type"] == column["type"], json.dumps(column)
