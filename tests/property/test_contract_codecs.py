"""What crosses the process border: everything sane survives the journey, nothing insane survives the border."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from allocator import errors
from allocator.claims import contract, placement_annotation
from allocator.claims.inventory import Inventory
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import NodeReport, SliceState
from tests import builders, strategies

Json = Any

promises = st.lists(strategies.promises(), min_size=1, max_size=8)
VALID_PLACEMENT: Json = {
    "version": 1,
    "slices": [
        {"container": "main", "gpu": "GPU-0", "profile": "3g.20gb", "start": 4},
        {"container": "helper", "gpu": "GPU-0", "profile": "1g.5gb", "start": 0},
    ],
}
VALID_REPORT = (
    builders.node()
    .gpu("a100-40gb", uuid="GPU-0")
    .allocated("3g.20gb", 4, pod="train")
    .idle("1g.5gb", 0)
    .gpu("a30-24gb", uuid="GPU-1")
    .foreign("2g.12gb", 2)
    .report()
)


def _wire(node: NodeReport) -> bytes:
    return msgspec.json.encode(contract.encode_status(node, agent_version="1", mode="managed"))


VALID_STATUS: Json = json.loads(_wire(VALID_REPORT))


def _damaged(draw: st.DrawFn, value: Json) -> Json:
    """The value with one thing in it, at any depth, replaced, removed, doubled or added."""
    inside = value and isinstance(value, dict | list) and draw(st.integers(0, 4)) > 0
    if not inside:
        return draw(strategies.json_values | st.sampled_from([-1, 2, 65, 4097, 2**63, 10**30, "", "x" * 2_000, [], {}]))
    if isinstance(value, list):
        i = draw(st.integers(0, len(value) - 1))
        change = draw(st.sampled_from(["inside", "inside", "double", "remove"]))
        times = {"inside": 1, "double": 2, "remove": 0}[change]
        new = _damaged(draw, value[i]) if change == "inside" else value[i]
        return [*value[:i], *[new] * times, *value[i + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    change = draw(st.sampled_from(["inside", "inside", "inside", "remove", "add"]))
    if change == "inside":
        return {**value, key: _damaged(draw, value[key])}
    if change == "remove":
        return {k: v for k, v in value.items() if k != key}
    return {**value, draw(st.text(max_size=8)): draw(strategies.json_values)}


@st.composite
def damaged(draw: st.DrawFn, valid: Json) -> str:
    """JSON that was valid before somebody changed a few things."""
    value = valid
    for _ in range(draw(st.integers(1, 3))):
        value = _damaged(draw, value)
    return json.dumps(value, allow_nan=True, ensure_ascii=draw(st.booleans()))


@given(promises)
def test_promises_survive_the_journey(promised: list[Promise]) -> None:
    """Promises written into an annotation are read from it unchanged."""
    assert placement_annotation.decode(placement_annotation.encode(promised)) == tuple(promised)


@given(strategies.node_reports())
def test_reports_survive_the_journey(node: NodeReport) -> None:
    """A report written into a MigNode's status is read from it unchanged."""
    assert contract.decode_status(_wire(node), node.node) == node


@given(strategies.node_reports())
def test_the_summary_counts_what_is_there(node: NodeReport) -> None:
    """A status's summary counts GPUs, slices, allocated slices, and the memory slices free on GPUs that can be cut."""
    summary = contract.encode_status(node, agent_version="1", mode="managed")["summary"]
    slices = [slice_ for gpu in node.gpus for slice_ in gpu.slices]
    usable = [gpu for gpu in node.gpus if gpu.usable and gpu.catalogue]
    taken = {
        (gpu.uuid, slot)
        for gpu in usable
        for slice_ in gpu.slices
        if not slice_.free
        for slot in range(slice_.placement.start, slice_.placement.start + slice_.placement.size)
    }
    assert summary == {
        "models": ",".join(dict.fromkeys(gpu.catalogue.model for gpu in node.gpus if gpu.catalogue)),
        "gpus": len(node.gpus),
        "slices": len(slices),
        "allocated": sum(slice_.state is SliceState.ALLOCATED for slice_ in slices),
        "freeMemorySlices": sum(gpu.catalogue.memory_slices for gpu in usable if gpu.catalogue) - len(taken),
    }


@given(st.text() | damaged(VALID_PLACEMENT))
def test_any_annotation_is_read_or_refused(text: str) -> None:
    """Whatever an annotation says, it gives promises within bounds or a ContractError, and nothing else."""
    try:
        promises = placement_annotation.decode(text)
    except errors.ContractError:
        return
    assert promises
    for promise in promises:
        assert all(1 <= len(name) <= 253 for name in (promise.container, promise.gpu, promise.profile))
        assert 0 <= promise.start <= 4096


@given(st.binary() | damaged(VALID_STATUS).map(str.encode))
def test_any_status_is_read_or_told(raw: bytes) -> None:
    """Whatever a status says, it gives a report that the inventory can take in, or one with a problem."""
    node = contract.decode_status(raw, "n1")
    assert node.node == "n1"
    assert not (node.problem and node.gpus)
    for gpu in node.gpus:
        assert not (gpu.healthy and gpu.contradiction())
    inventory = Inventory()
    inventory.observe(node)
    inventory.adopt(builders.pod("a", "3g.20gb").promised("GPU-0", "3g.20gb", 0).bound("n1"))
    inventory.check()


@given(st.data())
def test_a_cut_off_annotation_is_refused(data: st.DataObject) -> None:
    """No proper beginning of an annotation is an annotation."""
    text = placement_annotation.encode([Promise("main", "GPU-0", "3g.20gb", 4)])
    length = data.draw(st.integers(0, len(text) - 1))
    try:
        placement_annotation.decode(text[:length])
    except errors.ContractError:
        return
    raise AssertionError(text[:length])


@given(st.integers(0, len(_wire(VALID_REPORT)) - 1))
def test_a_cut_off_status_is_told(length: int) -> None:
    """No proper beginning of a status is a status."""
    assert contract.decode_status(_wire(VALID_REPORT)[:length], "n1").problem
