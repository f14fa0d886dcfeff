"""The rules of deploy/monitoring, read for tests."""

from collections.abc import Iterator
from typing import Any

from tests.unit.deploy import manifests

MONITORING = manifests.DEPLOY / "monitoring"
SAME_NAMES = MONITORING / "dcgm-same-names" / "rules.yaml"
RULE_FILES = [*sorted((MONITORING / "rules").glob("*.yaml")), SAME_NAMES]


def groups(*, same_names: bool = False) -> list[dict[str, Any]]:
    """The groups of all rules, as a rule file of Prometheus has them; without the component `dcgm-same-names`."""
    paths = [path for path in RULE_FILES if same_names or path != SAME_NAMES]
    return [group for path in paths for document in manifests.documents(path) for group in document["spec"]["groups"]]


def rules(*, same_names: bool = False) -> Iterator[dict[str, Any]]:
    """All rules."""
    for group in groups(same_names=same_names):
        yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """The rules that are alerts."""
    return [rule for rule in rules() if "alert" in rule]
