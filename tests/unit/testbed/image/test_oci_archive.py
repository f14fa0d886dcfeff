"""OCI archives: what is written is a valid image layout, and the same bytes each time."""

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from testbed.image import layer, oci_archive
from testbed.image.oci_archive import Image


def read(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return file.read()


def blob(archive: Path, digest: str) -> Any:
    return json.loads(read(archive, f"blobs/{digest.replace(':', '/')}"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root file system with a program, a link, an empty directory, and a file that everybody may write."""
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    program = root / "usr/bin/program"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o4777)
    (root / "bin").symlink_to("usr/bin")
    (root / "data").write_text("data", encoding="ascii")
    (root / "data").chmod(0o666)
    return root


def test_an_archive_is_an_image_layout(folder: Path, tmp_path: Path) -> None:
    """Every blob has the digest that names it, and index, manifest and configuration lead to the layer."""
    layer.write(tmp_path / "layer.tar", folder)
    image = Image("example.test/name:1.2", {"User": "65532:65532"}, [tmp_path / "layer.tar"])
    digests = oci_archive.write(tmp_path / "image.tar", [image])
    with tarfile.open(tmp_path / "image.tar") as archive:
        names = archive.getnames()
    assert names[:2] == ["oci-layout", "index.json"]
    for name in names[2:]:
        assert hashlib.sha256(read(tmp_path / "image.tar", name)).hexdigest() == name.rpartition("/")[2]
    (listed,) = json.loads(read(tmp_path / "image.tar", "index.json"))["manifests"]
    assert listed["digest"] == digests["example.test/name:1.2"]
    assert listed["annotations"]["io.containerd.image.name"] == "example.test/name:1.2"
    manifest = blob(tmp_path / "image.tar", listed["digest"])
    configuration = blob(tmp_path / "image.tar", manifest["config"]["digest"])
    assert configuration["rootfs"]["diff_ids"] == [entry["digest"] for entry in manifest["layers"]]
    assert configuration["config"] == {"User": "65532:65532"}


def test_images_share_a_layer(folder: Path, tmp_path: Path) -> None:
    """A layer of several images is in their archive once."""
    layer.write(tmp_path / "layer.tar", folder)
    images = [Image(f"example.test/{name}:1", {"Cmd": [name]}, [tmp_path / "layer.tar"]) for name in ("a", "b")]
    oci_archive.write(tmp_path / "images.tar", images)
    with tarfile.open(tmp_path / "images.tar") as archive:
        assert len([name for name in archive.getnames() if name.startswith("blobs/")]) == 5


def test_a_layer_depends_on_content_only(folder: Path, tmp_path: Path) -> None:
    """Times of files, and the order in which they were made, do not show in a layer."""
    layer.write(tmp_path / "first.tar", folder)
    other = tmp_path / "other"
    for source in sorted(folder.rglob("*"), reverse=True):
        target = other / source.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
            os.utime(target, (1, 1))
    layer.write(tmp_path / "second.tar", other)
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_nothing_in_a_layer_is_writable_or_set_user_id(folder: Path, tmp_path: Path) -> None:
    """Everything is root's, and no other user may write but into /tmp; no program takes its owner's rights."""
    layer.write(tmp_path / "layer.tar", folder)
    with tarfile.open(tmp_path / "layer.tar") as opened:
        modes = {entry.name: (entry.mode, entry.uid, entry.gid) for entry in opened if not entry.issym()}
    assert modes == {
        "data": (0o644, 0, 0),
        "tmp": (0o1777, 0, 0),
        "usr": (0o755, 0, 0),
        "usr/bin": (0o755, 0, 0),
        "usr/bin/program": (0o755, 0, 0),
    }
