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


def claim(**spec: Any) -> volumes.VolumeClaim:
    annotations = spec.pop("annotations", {})
    document_ = {"metadata": {"name": "data", "namespace": "default", "annotations": annotations}, "spec": spec}
    return msgspec.convert(document_, volumes.VolumeClaim)


def storage_class(**fields: Any) -> volumes.StorageClass:
    document_ = {"metadata": {"name": "fast"}, "provisioner": "csi.example.com", **fields}
    return msgspec.convert(document_, volumes.StorageClass)


WAITS = {"volumeBindingMode": "WaitForFirstConsumer"}
ZONES = [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}]


def test_a_claim_that_waits_for_its_pod_is_made_where_its_class_allows() -> None:
    """allowedTopologies say where; what the provisioner has left is named as not judged."""
    topology = claim(storageClassName="fast").unbound(storage_class(allowedTopologies=ZONES, **WAITS))
    zones = NodeSelectorTerm((NodeSelectorRequirement("zone", "In", ("a", "b")),))
    assert (topology.affinity, topology.bound, topology.problem) == ((zones,), False, "")
    assert topology.unjudged == volumes.STORAGE


def test_a_claim_whose_node_is_chosen_stays_there() -> None:
    """kube-scheduler provisions it on the node that an earlier attempt chose, and on no other."""
    chosen = claim(storageClassName="fast", annotations={"volume.kubernetes.io/selected-node": "n2"})
    assert chosen.unbound(storage_class(**WAITS)).node == "n2"


@pytest.mark.parametrize(
    ("of_claim", "of_class"),
    [
        (claim(), None),
        (claim(storageClassName="fast"), storage_class()),
        (claim(storageClassName="fast", volumeName="v"), storage_class(**WAITS)),
        (claim(storageClassName="fast", volumeName="v"), None),
    ],
)
def test_a_claim_that_has_to_be_bound_first_does_nowhere(
    of_claim: volumes.VolumeClaim, of_class: volumes.StorageClass | None
) -> None:
    """Without a class, with one that binds at once, or with a volume named and not bound yet, kube-scheduler waits."""
    assert not of_claim.is_bound
    assert of_claim.unbound(of_class).problem == "the PersistentVolumeClaim data is not bound yet"


def test_what_cannot_be_told_of_a_claim_is_named() -> None:
    """Volumes made by hand may be anywhere, and a class that may not be read may say anything."""
    by_hand = storage_class(provisioner="kubernetes.io/no-provisioner", allowedTopologies=ZONES, **WAITS)
    for of_class in (by_hand, None):
        topology = claim(storageClassName="fast").unbound(of_class)
        assert (topology.problem, topology.affinity, topology.unjudged) == ("", None, volumes.UNBOUND)


def test_a_claim_for_one_pod_says_so() -> None:
    """ReadWriteOncePod: the claim is named, bound or not."""
    alone = claim(storageClassName="fast", accessModes=["ReadWriteOncePod"])
    assert alone.unbound(storage_class(**WAITS)).claim == "default/data"
    assert alone.as_topology(VolumeTopology("v")).claim == "default/data"
    assert claim(accessModes=["ReadWriteOnce"]).as_topology(VolumeTopology("v")).claim == ""
