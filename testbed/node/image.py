"""The images of a real node's own pods, without a registry or Docker. Called by `real_node`.

Both hold one layer with nothing but busybox and links to it. A pod on a real node names `BUSYBOX` as its image and
`imagePullPolicy: Never`.
"""

import shutil
import tempfile
from pathlib import Path

from testbed.image import layer, oci_archive

BUSYBOX = "migsched.test/busybox:1"
PAUSE = "migsched.test/pause:1"  # the process that holds a pod's namespaces

_COMMANDS = ("cat", "echo", "env", "false", "id", "ls", "mount", "sh", "sleep", "test", "true", "wget")
_DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp")
# process 1 ignores SIGTERM unless it handles it, and only `wait` lets a shell handle it at once
_PAUSE = ["/bin/sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait $!; done"]


def write_archive(path: Path, busybox: Path) -> None:
    """Write an archive with both images to `path`; `busybox` is a static executable."""
    content = path.with_suffix(".layer")
    _write_layer(content, busybox)
    shell = oci_archive.Image(BUSYBOX, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}, [content])
    pause = oci_archive.Image(PAUSE, {"Entrypoint": _PAUSE, "Env": ["PATH=/bin"]}, [content])
    oci_archive.write(path, [shell, pause])


def _write_layer(path: Path, busybox: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        root = Path(place)
        for name in _DIRECTORIES:
            (root / name).mkdir()
        shutil.copy(busybox, root / "bin" / "busybox")
        (root / "bin" / "busybox").chmod(0o755)
        for name in _COMMANDS:
            (root / "bin" / name).symlink_to("busybox")
        layer.write(path, root)
