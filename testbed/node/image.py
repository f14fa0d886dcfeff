"""Container images made by hand, in the form of `docker save`: no registry, no Docker. Called by `real_node`.

Both hold one layer with nothing but busybox and links to it. A pod on a real node names `BUSYBOX` as its image and
`imagePullPolicy: Never`.
"""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

BUSYBOX = "migsched.test/busybox:1"
PAUSE = "migsched.test/pause:1"  # the process that holds a pod's namespaces

_COMMANDS = ("cat", "echo", "env", "false", "id", "ls", "mount", "sh", "sleep", "test", "true", "wget")
_DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp")
# process 1 ignores SIGTERM unless it handles it, and only `wait` lets a shell handle it at once
_PAUSE = ["/bin/sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait $!; done"]


def write_archive(path: Path, busybox: Path) -> None:
    """Write an archive with both images to `path`; `busybox` is a static executable."""
    layer = _layer(busybox)
    configs = {
        BUSYBOX: _config(layer, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}),
        PAUSE: _config(layer, {"Entrypoint": _PAUSE, "Env": ["PATH=/bin"]}),
    }
    manifest = [
        {"Config": f"{_digest(config)}.json", "RepoTags": [name], "Layers": ["layer.tar"]}
        for name, config in configs.items()
    ]
    with tarfile.open(path, "w") as archive:
        _add(archive, "layer.tar", layer)
        for config in configs.values():
            _add(archive, f"{_digest(config)}.json", config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _layer(busybox: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        for name in _DIRECTORIES:
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            layer.addfile(directory)
        _add(layer, "bin/busybox", busybox.read_bytes(), mode=0o755)
        for name in _COMMANDS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return content.getvalue()


def _config(layer: bytes, settings: dict[str, Any]) -> bytes:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
    }
    return json.dumps(config).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
