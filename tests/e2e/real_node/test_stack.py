"""`make stack` as a newcomer runs it: it tells its story to the end, and every request of its app is answered."""

import os
import subprocess
import sys

import pytest

from testbed.consumers.packages import Packages
from tests.e2e.real_node.agent import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_the_story_ends_by_itself_with_everything_answered(consumer_packages: Packages) -> None:
    """With --once it exits 0, after it has shown slots, slices and requests per second, and that it grew."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.stack", "--once"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pods of a real node" in done.stdout
    assert "3 workers and 3 servers ready after" in done.stdout
    assert done.stdout.count("MIG-") == 2 + 2 + 3 + 3
    assert done.stdout.count("requests/s") == 2 * 3
    assert done.stdout.count("none failed") == 2 * 3
    assert "3 used" not in done.stdout, "six slices are packed on two GPUs"
