"""`make image` and `make lock-images`: builds the images, or writes the lock of their Debian packages again."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from testbed import errors
from testbed.image import build, debian_packages, parts

_HEADER = "# NAME VERSION ARCHITECTURE SHA256, of Debian 12; written by `make lock-images`\n"


def main() -> int:
    """Do what the arguments say; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.image", description=__doc__)
    parser.add_argument("--output", type=Path, default=parts.ROOT / "build" / "images", help="folder of the archives")
    parser.add_argument("--context", type=Path, help="only fill this folder for another builder of the Containerfile")
    parser.add_argument("--lock", action="store_true", help="only lock the Debian packages that apt offers now")
    wanted = parser.parse_args()
    try:
        if wanted.lock:
            _lock()
        elif wanted.context:
            with tempfile.TemporaryDirectory() as place:
                shutil.copytree(
                    build.make_context(Path(place), _tell), wanted.context
                )  # files for links into the cache
        else:
            _build(wanted.output)
    except errors.BuildError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return 2
    return 0


def _build(output: Path) -> None:
    for image in build.build(output, _tell).values():
        _tell(f"{image.archive}  {sum(image.layers.values()) / 1e6:.0f} MB  {image.name}  {image.digest}")


def _lock() -> None:
    with tempfile.TemporaryDirectory() as place:
        packages = debian_packages.lock(debian_packages.PACKAGES, Path(place))
    lines = (f"{entry.name} {entry.version} {entry.architecture} {entry.sha256}\n" for entry in packages)
    parts.LOCK.write_text(_HEADER + "".join(lines), encoding="ascii")


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - progress, for people


if __name__ == "__main__":
    sys.exit(main())
