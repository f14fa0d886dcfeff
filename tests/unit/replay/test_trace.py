"""Traces: what is read, and that every bad cell is named with its row, its column and what would do."""

from pathlib import Path

import pytest

from allocator import errors
from allocator.mig import geometry, gpu_models
from replay import trace
from replay.job import Job

CATALOGUE = gpu_models.find("a100-40gb")
HEADER = "id,arrival_s,profile,duration_s"


def written(path: Path, *rows: str, header: str = HEADER) -> str:
    """A trace file with these rows."""
    file = path / "trace.csv"
    file.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return str(file)


def jobs(path: str) -> list[Job]:
    """The jobs of a trace on the GPUs that it needs."""
    found = trace.survey(path, CATALOGUE)
    return list(found.jobs(geometry.compiled(CATALOGUE.restricted(found.profiles)), 1, 0))


def test_a_trace_is_read_row_by_row(tmp_path: Path) -> None:
    """Each row is a job with its times and profile, in the order of the file."""
    path = written(tmp_path, "a,0,1g.5gb,10", "b,1.5,3g.20gb,2e3")
    assert [(j.arrival_s, j.duration_s, j.expected_s, j.priority, j.movable) for j in jobs(path)] == [
        (0.0, 10.0, 10.0, 0, False),
        (1.5, 2000.0, 2000.0, 0, False),
    ]


def test_optional_columns_are_read_in_any_order(tmp_path: Path) -> None:
    """Priority, movable, alternatives and the expected duration are taken where they stand, wherever that is."""
    path = written(
        tmp_path,
        "true,7,4g.20gb,3g.20gb|2g.10gb,5,-2,x,6",
        ",8,4g.20gb,,5,,y,",
        header="movable,arrival_s,profile,alternatives,duration_s,priority,id,expected_s",
    )
    known = geometry.compiled(CATALOGUE.restricted(trace.survey(path, CATALOGUE).profiles))
    wanted = tuple(known.profile_index[name] for name in ("4g.20gb", "3g.20gb", "2g.10gb"))
    assert jobs(path) == [Job(7.0, 5.0, wanted, 6.0, -2, True), Job(8.0, 5.0, wanted[:1], 5.0, 0, False)]


def test_a_survey_knows_the_whole_trace(tmp_path: Path) -> None:
    """A survey says how many jobs there are, which profiles they want, when they come and whether any may move."""
    found = trace.survey(written(tmp_path, "a,3,1g.5gb,1", "b,9,2g.10gb,1"), CATALOGUE)
    assert (found.rows, found.first_arrival_s, found.last_arrival_s, found.movable) == (2, 3.0, 9.0, False)
    assert found.profiles == {"1g.5gb", "2g.10gb"}
    assert found.window_s == (3.0, float("inf"))


def test_spreadsheets_write_traces_too(tmp_path: Path) -> None:
    """A byte order mark, carriage returns, quotes and empty lines do no harm."""
    file = tmp_path / "trace.csv"
    file.write_bytes(b'\xef\xbb\xbfid,arrival_s,profile,duration_s\r\n"a",0,"1g.5gb",1\r\n\r\nb,1,1g.5gb,1\r\n')
    assert len(jobs(str(file))) == 2


