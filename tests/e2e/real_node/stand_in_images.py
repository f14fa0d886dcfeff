"""Images in place of a registry's: kube-scheduler's, of the program built here, and vendors', which only wait."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from testbed.image import layer, oci_archive
from testbed.image.oci_archive import Image

KUBE_SCHEDULER = "localhost/kube-scheduler"
KUBE_SCHEDULER_TAG = "built"

_WAITS = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 3600 & wait $!; done\n"


def write_kube_scheduler(archive: Path, program: Path) -> None:
    """Write an image with the program and nothing else, as the project's own image is; it runs as any user."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as place:
        folder = Path(place, "root", "usr", "local", "bin")
        folder.mkdir(parents=True)
        shutil.copy(program.resolve(), folder / "kube-scheduler")
        content = Path(place, "layer.tar")
        layer.write(content, Path(place, "root"))
        settings = {"Entrypoint": ["/usr/local/bin/kube-scheduler"], "Env": ["PATH=/usr/local/bin"]}
        oci_archive.write(archive, [Image(f"{KUBE_SCHEDULER}:{KUBE_SCHEDULER_TAG}", settings, [content])])


def write_vendors(archive: Path, busybox: Path, names: Iterable[str], programs: Iterable[str]) -> None:
    """Write an image under each name in which each program, by its path, waits until it is told to end."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as place:
        root = Path(place, "root")
        for path in programs:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_WAITS, encoding="ascii")
            target.chmod(0o755)
        (root / "bin").mkdir(exist_ok=True)
        shutil.copy(busybox, root / "bin" / "busybox")
        for command in ("env", "sh", "sleep"):
            (root / "bin" / command).symlink_to("busybox")
        content = Path(place, "layer.tar")
        layer.write(content, root)
        oci_archive.write(archive, [Image(name, {"Env": ["PATH=/bin"]}, [content]) for name in names])
