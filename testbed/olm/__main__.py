"""`make bundle`: writes bundle, catalogue, mirror list and what is applied beside the operator."""

import argparse
import sys
from pathlib import Path

from testbed import errors
from testbed.control_plane import build
from testbed.olm import sources, written
from testbed.olm.images import OlmImages


def main() -> int:
    """Do what the arguments say; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.olm", description=__doc__)
    parser.add_argument("--output", type=Path, default=sources.FOLDER, help="folder that is written")
    for part, image in OlmImages().by_part().items():
        parser.add_argument(f"--{part}", default=image, help="its image by digest, HOST/NAME@sha256:…")
    wanted = vars(parser.parse_args())
    output = wanted.pop("output")
    try:
        kubectl = build.ensure_built(_tell).kubectl
        made = written.files(sources.read(kubectl, OlmImages(**wanted)))
    except errors.ControlPlaneError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer
        return 2
    written.write(made, output)
    _tell(f"{output}: {len(made)} files")
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - progress, for people


if __name__ == "__main__":
    sys.exit(main())
