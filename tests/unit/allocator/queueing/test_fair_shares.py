"""Fair shares by examples; the rule itself is in tests/property."""

from allocator.eligibility.constraints import PodConstraints
from allocator.queueing.fair_shares import dominant_share, fair_order
from allocator.queueing.queued_pod import QueuedPod
from tests.builders import request


def test_what_finds_no_place_costs_its_namespace_nothing() -> None:
    """A hundred pods that fit nowhere do not put their namespace's last pod behind another's."""
    big = [_pod("a", at) for at in range(100)]
    small, others = _pod("a", 100), [_pod("b", at) for at in range(101, 104)]
    held = {"a": 0, "b": 0}
    order = []
    for unit in fair_order([[pod] for pod in (*big, small, *others)], lambda name: held[name] / 56):
        pod = unit[0]
        order.append(pod.name)
        held[pod.namespace] += pod not in big
    assert order[100:] == ["a100", "b101", "b102", "b103"]


def test_a_model_that_the_fleet_lacks_is_no_resource() -> None:
    """The share is the largest part of a model that there is."""
    assert dominant_share({"h100-80gb": 7, "gone": 8}, {"h100-80gb": 28, "a100-40gb": 7}) == 0.25
    assert dominant_share({}, {"h100-80gb": 28}) == 0


def _pod(namespace: str, age: int) -> QueuedPod:
    created = f"2026-01-01T00:{age // 60:02}:{age % 60:02}Z"
    uid = f"{namespace}{age}"
    return QueuedPod(uid, namespace, uid, "1", 0, created, request("1g.5gb"), PodConstraints())
