"""Whether an executable runs on its own. Called by `debian`."""

import struct
from pathlib import Path

_MAGIC, _64_BIT, _LITTLE = b"\x7fELF", 2, 1
_INTERPRETER = 3  # PT_INTERP: the segment that names the dynamic loader


def is_static(path: Path) -> bool:
    """Whether `path` is a 64-bit ELF executable that needs no dynamic loader, and so no libraries."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:4] != _MAGIC or header[4] != _64_BIT or header[5] != _LITTLE:
            return False
        offset, (size, count) = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    kinds = (struct.unpack_from("<I", table, index * size)[0] for index in range(count))
    return _INTERPRETER not in kinds
