"""Pinning a pod: its node in every alternative, and everything else as it was."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from allocator import errors
from scheduler.queueing import pinning

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PIN = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
expressions = st.lists(st.fixed_dictionaries({"key": st.text(max_size=5), "operator": st.just("Exists")}), max_size=2)
terms = st.lists(st.fixed_dictionaries({}, optional={"matchExpressions": expressions}), max_size=3)


@given(terms=terms, other=st.dictionaries(st.sampled_from(["podAffinity", "podAntiAffinity"]), st.just({"x": 1})))
def test_every_alternative_names_the_node(terms: list[dict[str, object]], other: dict[str, object]) -> None:
    """What was asked stays in each term, and the node is added to it; without terms one is made."""
    affinity = {**other, "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}, "preferred": []}}
    after = json.loads(pinning.pinned(json.dumps(affinity).encode(), "n1"))
    assert {key: value for key, value in after.items() if key != "nodeAffinity"} == other
    assert after["nodeAffinity"]["preferred"] == []
    assert after["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == [
        {**term, "matchFields": [PIN]} for term in terms or [{}]
    ]


@pytest.mark.parametrize(
    "text", [b"[]", b"{", b'{"nodeAffinity": 7}', b'{"nodeAffinity": {"%b": "x"}}' % REQUIRED.encode()]
)
def test_what_is_no_affinity_is_refused(text: bytes) -> None:
    """Text of another form raises an InputError and nothing else."""
    with pytest.raises(errors.InputError):
        pinning.pinned(text, "n1")


def test_a_pod_without_affinity_gets_one() -> None:
    """Nothing becomes one term with the node."""
    assert json.loads(pinning.pinned(b"", "n1")) == {
        "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [PIN]}]}}
    }
