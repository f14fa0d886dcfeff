"""Which GPUs take no new work, and what is said of a text that names none."""

import pytest

from node_agent.gpu import out_of_service, selection
from node_agent.gpu.device import GpuInfo, GpuState
from node_agent.gpu.out_of_service import OutOfService

UUIDS = tuple(f"GPU-{number:08}-0000-0000-0000-000000000000" for number in range(3))
GPUS = tuple(GpuInfo(uuid, n, n, "NVIDIA A30", "", 0, GpuState.READY) for n, uuid in enumerate(UUIDS))


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("", ()), ("1", (1,)), (f" 0 ,{UUIDS[2]}", (0, 2)), ("all", (0, 1, 2)), ("foo,2,;", (2,)), ("7", ())],
)
def test_the_annotation_names_gpus_by_index_or_uuid(text: str, chosen: tuple[int, ...]) -> None:
    """Each GPU that is named is out of service, whatever else the text says."""
    reasons = OutOfService(annotation=text).reasons(GPUS)
    assert list(reasons) == [UUIDS[index] for index in chosen]
    assert all("annotation migsched.io/out-of-service" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("1,all,2", "'all'"),
        ("7", "'7'"),
        ("GPU-1", "'GPU-1'"),
        ("a,b,c,d,e", "'a', 'b', 'c' and 2 more"),
        ("x" * 70, f"'{'x' * 60}'"),
        ("1," * 3000, "is read up to 4,096 characters"),
    ],
)
def test_what_names_no_gpu_is_said(text: str, said: str) -> None:
    """A text that is wrong is named, a few names of it, and not much of each."""
    problem = OutOfService(annotation=text).problem(GPUS)
    assert said in problem
    assert bool(problem) == bool(said)
    assert len(problem) < 400


def test_a_text_of_any_length_is_read_in_no_time() -> None:
    """No more than the bound is looked at: the API server lets an annotation have 256 KiB."""
    text = "9," * 131_072
    assert len(OutOfService(annotation=text).problem(GPUS)) < 300
    assert OutOfService(annotation=" " * out_of_service.MAX_TEXT + "1").reasons(GPUS) == {}


def test_a_gpu_that_is_left_alone_is_not_also_out_of_service() -> None:
    """Of a GPU that the settings exclude nothing else is said."""
    excluded = GpuInfo(UUIDS[0], 0, 0, "NVIDIA A30", "", 0, GpuState.EXCLUDED)
    assert OutOfService(annotation="0").reasons([excluded]) == {}
    in_use = OutOfService(excluded=selection.parse("0")).reasons(GPUS)
    assert list(in_use) == [UUIDS[0]]
    assert "exclude_gpus" in in_use[UUIDS[0]]
