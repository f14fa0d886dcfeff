"""The measurements behind the decisions to make something by hand run, and compare two of a kind."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        ("http-client", ["own", "aiohttp"]),
        ("one-write", ["one", "write", "uvicorn"]),
        ("node-names", ["raw", "decoded"]),
        ("quantities", ["own", "client"]),
    ],
)
def test_a_measurement_compares_two_ways(what: str, kinds: list[str]) -> None:
    """Each prints what either way costs per call, and the ratio."""
    command = [sys.executable, "-m", "benchmarks.hand_made", what, "--rounds", "1", "--calls", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["per", "call", *kinds, "ratio"]
    assert rows