@pytest.mark.parametrize(
    ("rows", "row", "column", "fix"),
    [
        (["a,0,9g.99gb,1"], 2, "profile", "a100-40gb offers 1g.5gb"),
        (["a,0,1g.5gb,1", "b,1,1G.5GB,1"], 3, "profile", "offers"),
        (["a,-1,1g.5gb,1"], 2, "arrival_s", "0 or more"),
        (["a,0,1g.5gb,-0.5"], 2, "duration_s", "0 or more"),
        (["a,nan,1g.5gb,1"], 2, "arrival_s", "0 or more"),
        (["a,0,1g.5gb,inf"], 2, "duration_s", "0 or more"),
        (["a,soon,1g.5gb,1"], 2, "arrival_s", "seconds"),
        (["a,,1g.5gb,1"], 2, "arrival_s", "seconds"),
        (["a,0,1g.5gb,1", "a,1,1g.5gb,1"], 3, "id", "used before"),
        ([",0,1g.5gb,1"], 2, "id", "id of its own"),
        (["a,5,1g.5gb,1", "b,4,1g.5gb,1"], 3, "arrival_s", "the row before has 5"),
        (["a,0,1g.5gb"], 2, "all", "4 cells"),
        (["a,0,1g.5gb,1,"], 2, "all", "4 cells"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, rows: list[str], row: int, column: str, fix: str) -> None:
    """A cell that cannot be meant is refused with its row, its column and what would do."""
    with pytest.raises(errors.InputError) as caught:
        trace.survey(written(tmp_path, *rows), CATALOGUE)
    assert caught.value.field.endswith(f"row {row}, column {column}")
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("column", "cell", "fix"),
    [
        ("priority", "high", "whole number"),
        ("movable", "maybe", "true or false"),
        ("alternatives", "3g.20gb|9g.9gb", "offers"),
        ("expected_s", "-1", "0 or more"),
    ],
)
def test_a_bad_optional_cell_is_named(tmp_path: Path, column: str, cell: str, fix: str) -> None:
    """The same holds for the optional columns."""
    with pytest.raises(errors.InputError) as caught:
        trace.survey(written(tmp_path, f"a,0,1g.5gb,1,{cell}", header=f"{HEADER},{column}"), CATALOGUE)
    assert caught.value.field.endswith(f"row 2, column {column}")
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("id,arrival_s,profile", "duration_s"),
        ("", "id"),
        (f"{HEADER},moveable", "moveable"),
        (f"{HEADER},id", "header"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, column: str) -> None:
    """A missing, unknown or repeated column is refused by its name."""
    with pytest.raises(errors.InputError) as caught:
        trace.survey(written(tmp_path, header=header), CATALOGUE)
    assert caught.value.field.endswith(f"row 1, column {column}")


def test_a_trace_without_jobs_is_refused(tmp_path: Path) -> None:
    """A header alone is no workload."""
    with pytest.raises(errors.InputError, match="at least one job"):
        trace.survey(written(tmp_path), CATALOGUE)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'id,arrival_s,profile,duration_s\n"a,0', b"id,arr\x00ival"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no CSV is refused with what to give instead, without a traceback of the reader."""
    file = tmp_path / "trace.csv"
    file.write_bytes(content)
    with pytest.raises(errors.InputError):
        trace.survey(str(file), CATALOGUE)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is refused by its path."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(errors.InputError) as caught:
            trace.survey(str(path), CATALOGUE)
        assert caught.value.field == "trace"


def test_a_trace_that_changed_under_our_feet_is_refused(tmp_path: Path) -> None:
    """A profile that was not there when the trace was surveyed is refused when it is replayed."""
    path = written(tmp_path, "a,0,1g.5gb,1")
    found = trace.survey(path, CATALOGUE)
    written(tmp_path, "a,0,7g.40gb,1")
    with pytest.raises(errors.InputError):
        list(found.jobs(geometry.compiled(CATALOGUE.restricted(found.profiles)), 1, 0))


@pytest.mark.parametrize("rows", [0, 20_000])
def test_what_is_not_utf8_is_named_with_its_row(tmp_path: Path, rows: int) -> None:
    """A byte that is no UTF-8 is found in its own row, however far down the file."""
    file = tmp_path / "trace.csv"
    good = "".join(f"job-{number},{number},1g.5gb,10\n" for number in range(rows))
    file.write_bytes(f"{HEADER}\n{good}".encode() + b"caf\xe9,20000,1g.5gb,10\n" + b"z,20001,1g.5gb,10\n")
    with pytest.raises(errors.InputError, match="save it as UTF-8") as refused:
        trace.survey(str(file), CATALOGUE)
    assert refused.value.field == f"{file}: row {rows + 2}"


@pytest.mark.parametrize("cell", ["nan", "inf", "1e400", "1e300", "-0.5"])
def test_seconds_are_such_that_sums_stay_exact(tmp_path: Path, cell: str) -> None:
    """Seconds are numbers from 0 to what can still be added up: a sum never becomes infinite."""
    with pytest.raises(errors.InputError, match=r"write seconds, 0 or more, at most 1e\+12"):
        trace.survey(written(tmp_path, f"a,0,1g.5gb,{cell}"), CATALOGUE)
