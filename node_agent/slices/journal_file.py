"""FileStore: the journal's bytes on disk, in two files that are written in turn. Used by service.

A file that is replaced by a rename needs two syncs and new metadata each time, and an Allocate waits for them. Here a
write is one sync of a file that exists: the older of two is written over, and the newer one stays as it is meanwhile.
Each begins with a line that tells its serial number and the length and checksum of what follows, so that a write which
was cut short counts as never made. Only the first write of each file is a rename.
"""

import os
import zlib
from pathlib import Path

import msgspec

from config import fail_points
from node_agent.slices.journal import MAX_BYTES, JournalError

_HEADER_BYTES = 256
_BLOCK = 16 * 1024  # a file grows by this much, so that most writes leave its size alone


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    serial: int
    bytes: int
    crc32: int


class FileStore:
    """The newer of `<path>.0` and `<path>.1`. Raises JournalError naming path and reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = (path.with_name(f"{path.name}.0"), path.with_name(f"{path.name}.1"))
        self._serial: int | None = None

    def read(self) -> bytes | None:
        """What was written last; None if nothing ever was."""
        contents = [self._read_file(file) for file in self._files]
        whole = [content for content in contents if isinstance(content, tuple)]
        if not whole:
            damaged = [problem for problem in contents if isinstance(problem, str)]
            if damaged:
                raise JournalError(
                    f"journal {self.path}: {'; '.join(damaged)}. Move its files away to start without it"
                )
            self._serial = 0
            return None
        self._serial, content = max(whole)
        return content

    def write(self, content: bytes) -> None:
        """Replace all of it, durably or not at all."""
        if self._serial is None:
            self.read()
        serial = (self._serial or 0) + 1
        file = self._files[serial % 2]
        header = msgspec.json.encode(_Header(serial, len(content), zlib.crc32(content)))
        try:
            fail_points.reach("journal.write")
            if file.exists():
                _write_over(file, header + b"\n" + content + b"\n")
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _make(file, header + b"\n" + content + b"\n")
        except OSError as error:
            raise JournalError(
                f"journal {self.path}: cannot be written: {error.strerror}; no slice is cut or destroyed until it can"
            ) from error
        fail_points.reach("journal.written")
        self._serial = serial

    def _read_file(self, file: Path) -> tuple[int, bytes] | str | None:
        """Serial number and content of a file; what is wrong with it; None if it does not exist."""
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_BYTES + _HEADER_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"journal {file}: cannot be read: {error.strerror}") from error
        first, _, rest = content.partition(b"\n")
        try:
            header = msgspec.json.decode(first, type=_Header)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return f"{file.name} is not a journal"
        content = rest[: header.bytes]
        if len(content) != header.bytes or zlib.crc32(content) != header.crc32:
            return f"{file.name} is damaged"
        return header.serial, content


def _write_over(file: Path, content: bytes) -> None:
    handle = os.open(file, os.O_WRONLY)
    try:
        size = os.fstat(handle).st_size
        _write(handle, content.ljust(size if size >= len(content) else _rounded(content)))
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _make(file: Path, content: bytes) -> None:
    new = file.with_name(file.name + ".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write(handle, content.ljust(_rounded(content)))
        os.fsync(handle)
    finally:
        os.close(handle)
    new.replace(file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(handle: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(handle, content[done:], done)


def _rounded(content: bytes) -> int:
    return -(-len(content) // _BLOCK) * _BLOCK
