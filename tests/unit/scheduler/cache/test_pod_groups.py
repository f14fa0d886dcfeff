"""The size of a gang as its PodGroup or PodGang says it."""

import msgspec
import pytest

from allocator.queueing.gang import GangPart, GangSource, sizes_of
from scheduler.cache import pod_groups
from scheduler.cache.pod_groups import PodGroup


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({"minMember": 4}, 4),
        ({"schedulingPolicy": {"gang": {"minCount": 5}}}, 5),
        ({"schedulingPolicy": {"basic": {}}}, 1),
        ({"minMember": -3}, 1),
        ({}, 1),
    ],
)
def test_each_kind_says_it_in_its_own_way(spec: dict[str, object], size: int) -> None:
    """`minMember`, `minCount`, or one pod at a time."""
    assert msgspec.convert({"spec": spec}, PodGroup).size == size


def test_a_pod_gang_says_it_for_each_of_its_parts() -> None:
    """Each group has its number and the names of its pods, as far as these are made."""
    text = {
        "spec": {
            "podgroups": [
                {"name": "g-front", "minReplicas": 1, "podReferences": [{"namespace": "d", "name": "front-1"}]},
                {"name": "g-decode", "minReplicas": 2, "podReferences": []},
            ]
        }
    }
    parts = msgspec.convert(text, pod_groups.type_of(GangSource.POD_GANG)).parts
    assert parts == (GangPart("g-front", 1, ("front-1",)), GangPart("g-decode", 2))


def test_parts_that_ask_for_no_slice_do_not_count() -> None:
    """Of a part whose pods are not there yet it is not known, so it counts."""
    parts = [GangPart("front", 1, ("f",)), GangPart("decode", 2, ("d1", "d2", "d3")), GangPart("prefill", 1)]
    assert sizes_of(parts, {"d2"}) == {"decode": 2, "prefill": 1}
    assert sizes_of([GangPart("", 3)], set()) == {"": 3}
