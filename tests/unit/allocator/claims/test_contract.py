"""Hostile and honest texts at the process border, one by one."""

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from allocator import errors
from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import NodeReport
from tests import builders

PROMISE = {"container": "main", "gpu": "GPU-0", "profile": "3g.20gb", "start": 4}
WHERE = "annotation migsched.io/placement"


def _placement(**changes: object) -> str:
    return json.dumps({"version": 1, "slices": [{**PROMISE, **changes}]})


def test_the_annotation_is_compact_json() -> None:
    """The annotation reads as version and slices, nothing more."""
    text = placement_annotation.encode([Promise("main", "GPU-0", "3g.20gb", 4)])
    assert text == '{"version":1,"slices":[{"container":"main","gpu":"GPU-0","profile":"3g.20gb","start":4}]}'


def test_the_largest_request_fits_the_annotation() -> None:
    """A pod with the most slices and realistic names stays well inside the annotation's limit."""
    promised = [Promise("c" * 63, "GPU-5f0bd1e9-0000-5000-8000-000000000000", "1g.24gb+me.all", 4)] * 128
    text = placement_annotation.encode(promised)
    assert len(text) < placement_annotation.MAX_ANNOTATION
    assert placement_annotation.decode(text) == tuple(promised)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "true",
        "7",
        "[]",
        '"text"',
        "\x00",
        "\ud800",
        "not json",
        "{}",
        '{"version": "1"}',
        '{"version": true}',
        '{"version": 1.5}',
        '{"version": null}',
        '{"version": 1}',
        '{"version": 1, "slices": {}}',
        '{"version": 1, "slices": []}',
        '{"version": 1, "slices": [1]}',
        '{"version": 1, "slices": [{}]}',
        "[" * 30_000,
        '{"version": 1, "slices": ' + "[" * 30_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        '{"version": ' + "9" * 5_000 + "}",
        '{"version": 1, "slices": [' + ", ".join([json.dumps(PROMISE)] * 100_000) + "]}",
        _placement() + " " * placement_annotation.MAX_ANNOTATION,
        _placement(start=-1),
        _placement(start=4097),
        _placement(start=10**30),
        _placement(start="4"),
        _placement(start=None),
        _placement(start=0.5),
        _placement(container=""),
        _placement(container=7),
        _placement(gpu="G" * 254),
        _placement(profile=["3g.20gb"]),
        _placement(surprise=1),
    ],
    ids=lambda text: text[:40],
)
def test_a_hostile_annotation_is_refused(text: str) -> None:
    """Cut off, nested, mistyped, negative, huge or unknown: the answer is a ContractError that names the annotation."""
    with pytest.raises(errors.ContractError) as caught:
        placement_annotation.decode(text)
    assert caught.value.field.startswith(WHERE)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("version", [2, 0, -1, 10**30])
def test_another_version_is_refused_with_advice(version: int) -> None:
    """A placement of another version is not guessed at, whatever else is in it."""
    with pytest.raises(errors.ContractError, match=r"version: .*this migsched reads version 1; upgrade the older side"):
        placement_annotation.decode(json.dumps({"version": version, "slices": "who knows"}))


def test_names_may_be_in_any_script() -> None:
    """Names that are not ASCII survive, escaped or not."""
    assert placement_annotation.decode(_placement(container="ノード")) == (Promise("ノード", "GPU-0", "3g.20gb", 4),)
    text = placement_annotation.encode([Promise("ノード", "GPU-é", "3g.20gb", 4)])
    assert placement_annotation.decode(text)[0].gpu == "GPU-é"


# --- MigNode status -----------------------------------------------------------------------------------------------

SEEN = (
    builders.node()
    .gpu("a100-40gb", uuid="GPU-0")
    .allocated("3g.20gb", 4, pod="train")
    .gpu("a100-40gb", uuid="GPU-1")
    .idle("1g.5gb", 0)
    .report()
)


def _status(node: NodeReport = SEEN) -> Any:
    return json.loads(msgspec.json.encode(contract.encode_status(node, agent_version="1", mode="managed")))


def _read(status: object) -> NodeReport:
    return contract.decode_status(json.dumps(status).encode(), "n1")


def test_a_catalogue_is_written_once() -> None:
    """GPUs of one model share one catalogue on the wire."""
    status = _status()
    assert [catalogue_["name"] for catalogue_ in status["catalogues"]] == ["a100-40gb"]
    assert [gpu["catalogue"] for gpu in status["gpus"]] == ["a100-40gb"] * 2
    assert _read(status) == SEEN


def test_gpus_of_one_model_may_offer_different_things() -> None:
    """Catalogues of one model that differ each reach the reader, with their GPUs and their model."""
    whole = SEEN.gpus[0].catalogue
    assert whole is not None
    fewer = [whole.restricted(frozenset(names)) for names in (["3g.20gb", "1g.5gb"], ["1g.5gb"])]
    numbered = dataclasses.replace(fewer[1], model="a100-40gb#2")
    kinds = (whole, *fewer, whole, numbered)
    gpus = tuple(
        dataclasses.replace(SEEN.gpus[1], uuid=f"GPU-{n}", catalogue=catalogue_, slices=())
        for n, catalogue_ in enumerate(kinds)
    )
    status = _status(NodeReport("n1", gpus))
    assert _read(status) == NodeReport("n1", gpus)
    assert len({catalogue_["name"] for catalogue_ in status["catalogues"]}) == 4
    assert status["summary"]["models"] == "a100-40gb,a100-40gb#2"


def test_a_status_says_what_people_want_to_know() -> None:
    """The summary behind kubectl's columns names models, GPUs, slices and free memory slices."""
    assert _status()["summary"] == {
        "models": "a100-40gb",
        "gpus": 2,
        "slices": 2,
        "allocated": 1,
        "freeMemorySlices": 12,
    }


