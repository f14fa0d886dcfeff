"""Turns a folder into a layer that depends on nothing but what the folder holds. Called by `build`.

Owners, times, the order of entries and the modes of files are fixed. Nothing in a layer is set-user-id or writable for
others but /tmp, and everything belongs to root, so a container that runs as another user can change nothing.
"""

import tarfile
from pathlib import Path

from testbed.image.oci_archive import EPOCH_S

_OPEN = frozenset({"tmp", "var/tmp"})  # directories for everybody's files


def write(path: Path, folder: Path) -> None:
    """Write what is below `folder` into the layer `path`, an uncompressed tar file."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as layer:
        for source in sorted(folder.rglob("*")):
            _add(layer, source, source.relative_to(folder).as_posix())


def _add(layer: tarfile.TarFile, source: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = EPOCH_S
    if source.is_symlink():
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(source.readlink()), 0o777
        layer.addfile(entry)
    elif source.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name in _OPEN else 0o755
        layer.addfile(entry)
    else:
        status = source.stat()
        entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
        with source.open("rb") as file:
            layer.addfile(entry, file)
