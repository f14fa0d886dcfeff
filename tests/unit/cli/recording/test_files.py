"""Recordings as files: bounded, cut off anywhere, and read by time."""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.recording import reader
from cli.recording.page_state import PageState, RecordingError
from cli.recording.recording import Recording
from cli.recording.writer import RecordingLimits, RecordingWriter
from tests.unit.cli.recording import overviews

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        """Seconds since its begin."""
        return self.s

    def now(self) -> datetime:
        """The same, as a time of day."""
        return NOON + timedelta(seconds=self.s)


def write(folder: Path, seconds: int, limits: RecordingLimits | None = None) -> list[bytes]:
    """A recording with a document each second; the documents."""
    clock, written, before = Clock(), [], PageState()
    writer = RecordingWriter(folder, limits or RecordingLimits(), now=clock.now, clock=clock)
    for second in range(seconds):
        clock.s = second
        state = PageState()
        state.begin(overviews.overview(second, waiting_total=second, nodes=[overviews.node(start=4 * (second % 2))]))
        if writer.is_full:
            writer.begin(state.whole())
        else:
            writer.change(before.changes_to(state))
        written.append(state.whole())
        before = state
    writer.close()
    return written


def same(document: bytes, other: bytes) -> bool:
    """Whether two documents say the same, what may be done aside."""
    found, wanted = json.loads(document), json.loads(other)
    return bool({**found, "may": 0} == {**wanted, "may": 0})


@given(
    seconds=st.integers(1, 12), file_s=st.integers(1, 5), asked=st.lists(st.integers(-3, 15), min_size=1, max_size=6)
)
def test_at_any_time_it_is_the_document_of_then(seconds: int, file_s: int, asked: list[int]) -> None:
    """Whatever the order of questions, the answer is the last document not younger, the first for times before."""
    with tempfile.TemporaryDirectory() as name:
        written = write(Path(name), seconds, RecordingLimits(file_s=float(file_s)))
        recording = Recording(Path(name))
        assert recording.info().frames == seconds
        for second in asked:
            at = (NOON + timedelta(seconds=second, milliseconds=1)).isoformat()
            assert same(recording.at(at), written[min(max(second, 0), seconds - 1)])


@given(kept=st.floats(0.0, 1.0))
def test_a_file_that_was_cut_off_is_read_to_its_last_whole_line(kept: float) -> None:
    """Cut anywhere, a file gives a begin of its documents, or says that nothing is there; no error of another kind."""
    with tempfile.TemporaryDirectory() as name:
        written = write(Path(name), 8)
        (file,) = Path(name).iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * kept)])
        try:
            recording = Recording(file)
        except RecordingError:
            assert kept < 1
            return
        frames = recording.info().frames
        assert same(recording.at(recording.info().to), written[frames - 1])
        assert frames == 8 or kept < 1


@given(text=st.binary(max_size=300))
def test_what_is_no_recording_is_named(text: bytes) -> None:
    """Any bytes in place of a file raise RecordingError, and nothing else."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "x.jsonl.gz"
        file.write_bytes(text)
        with pytest.raises(RecordingError):
            Recording(file)


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (RecordingLimits(file_s=1.0, files=3), 3),
        (RecordingLimits(file_s=1.0, bytes=1), 1),
        (RecordingLimits(file_bytes=1, files=4), 4),
    ],
)
def test_files_stay_within_their_bounds(tmp_path: Path, limits: RecordingLimits, most: int) -> None:
    """However long it goes on, no more files are there than the bounds allow, and what is left can be shown."""
    written = write(tmp_path, 20, limits)
    assert len(list(tmp_path.iterdir())) <= most
    assert same(Recording(tmp_path).at("2026-01-31T13:00:00Z"), written[-1])
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    """A writer that is never closed, as by a crash, has lost none of its lines."""
    writer = RecordingWriter(tmp_path, RecordingLimits())
    writer.begin(overviews.overview(0))
    writer.change(overviews.changes(1, waiting_total=7))
    (file,) = tmp_path.iterdir()
    assert len(list(reader.lines(file))) == 2
    writer.close()