def test_a_gpu_that_cannot_be_cut_has_nothing_free() -> None:
    """Slices on a GPU that takes no work are not subtracted from what the others have free."""
    node = builders.node().gpu().gpu(healthy=False).allocated("7g.40gb", 0, pod="a").report()
    assert _status(node)["summary"]["freeMemorySlices"] == 8


@pytest.mark.parametrize(
    ("added", "why"),
    [
        ({"profile": "1g.5gb", "start": 4, "size": 1}, "1g.5gb@4 does not fit beside the others"),
        ({"profile": "3g.20gb", "start": 2, "size": 4}, "3g.20gb@2 is not a legal placement"),
        ({"profile": "3g.20gb", "start": 0, "size": 3}, "3g.20gb@0 is not a legal placement"),
        ({"profile": "9g.99gb", "start": 0, "size": 1}, "9g.99gb@0 is not a legal placement"),
    ],
)
def test_slices_that_contradict_take_out_their_gpu_only(added: dict[str, object], why: str) -> None:
    """Overlapping, illegal, mis-sized or unknown slices mark their GPU unhealthy, with the reason; others stay."""
    status = _status()
    status["gpus"][0]["slices"].append({**added, "state": "idle"})
    node = _read(status)
    assert not node.problem
    assert [gpu.healthy for gpu in node.gpus] == [False, True]
    assert node.gpus[0].message == f"a100-40gb: {why}"
    assert [gpu.usable for gpu in node.gpus] == [False, True]


def test_slices_without_a_catalogue_contradict() -> None:
    """A GPU that reports slices but no catalogue is unhealthy; one that has neither is merely of no use."""
    status = _status()
    for gpu in status["gpus"]:
        gpu["catalogue"] = "unheard-of"
    status["gpus"][1]["slices"] = []
    node = _read(status)
    assert [gpu.healthy for gpu in node.gpus] == [False, True]
    assert node.gpus[0].message == "it has slices but no catalogue"
    assert not any(gpu.usable for gpu in node.gpus)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("contractVersion",), 2, "status.contractVersion: 2: this migsched reads version 1; upgrade it"),
        (("contractVersion",), None, "contractVersion"),
        (("gpus",), "many", "gpus"),
        (("gpus",), [{}] * 100_000, "gpus"),
        (("gpus", 0, "uuid"), "GPU-1", "status.gpus[].uuid"),
        (("gpus", 0, "uuid"), "", "uuid"),
        (("gpus", 0, "index"), -1, "index"),
        (("gpus", 0, "migMode"), "Sometimes", "migMode"),
        (("gpus", 0, "healthy"), "yes", "healthy"),
        (("gpus", 0, "message"), "m" * 1025, "message"),
        (("gpus", 0, "slices"), [{}] * 65, "slices"),
        (("gpus", 0, "slices", 0, "state"), "lost", "state"),
        (("gpus", 0, "slices", 0, "start"), -1, "start"),
        (("gpus", 0, "slices", 0, "size"), 10**30, "size"),
        (("gpus", 0, "slices", 0, "owner"), {"pod": "a"}, "owner"),
        (("catalogues", 0, "memorySlices"), 0, "memory slices"),
        (("catalogues", 0, "memorySlices"), 33, "memory slices"),
        (("catalogues", 0, "computeSlices"), 0, "compute slices"),
        (("catalogues", 0, "profiles"), [], "number of profiles"),
        (("catalogues", 0, "profiles"), [{}] * 65, "profiles"),
        (("catalogues", 0, "profiles", 0, "name"), "1g", "profile name"),
        (("catalogues", 0, "profiles", 0, "name"), "7g.40gb", "profile names"),
        (("catalogues", 0, "profiles", 0, "starts"), [8], "1g.5gb: start"),
        (("catalogues", 0, "profiles", 0, "starts"), [], "1g.5gb: starts"),
        (("catalogues", 0, "profiles", 0, "maxInstances"), 0, "1g.5gb: instances"),
        (("catalogues", 0, "profiles", 0, "engines"), {"dec": -1}, "dec"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_status_that_cannot_be_read_is_told(path: tuple[str | int, ...], value: object, said: str) -> None:
    """A status with a wrong field gives a report without GPUs whose problem names node and field."""
    status = _status()
    inner = status
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    node = _read(status)
    assert node.gpus == ()
    assert node.problem.startswith("MigNode n1: ")
    assert said in node.problem
    assert len(node.problem) < 600


def test_two_catalogues_of_one_name_are_told() -> None:
    """A status in which a catalogue's name says two things is not guessed at."""
    status = _status()
    status["catalogues"].append({**status["catalogues"][0], "memorySlices": 9})
    assert "status.catalogues[].name: ['a100-40gb', 'a100-40gb']: must be distinct" in _read(status).problem


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"contractVersion": 1, "x": ' + b"[" * 1_000_000,
        b'{"contractVersion": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_a_status_that_is_no_status_is_told(raw: bytes) -> None:
    """Bytes that are no JSON object, too deep or too large give a report with a problem."""
    assert contract.decode_status(raw, "n1").problem.startswith("MigNode n1: ")


def test_unknown_fields_are_ignored() -> None:
    """A status of a newer agent that still speaks our version may say more than we understand."""
    status = _status()
    status["gpus"][0]["temperature"] = 41
    status["weather"] = "fine"
    assert _read(status) == SEEN


def test_a_status_without_gpus_is_an_empty_report() -> None:
    """A node without GPUs is a node without GPUs, and no problem."""
    assert contract.decode_status(b'{"contractVersion": 1}', "n1") == NodeReport("n1", ())
