"""Lines of a recording's file, to the last whole one. Used by `recording`.

A file that was cut off by a crash is read as far as it goes, and so is one that is still written. A file is anybody's:
lines are bounded, and what does not begin as a recording raises RecordingError.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cli.recording.page_state import RecordingError

MAX_LINE = 256 * 2**20  # bytes
_CHUNK = 2**16
_GZIP = 31  # zlib's word for a gzip header


class RecordedLine(msgspec.Struct, frozen=True):
    """One line: a whole document, or changes."""

    overview: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    changes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def lines(file: Path) -> Iterator[RecordedLine]:
    """The lines of a file; the first is a whole document. Raises RecordingError naming the file, OSError."""
    for number, text in enumerate(_texts(file)):
        try:
            line = msgspec.json.decode(text, type=RecordedLine)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise RecordingError(f"{file.name}: line {number + 1} is none of a recording: {error}") from error
        if not number and isinstance(line.overview, msgspec.UnsetType):
            raise RecordingError(f"{file.name}: it does not begin with an overview; was it made by migsched record?")
        yield line


def _texts(file: Path) -> Iterator[bytes]:
    pending = b""
    for block in _unpacked(file):
        *whole, pending = (pending + block).split(b"\n")
        if len(pending) > MAX_LINE:
            raise RecordingError(f"{file.name}: a line of more than {MAX_LINE >> 20} MiB")
        yield from whole


def _unpacked(file: Path) -> Iterator[bytes]:
    unpacker, began = zlib.decompressobj(_GZIP), False
    with file.open("rb") as packed:
        while chunk := packed.read(_CHUNK):
            while chunk and not unpacker.eof:
                try:
                    block = unpacker.decompress(chunk, 4 * _CHUNK)
                except zlib.error as error:
                    if began:
                        return  # cut off or damaged here: what is before is whole
                    raise RecordingError(f"{file.name}: it is no gzip file: {error}") from error
                began = began or bool(block)
                yield block
                chunk = unpacker.unconsumed_tail
