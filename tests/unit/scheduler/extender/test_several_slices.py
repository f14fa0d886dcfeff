"""A pod whose container asks for several slices, through filter, prioritize, bind and explain."""

import asyncio
from typing import Any

import msgspec
import pytest

from allocator.claims import contract
from kubeclient.changes import Change, ChangeType
from kubeclient.objects import Pod
from scheduler import explain
from scheduler.cache.port import WatchedKind
from simulator.cluster import api
from simulator.cluster.api import Document
from tests.builders import node
from tests.unit.scheduler.extender_over_nodes import ExtenderOverNodes, document

RULE = "a CUDA process sees at most one slice of a GPU"


def _document(name: str, value: str | None) -> Document:
    """A pod whose one container asks for two 3g.40gb, with this value of the annotation."""
    made = document(name, "3g.40gb", "3g.40gb")
    if value is not None:
        made["metadata"]["annotations"] = {contract.SLICES_ANNOTATION: value}
    return made


def _pod(name: str, value: str | None = None) -> Pod:
    return msgspec.convert(_document(name, value), Pod)


def _over(**gpus: int) -> ExtenderOverNodes:
    """An extender over nodes with so many empty H100s."""
    bench = ExtenderOverNodes(0)
    bench.names = list(gpus)
    for name, number in gpus.items():
        bench.state.inventory.nodes.add(name)
        bench.state.inventory.observe(node(name).gpus_of("h100-80gb", number).report())
    return bench


async def _bound(bench: ExtenderOverNodes, name: str, value: str | None, where: str) -> dict[str, Any]:
    """Create and bind a pod; its explanation."""
    made = _document(name, value)
    uid = str(bench.server.create(api.POD, made).document["metadata"]["uid"])
    assert await bench.extender.bind("default", name, uid, where) is None
    return explain.explain(bench.state, bench.state.pods[uid])


@pytest.mark.parametrize(
    ("value", "best"), [(None, ["two"]), ("spread", ["two"]), ("Pack", ["two"]), ("pack", ["one", "two"])]
)
async def test_nodes_where_they_can_be_apart_are_best(value: str | None, best: list[str]) -> None:
    """Of a node with one GPU and one with two the latter; to a pod that asks to be packed both are equal."""
    bench = _over(one=1, two=2)
    answer = await bench.extender.filter(_pod("p", value), bench.names)
    assert sorted(answer.nodes) == best
    scores = bench.extender.prioritize(_pod("p", value), bench.names)
    assert [name for name, score in scores.items() if score == max(scores.values())] == best


async def test_a_node_of_one_gpu_is_offered_where_there_is_no_other() -> None:
    """The rule ranks nodes and never refuses one."""
    bench = _over(one=1)
    assert list((await bench.extender.filter(_pod("p"), ["one"])).nodes) == ["one"]


@pytest.mark.parametrize(("value", "gpus"), [(None, 2), ("spread", 2), ("pack", 1)])
async def test_bind_places_them_as_asked(value: str | None, gpus: int) -> None:
    """The claim's places are on two GPUs, or packed where the annotation says so; packed ones need no note."""
    answer = await _bound(_over(two=2), "p", value, "two")
    assert len({slice_["gpu"] for slice_ in answer["slices"]}) == gpus
    assert answer["notes"] == []


async def test_explain_says_which_share_a_gpu() -> None:
    """Where the only GPU holds both, the explanation names container and GPU."""
    bench = _over(one=1)
    answer = await _bound(bench, "p", None, "one")
    (gpu,) = {slice_["gpu"] for slice_ in answer["slices"]}
    assert answer["notes"] == [f"container main has 2 slices on GPU {gpu}: {RULE}"]


@pytest.mark.parametrize("value", ["", "Pack", "x" * 200_000, "\x1b[31m\n"])
def test_explain_names_a_value_that_is_not_understood(value: str) -> None:
    """In one short line without control characters; the pod counts as one without the annotation."""
    bench = _over(two=2)
    known = bench.state.remember(_pod("p", value))
    assert known.request is not None
    assert not known.request.packed
    (note,) = explain.explain(bench.state, known)["notes"]
    assert note.endswith("which is not known; write spread or pack; it counts as spread")
    assert len(note) < 200
    assert note.isprintable()


def test_an_annotation_written_later_counts() -> None:
    """A pod that waits may still be told to pack: the watch shows it, and the next filter call goes by it."""
    bench = _over(two=2)
    for value, packed in ((None, False), ("pack", True), ("packed", False)):
        bench.state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, _pod("p", value), "1"))
        known = bench.state.pods["uid-p"]
        assert known.request is not None
        assert known.request.packed is packed
        assert bool(known.note) == (value == "packed")


async def test_pods_on_their_way_are_placed_by_the_same_rule() -> None:
    """Beside a nominated pod whose slices go to two GPUs, another finds what these leave."""
    bench = _over(two=2, other=2)
    first = await bench.extender.filter(_pod("first"), ["two"])
    assert list(first.nodes) == ["two"]
    whole = msgspec.convert(document("whole", "7g.80gb"), Pod)
    answer = await asyncio.wait_for(bench.extender.filter(whole, bench.names), 5)
    assert list(answer.nodes) == ["other"]
