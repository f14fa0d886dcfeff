"""Large pods: little is read of them, less is kept, and nothing once they are gone."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from allocator.claims import contract, placement_annotation
from allocator.placement import policy
from kubeclient.changes import Change, ChangeType
from kubeclient.objects import MIRROR_ANNOTATION
from scheduler.cache import pod_decoding, pods
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind
from scheduler.cache.watched_pod import WatchedPod
from tests import builders

KIB = 1024
Shape = Callable[[dict[str, Any], int], None]


def letters(number: int) -> str:
    """A number in letters, as a profile's attribute may have them."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def document(number: int, shape: Shape) -> dict[str, Any]:
    """A pod on a node that asks for a slice, with what a shape adds to it."""
    limits = {"nvidia.com/mig-1g.5gb": "1"}
    made: dict[str, Any] = {
        "metadata": {"name": f"p{number}", "namespace": "default", "uid": f"uid-{number}", "labels": {"app": "chat"}},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "resources": {"limits": limits}}]},
    }
    shape(made, number)
    return made


def many_labels(made: dict[str, Any], number: int) -> None:
    """Labels that no other pod has."""
    made["metadata"]["labels"] = {f"example.com/{number}-{label}": "v" for label in range(1_000)}


def few_long_labels(made: dict[str, Any], number: int) -> None:
    """As many bytes of labels as are kept."""
    made["metadata"]["labels"] = {f"example.com/{number}-{label}": "v" * 40 for label in range(60)}


def zero_quantities(made: dict[str, Any], number: int) -> None:
    """Many resources, each 0 times."""
    names = (f"nvidia.com/mig-1g.5gb.{letters(number * 1_000 + name)}" for name in range(1_000))
    made["spec"]["containers"][0]["resources"]["limits"] |= dict.fromkeys(names, "0")


def odd_quantities(made: dict[str, Any], number: int) -> None:
    """Many resources that are no number of slices."""
    names = (f"nvidia.com/mig-1g.5gb.{letters(number * 1_000 + name)}" for name in range(1_000))
    made["spec"]["containers"][0]["resources"]["limits"] |= dict.fromkeys(names, "1.5")


def odd_profile(made: dict[str, Any], number: int) -> None:
    """A profile that no other pod asks for and no GPU has."""
    made["spec"]["containers"][0]["resources"]["limits"] = {f"nvidia.com/mig-1g.5gb.{letters(number)}": "1"}


def long_owner(made: dict[str, Any], number: int) -> None:
    """An owner whose name is longer than any."""
    made["metadata"]["ownerReferences"] = [{"kind": "Job", "name": f"{number}" * 8_000, "controller": True}]


def many_promises(made: dict[str, Any], number: int) -> None:
    """An annotation that promises more than the pod asks for."""
    promises = [placement_annotation.Promise("main", f"gpu-{number}", "1g.5gb", start) for start in range(400)]
    made["metadata"]["annotations"] = {contract.PLACEMENT_ANNOTATION: placement_annotation.encode(promises)}


SHAPES = [many_labels, few_long_labels, zero_quantities, odd_quantities, odd_profile, long_owner, many_promises]


def texts(number: int, shape: Shape) -> list[bytes]:
    """So many pods on the wire: written before anything is measured."""
    return [msgspec.json.encode(document(pod, shape)) for pod in range(number)]


def grown_by(work: Callable[[], None]) -> int:
    """Bytes that are in use after some work and were not before."""
    gc.freeze()  # what there is already is not traced, and need not be walked through
    tracemalloc.start()
    try:
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


