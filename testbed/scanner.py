"""Checkov, which looks for weak spots in manifests, from PyPI: once into the cache. Called by tests."""

import os
import subprocess
import sys
from pathlib import Path

from testbed import build_cache, pypi
from testbed.progress import Progress

REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "checkov.txt"
_WHAT = "checkov (200 MB)"
_TIMEOUT_S = 100.0


def ensure_installed(progress: Progress | None = None) -> Path:
    """The folder with checkov and all that it needs. Raises BuildError where it cannot be fetched."""
    tell = progress or (lambda _line: None)
    finished = build_cache.root() / "checkov" / pypi.key(REQUIREMENTS)
    return build_cache.entry(
        finished, lambda partial: pypi.install(partial, REQUIREMENTS, tell, what=_WHAT), tell, what=_WHAT
    )


def scan(installed: Path, configuration: Path, manifests: Path) -> subprocess.CompletedProcess[str]:
    """What it says of a folder of manifests by a file of settings; its exit status is 1 where it finds something."""
    command = [sys.executable, str(installed / "bin" / "checkov")]
    command += ["--config-file", str(configuration), "--directory", str(manifests)]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
