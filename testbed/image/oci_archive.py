"""Writes images as one OCI archive: the OCI image layout in a tar file. Called by `build` and by `testbed.node.image`.

The same images give the same bytes: times, owners and the order of entries are fixed, and layers are not compressed,
since what a compressor writes depends on its version. Tools that push to a registry compress on the way.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPOCH_S = 1_580_601_600  # 2020-02-02, the time that hatchling gives the files of a wheel
CREATED = "2020-02-02T00:00:00Z"

_TYPES = "application/vnd.oci.image"
_INDEX, _MANIFEST, _CONFIG, _LAYER = (
    f"{_TYPES}.{kind}" for kind in ("index.v1+json", "manifest.v1+json", "config.v1+json", "layer.v1.tar")
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it is written.

    `name` is what a container runtime calls it, with its tag. `settings` is the `config` part of the OCI image
    configuration (Env, User, Labels, …). `layers` are uncompressed tar files, the lowest first.
    """

    name: str
    settings: Mapping[str, Any]
    layers: Sequence[Path]


def write(path: Path, images: Sequence[Image]) -> dict[str, str]:
    """Write an archive with the images to `path` and return the digest of each one's manifest by its name.

    Layers that several images share are in it once.
    """
    blobs: dict[str, Path | bytes] = {}
    manifests = []
    for image in images:
        content = _manifest(image, blobs)
        digest = _put(blobs, content)
        names = {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
        }
        manifests.append({"mediaType": _MANIFEST, "digest": digest, "size": len(content), "annotations": names})
    index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests})
    partial = path.with_name(f"{path.name}.partial")  # a reader finds a whole archive or none
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for digest in sorted(blobs):
            _add(archive, f"blobs/{digest.replace(':', '/')}", blobs[digest])
    partial.replace(path)
    return {image.name: str(manifest["digest"]) for image, manifest in zip(images, manifests, strict=True)}


def architecture() -> str:
    """This machine's architecture as OCI images and Debian call it."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _manifest(image: Image, blobs: dict[str, Path | bytes]) -> bytes:
    layers = [{"mediaType": _LAYER, "digest": _put(blobs, layer), "size": _size(layer)} for layer in image.layers]
    configuration = _json(
        {
            "created": CREATED,
            "architecture": architecture(),
            "os": "linux",
            "config": dict(image.settings),
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": _put(blobs, configuration), "size": len(configuration)},
            "layers": layers,
        }
    )


def _put(blobs: dict[str, Path | bytes], content: Path | bytes) -> str:
    if isinstance(content, bytes):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    else:
        with content.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    blobs[digest] = content
    return digest


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = _size(content), 0o644, EPOCH_S
    if isinstance(content, bytes):
        archive.addfile(entry, io.BytesIO(content))
    else:
        with content.open("rb") as file:
            archive.addfile(entry, file)