class Watch:
    """A cache with one node that pods are shown to."""

    def __init__(self) -> None:
        self.state = ClusterCache(policy.DEFAULT, lambda: None)
        self.state.inventory.nodes.add("n")
        self.state.inventory.observe(builders.node("n").gpu("a100-40gb").report())

    def show(self, type_: ChangeType, number: int, text: bytes) -> None:
        """A change of a pod, from its text on, and what filter looks up of it."""
        pod = pod_decoding.decode(text)
        self.state.apply(WatchedKind.POD, Change(type_, pod, str(number)))
        fleet = self.state.inventory.fleet
        if type_ is ChangeType.ADDED and (known := self.state.lookup(pod)) is not None and known.request:
            fleet.losses(known.request, fleet.rows_of(["n"]))


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_stays_of_pods_that_are_gone(shape: Shape) -> None:
    """Memory after many large pods, made and deleted, is what it was."""
    watch, written = Watch(), texts(63, shape)

    def come_and_go(first: int, number: int) -> None:
        for pod in range(first, first + number):
            watch.show(ChangeType.ADDED, pod, written[pod])
            watch.show(ChangeType.DELETED, pod, written[pod])

    come_and_go(0, 3)
    assert grown_by(lambda: come_and_go(3, 60)) < 100 * KIB  # a few requests as most pods write them
    assert watch.state.pods == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_little_is_kept_of_a_pod_that_stands(shape: Shape) -> None:
    """Whatever a pod has, a few KiB of it are kept, however often it changes."""
    watch, written = Watch(), texts(33, shape)

    def come(first: int, number: int) -> None:
        for pod in range(first, first + number):
            for type_ in (ChangeType.ADDED, ChangeType.MODIFIED, ChangeType.MODIFIED):
                watch.show(type_, pod, written[pod])

    come(0, 3)
    assert grown_by(lambda: come(3, 30)) < 30 * 8 * KIB


def padded(made: dict[str, Any], number: int) -> None:
    """An honest large pod: its template is long, and it has a sidecar and a placement."""
    promise = placement_annotation.Promise("main", f"gpu-{number}", "1g.5gb", 0)
    made["metadata"]["annotations"] = {
        "example.com/long": "x" * 40_000,
        contract.PLACEMENT_ANNOTATION: placement_annotation.encode([promise]),
        contract.MOVABLE_ANNOTATION: "true",
        contract.SLICES_ANNOTATION: "pack",
        MIRROR_ANNOTATION: "0123",
    }
    made["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "db", "controller": True}]
    made["spec"]["containers"] += [{"name": "plain", "env": [{"name": "A", "value": "x" * 40_000}]}]
    made["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": {"limits": {"nvidia.com/mig-2g.10gb": 1, "cpu": "1"}}}
    ]
    made["spec"]["priority"] = 7
    made["spec"]["preemptionPolicy"] = "Never"
    made["spec"]["schedulingGates"] = [{"name": "example.com/gate"}]
    made["status"] = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "nominatedNodeName": "n2"}


def test_a_large_pod_says_what_it_says_otherwise() -> None:
    """What is read of a large pod is what would be read of it as it is."""
    text = msgspec.json.encode(document(1, padded))
    assert len(text) > pod_decoding.LARGE
    large, plain = pod_decoding.decode(text), msgspec.json.decode(text, type=WatchedPod)
    for read in (pods.request_of, pods.promises_of, pods.is_movable, pods.is_ours, pods.service_of, pods.labels_of):
        assert read(large) == read(plain)
    assert (large.spec.node_name, large.spec.priority, large.status) == ("n", 7, plain.status)
    assert large.spec.scheduling_gates == plain.spec.scheduling_gates
    assert isinstance(large, WatchedPod)
    assert large.spec.preemption_policy == "Never"
    assert (large.metadata.annotations or {})[MIRROR_ANNOTATION] == "0123"
    assert (large.title, large.metadata.uid) == (plain.title, plain.metadata.uid)


def test_of_too_many_gates_is_known_that_there_are_some() -> None:
    """Any gate holds a pod: one with kilobytes of gates is held."""
    made = document(1, padded)
    made["spec"]["schedulingGates"] = [{"name": f"example.com/{number}"} for number in range(2_000)]
    (gate,) = pod_decoding.decode(msgspec.json.encode(made)).spec.scheduling_gates or ()
    assert gate.name.endswith("bytes of gates, too many to be read")


def test_quantities_that_are_too_many_are_refused_by_their_container() -> None:
    """A large pod with kilobytes of MIG resources in one container is no pod of ours to place, and is told why."""
    pod = pod_decoding.decode(msgspec.json.encode(document(1, odd_quantities)))
    watch = Watch()
    problem = watch.state.remember(pod).problem
    assert "container main: nvidia.com/mig-: " in problem
    assert "bytes of resources'" in problem


def test_labels_that_are_too_large_are_not_known() -> None:
    """A large pod with kilobytes of labels counts as one whose labels are not known."""
    assert pods.labels_of(pod_decoding.decode(msgspec.json.encode(document(1, many_labels)))) is None
