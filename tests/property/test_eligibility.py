"""Where a pod may run, against an oracle that reads Kubernetes' documents its own way, and against anything at all."""

import json
import random
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from allocator.eligibility import document, quantity
from allocator.eligibility.verdict import judge
from tests import eligibility_cases as cases

Document = dict[str, Any]
UNITS = {"u": Fraction(1, 10**6), "m": Fraction(1, 1000), "k": Fraction(1000), "Ki": Fraction(2**10)}
UNITS |= {
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
}
FIELDS = st.sampled_from(
    [
        *("nodeSelector", "affinity", "nodeAffinity", cases.REQUIRED, "nodeSelectorTerms", "matchExpressions"),
        *("matchFields", "key", "operator", "values", "tolerations", "effect", "containers", "resources", "requests"),
        *("cpu", "memory", "spec", "status", "taints", "allocatable", "conditions", "unschedulable", "volumes"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["NoSchedule", "In", "9e99"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=25,
)


def _number(text: str) -> Fraction:
    for unit in sorted(UNITS, key=len, reverse=True):
        if text.endswith(unit):
            return Fraction(text[: -len(unit)]) * UNITS[unit]
    return Fraction(text)


def _allowed(pod: Document, node: Document) -> bool:
    """Kubernetes' documentation, word by word."""
    spec, labels = pod["spec"], node["metadata"]["labels"]
    taints = [*node["spec"]["taints"]]
    if node["spec"]["unschedulable"]:
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "value": ""})
    for taint in taints:
        if taint["effect"] != "PreferNoSchedule" and not any(_covers(t, taint) for t in spec["tolerations"]):
            return False
    if any(labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    if "affinity" in spec:
        terms = spec["affinity"]["nodeAffinity"][cases.REQUIRED]["nodeSelectorTerms"]
        if not any(all(_holds(wish, labels) for wish in term["matchExpressions"]) for term in terms):
            return False
    offered = node["status"]["allocatable"]
    return offered["pods"] != "0" and all(_peak(spec, name) <= _number(offered[name]) for name in ROUNDED)


ROUNDED = {"cpu": Fraction(1, 1000), "memory": Fraction(1), "ephemeral-storage": Fraction(1)}


def _covers(toleration: Document, taint: Document) -> bool:
    keys, effects = {toleration.get("key", taint["key"])}, {toleration.get("effect", taint["effect"])}
    any_value = toleration.get("operator") == "Exists"
    return (
        keys == {taint["key"]}
        and effects == {taint["effect"]}
        and (any_value or toleration.get("value", "") == taint["value"])
    )


def _holds(wish: Document, labels: dict[str, str]) -> bool:
    has, values = wish["key"] in labels, wish.get("values", [])
    value = labels.get(wish["key"], "")
    number = int(value) if value.isdigit() else None
    return {
        "In": has and value in values,
        "NotIn": value not in values or not has,
        "Exists": has,
        "DoesNotExist": not has,
        "Gt": number is not None and number > int(values[0]) if wish["operator"] == "Gt" else False,
        "Lt": number is not None and number < int(values[0]) if wish["operator"] == "Lt" else False,
    }[wish["operator"]]


def _peak(spec: Document, name: str) -> Fraction:
    """The most in use at one moment of the pod's start, in units of what kube-scheduler compares."""

    def asked(container: Document) -> Fraction:
        resources = container["resources"]
        return _number((resources.get("limits", {}) | resources.get("requests", {})).get(name, "0"))

    running, peak = Fraction(0), Fraction(0)
    for container in spec["initContainers"]:
        peak = max(peak, running + asked(container))
        if "restartPolicy" in container:
            running += asked(container)
    peak = max(peak, running + sum(map(asked, spec["containers"])))
    unit = ROUNDED[name]
    return -(-peak // unit) * unit


@given(st.integers(0, 2**32))
def test_a_pod_may_run_where_kubernetes_documentation_says(seed: int) -> None:
    """A pod and a node are judged as an oracle judges them that follows Kubernetes' documentation word by word."""
    chance = random.Random(seed)
    node, pod = cases.node(chance, "node-1"), cases.pod(chance, "pod-1")
    facts = document.node("node-1", node["metadata"]["labels"], node["spec"], node["status"])
    constraints = document.pod_of(pod["spec"])
    assert judge(constraints, facts).eligible is _allowed(pod, node)
    assert (constraints.unjudged, facts.unreadable) == ((), ())


@given(JSON, JSON)
def test_anybodys_text_is_judged_without_an_error(spec: Any, node: Any) -> None:
    """Whatever a pod and a node say, judging raises nothing, and names what it could not read in few words."""
    facts = document.node("node-1", None, spec, node)
    said = judge(document.pod_of(spec), facts)
    assert len(said.detail) < 400
    assert all(len(name) < 200 for name in said.unjudged)
    assert len(said.unjudged) < 100


@given(
    st.text(max_size=80) | st.from_regex(r"\A[+-]?[0-9]{0,70}(\.[0-9]{0,70})?([eE][+-]?[0-9]{0,20}|[a-zA-Z]{0,2})\Z")
)
def test_any_text_is_a_bounded_quantity_or_none(text: str) -> None:
    """A quantity is a number that Kubernetes can count, or cannot be read."""
    number = quantity.parse(text)
    assert number is None or 0 <= number <= quantity.MOST


@given(st.integers(0, 10**12), st.sampled_from(["", "m", "u", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_quantities_are_read_exactly(number: int, unit: str) -> None:
    """A quantity with a unit is read without rounding, down to a billionth."""
    exact = number * UNITS.get(unit, Fraction(1))
    parsed = quantity.parse(f"{number}{unit}")
    assert parsed is None if exact * quantity.NANO > quantity.MOST else Fraction(parsed or 0, quantity.NANO) == exact


def test_verdicts_are_those_that_kube_scheduler_gave() -> None:
    """Of 3,750 recorded pairs, each is judged as kube-scheduler judged it, with the same reason."""
    recorded = json.loads((Path(__file__).parents[1] / "data" / "kube_scheduler_verdicts.json").read_text())
    nodes = [
        document.node(node["metadata"]["name"], node["metadata"].get("labels"), node["spec"], node["status"])
        for node in recorded["nodes"]
    ]
    for spec, reasons in zip(recorded["pods"], recorded["reasons"], strict=True):
        constraints = document.pod_of(spec)
        assert [judge(constraints, node).reason or "" for node in nodes] == reasons, spec


@given(st.from_regex(r"\+?[0-9]{1,9}(\.[0-9]{0,6})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9])?", fullmatch=True))
def test_quantities_are_what_the_official_client_reads(text: str) -> None:
    """What is a quantity to both is the same number, rounded up to a billionth."""
    parsed = quantity.parse(text)
    exact = Fraction(parse_quantity(text)) * quantity.NANO  # type: ignore[no-untyped-call]
    assert parsed == (None if exact > quantity.MOST else ceil(exact))


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "sNaN",
        "Infinity",
        "1_000",
        "1K",
        "1ki",
        "1e3m",
        "1e400000",
        "1e100",
        "-1",
        " 1",
        "1 ",
        "\N{FULLWIDTH DIGIT ONE}",
        "",
        ".",
        "0x1",
    ],
)
def test_what_is_no_quantity_cannot_be_read(text: str) -> None:
    """What the API server refuses, or what would take seconds to count, is None at once."""
    assert quantity.parse(text) is None
