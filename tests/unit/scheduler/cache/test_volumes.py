"""Claims and volumes of queued pods: what is read of them, from any text."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from allocator.eligibility import document
from allocator.eligibility.constraints import VolumeTopology
from allocator.eligibility.node_selector import NodeSelectorRequirement, NodeSelectorTerm
from scheduler.cache import pod_decoding, volumes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def pod(*of_pod: Any) -> Any:
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [], "volumes": list(of_pod)}}


def claims(document_: Any) -> tuple[str, ...]:
    return volumes.claims_of(pod_decoding.decode(msgspec.json.encode(document_)))


def test_claims_are_those_of_volumes_and_of_ephemeral_ones() -> None:
    """An ephemeral volume's claim is called after pod and volume; others have none."""
    named = {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}
    made = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}
    assert claims(pod(named, made, named, {"name": "c", "configMap": {}})) == ("data", "p-scratch")
    assert claims({"metadata": {"name": "p"}, "spec": {"containers": []}}) == ()


@given(st.lists(JSON, max_size=4))
def test_no_text_raises(of_pod: list[Any]) -> None:
    """What is no list of volumes names no claims."""
    assert isinstance(claims(pod(*of_pod)), tuple)


def test_too_many_claims_are_none() -> None:
    """A pod with more claims than are read is left unjudged."""
    many = [{"name": f"v{n}", "persistentVolumeClaim": {"claimName": f"c{n}"}} for n in range(volumes.MAX_CLAIMS + 1)]
    assert claims(pod(*many)) == ()
    assert len(claims(pod(*many[1:]))) == volumes.MAX_CLAIMS


def test_a_volume_says_where_it_can_be_used() -> None:
    """By its required node affinity, and by its zone labels, of which one may name several zones."""
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["d2"]}]}
    labels = {"topology.kubernetes.io/zone": "a__b", "other": "x"}
    assert document.volume("v", labels, {"required": {"nodeSelectorTerms": [term]}}) == VolumeTopology(
        "v",
        (NodeSelectorTerm((NodeSelectorRequirement("disk", "In", ("d2",)),)),),
        (("topology.kubernetes.io/zone", ("a", "b")),),
    )
    assert document.volume("v", None, None) == VolumeTopology("v")


def test_a_volume_of_another_form_is_refused() -> None:
    """It raises msgspec's error, which the port turns into one of ours."""
    with pytest.raises(msgspec.ValidationError):
        document.volume("v", {}, {"required": 7})
