"""deploy/chart: its copies are deploy/'s files, and each value has a comment, a schema and a row in the docs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from benchmarks.report import chart
from node_agent import settings as agent_settings
from scheduler import settings as scheduler_settings
from tests.unit.deploy import manifests

ROOT = manifests.DEPLOY.parent
MADE = chart.written(ROOT)
VALUES = yaml.safe_load((manifests.CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((manifests.CHART / "values.schema.json").read_text(encoding="utf-8"))
ABOUT = yaml.safe_load((manifests.CHART / "Chart.yaml").read_text(encoding="utf-8"))
# Not ours to know: what an including chart shares, and Kubernetes' own structures, which the API server checks.
OPEN = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity", "namespaceSelector", "podSelector", "ipBlock"}


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_made_is_as_it_would_be_made_now(path: Path) -> None:
    """Copies, schema and table are those of today's sources; `make chart` writes them."""
    assert path.read_text(encoding="utf-8") == MADE[path]


def test_nothing_else_is_among_the_copies() -> None:
    """A file that was renamed or removed leaves no copy."""
    there = {path for path in (manifests.CHART / "files").rglob("*") if path.is_file()}
    assert there == {path for path in MADE if manifests.CHART / "files" in path.parents}


def leaves(document: Any, name: str = "") -> Iterator[str]:
    """Dotted names of what can be set."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from leaves(value, f"{name}.{key}".lstrip("."))
    else:
        yield name


def test_every_value_is_documented() -> None:
    """Each value of values.yaml lies below a key with a comment, whose row is in the docs."""
    documented = {value.name for value in chart.values(ROOT)}
    assert all(value.meaning.endswith((".", ":")) for value in chart.values(ROOT))
    missing = [
        leaf for leaf in leaves(VALUES) if not any(leaf == name or leaf.startswith(f"{name}.") for name in documented)
    ]
    assert missing == []


def objects(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every schema of an object, with where it is."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, (*path, key))


def test_the_schema_refuses_unknown_keys_at_every_level() -> None:
    """Each object of the schema says what else it takes: nothing, or values of one type."""
    lax = [path for path, schema in objects(SCHEMA) if "additionalProperties" not in schema and path[-1] not in OPEN]
    assert lax == []


def test_the_schema_has_the_values_and_no_others() -> None:
    """Defaults are valid, and every key of the schema has a default, but for parts of resources and settings."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)

    def compare(schema: dict[str, Any], values: Any, name: str) -> None:
        properties = schema.get("properties", {})
        if name.rsplit(".", 1)[-1] in {"settings", "resources", "affinity"}:
            return
        assert set(properties) - {"global"} == set(values), name
        for key, inner in properties.items():
            if "properties" in inner and key != "global":
                compare(inner, values[key], f"{name}.{key}")

    compare(SCHEMA, VALUES, "")


def test_settings_of_the_chart_itself_are_settings() -> None:
    """What is left out of the schema's settings is there to be left out, but for what a standalone extender needs."""
    for part, form in (("scheduler", scheduler_settings.Settings), ("agent", agent_settings.Settings)):
        assert chart.OF_THE_CHART[part] <= form.model_fields.keys()


def test_the_chart_installs_the_version_that_it_lies_beside() -> None:
    """Its appVersion is the image's tag in the kustomizations, and it admits the Kubernetes versions that they do."""
    kustomization = manifests.one(manifests.DEPLOY / "kustomize" / "kustomization.yaml", "Kustomization")
    agent = manifests.one(manifests.DEPLOY / "agent" / "kustomization.yaml", "Kustomization")
    tags = {image["name"]: image["newTag"] for image in (*kustomization["images"], *agent["images"])}
    assert ABOUT["appVersion"] == tags["migsched-scheduler"] == tags["migsched-agent"]
    assert VALUES["kubeScheduler"]["image"]["tag"] == tags["registry.k8s.io/kube-scheduler"]
    assert ABOUT["kubeVersion"] == ">=1.31.0-0"
