"""Recording: all files of a recording, by time. A document is made anew from its file's begin, or from the last one.

Only the times are kept: a recording may be larger than memory. A file that cannot be used is left out and named.
"""

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cli.recording import reader
from cli.recording.page_state import PageState, RecordingError
from cli.recording.reader import RecordedLine
from cli.recording.writer import PREFIX, SUFFIX
from scheduler.page.document import RecordingInfo

NOTHING = b'{"plan":false,"move":false,"demo":false}'  # may be done about what was
MOST_TIMES = 20_000  # that are told; of more, evenly chosen


class _Timed(msgspec.Struct, frozen=True):
    time: str


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    times: list[str]


class Recording:
    """A file, or a folder of them. Raises RecordingError where nothing can be shown.

    `left_out` says which files cannot be used, and why.
    """

    def __init__(self, path: Path) -> None:
        self.left_out: list[str] = []
        self._files: list[_File] = []
        self._place: tuple[_File, int, PageState, Iterator[RecordedLine]] | None = None
        for file in _files(path):
            times: list[str] = []
            try:
                times.extend(_time(line) for line in reader.lines(file))
            except (RecordingError, OSError) as error:
                self.left_out.append(str(error))
            if times:
                self._files.append(_File(file, times))
        self._files.sort(key=lambda file: file.times[0])
        if not self._files:
            why = f": {'; '.join(self.left_out[:3])}" if self.left_out else f"; files are called {PREFIX}…{SUFFIX}"
            raise RecordingError(f"{path}: nothing of a recording is there{why}")
        self._begins = [file.times[0] for file in self._files]

    @property
    def frames(self) -> int:
        """How many there are."""
        return sum(len(file.times) for file in self._files)

    def info(self) -> RecordingInfo:
        """From when to when it is, and its frames."""
        times = [time for file in self._files for time in file.times]
        if len(times) > MOST_TIMES:
            step = len(times) / MOST_TIMES
            times = [*(times[int(number * step)] for number in range(MOST_TIMES - 1)), times[-1]]
        return RecordingInfo(from_=times[0], to=times[-1], frames=len(times), times=times)

    def at(self, time: str) -> bytes:
        """The document as it was at a time (RFC 3339), the first one for an earlier time. Raises RecordingError."""
        wanted = _checked(time)
        file = self._files[max(0, bisect.bisect_right(self._begins, wanted) - 1)]
        index = max(0, bisect.bisect_right(file.times, wanted) - 1)
        place = self._place
        if place is None or place[0] is not file or place[1] > index:
            place = (file, -1, PageState(), reader.lines(file.path))
        _, before, state, lines = place
        self._place = None  # until it is whole again
        for _ in range(before, index):
            take(state, next(lines))
        self._place = (file, index, state, lines)
        return state.whole()

    def states(self) -> Iterator[PageState]:
        """The documents, one after the other: the same object, as it becomes."""
        state = PageState()
        for file in self._files:
            for line in itertools.islice(reader.lines(file.path), len(file.times)):
                take(state, line)
                yield state


def take(state: PageState, line: RecordedLine) -> None:
    """Bring a document up to date. Raises RecordingError."""
    if not isinstance(line.overview, msgspec.UnsetType):
        state.begin(line.overview)
        state.sections["may"] = NOTHING
    elif not isinstance(line.changes, msgspec.UnsetType):
        state.apply(line.changes)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob(f"{PREFIX}*{SUFFIX}"))
    if not path.exists():
        raise RecordingError(f"{path}: there is no such file or folder")
    return [path]


def _time(line: RecordedLine) -> str:
    part = line.changes if isinstance(line.overview, msgspec.UnsetType) else line.overview
    if isinstance(part, msgspec.UnsetType):
        raise RecordingError("a line has neither an overview nor changes")
    try:
        return msgspec.json.decode(part, type=_Timed).time
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RecordingError(f"a line has no time: {error}") from error


def _checked(time: str) -> str:
    """A time as recordings write it."""
    try:
        at = datetime.fromisoformat(time)
    except ValueError as error:
        raise RecordingError(f"at: {time[:60]!r} is no time such as 2026-01-31T12:00:00Z") from error
    at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
