"""RecordingWriter: files that rotate, within bounds of bytes, number and age. Used by `migsched record`.

Every line is handed to the operating system at once, and written to the disk once a second: a crash loses a second at
most, and what is half there is told from what is whole by `reader`. Each file begins with a whole document, so that the
oldest can go. Files are for their owner alone: they name pods and nodes.
"""

import contextlib
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from allocator import errors

PREFIX, SUFFIX = "migsched-", ".jsonl.gz"
_SYNC_S = 1.0
_GZIP = 31  # zlib's word for a gzip header and the largest window


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """Bounds: bytes of one file, of all, how many, and seconds: after which a file is full, and is deleted."""

    file_bytes: int = 8 * 2**20
    bytes: int = 512 * 2**20
    files: int = 500
    file_s: float = 3600.0
    age_s: float = 7 * 24 * 3600.0


class RecordingWriter:
    """One recording in a folder, which is made. Raises SettingsError for a folder that cannot be written."""

    def __init__(
        self,
        folder: Path,
        limits: RecordingLimits,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._limits = limits
        self._now = now
        self._clock = clock
        self._file: BinaryIO | None = None
        self._packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._began = self._synced = clock()
        self._number = 0
        self._path = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.SettingsError("out", str(folder), f"cannot be made: {error.strerror}") from error

    @property
    def is_full(self) -> bool:
        """Whether the next line has to be a whole document, in a new file."""
        if self._file is None:
            return True
        return self._file.tell() >= self._limits.file_bytes or self._clock() - self._began >= self._limits.file_s

    def begin(self, overview: bytes) -> None:
        """A new file, with a whole document. The oldest files go where bounds ask for it."""
        self.close()
        self._number += 1
        name = f"{PREFIX}{self._now():%Y%m%dT%H%M%SZ}-{self._number:04d}{SUFFIX}"
        try:
            self._path = self.folder / name
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise errors.SettingsError("out", str(self.folder), f"cannot be written: {error.strerror}") from error
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._began = self._clock()
        self._write(b'{"overview":' + overview + b"}\n")
        self._forget()

    def change(self, changes: bytes) -> None:
        """A line of changes to what was written before."""
        self._write(b'{"changes":' + changes + b"}\n")

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.write(self._packer.flush())
            self._file.close()
            self._file = None

    def _write(self, line: bytes) -> None:
        if self._file is None:
            return
        self._file.write(self._packer.compress(line) + self._packer.flush(zlib.Z_SYNC_FLUSH))
        if self._clock() - self._synced >= _SYNC_S:
            self._synced = self._clock()
            os.fsync(self._file.fileno())

    def _forget(self) -> None:
        """Delete the oldest files beyond the bounds, never the one that is written."""
        limits, total = self._limits, 0
        files = sorted(self.folder.glob(f"{PREFIX}*{SUFFIX}"), reverse=True)
        for kept, file in enumerate(files):
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat()
                total += facts.st_size
                is_old = self._now().timestamp() - facts.st_mtime > limits.age_s
                if file != self._path and (kept >= limits.files or total > limits.bytes or is_old):
                    file.unlink()
