"""A service's metrics say which build it is, and what the kernel knows of its process."""

import platform

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from config import build_info
from config.version import version


@pytest.mark.parametrize(
    ("stated", "shown"),
    [("0123abc", "0123abc"), (" \n", "unknown"), ("a" * 100, "a" * 64)],
    ids=["one", "none", "long"],
)
def test_the_build_is_named(monkeypatch: pytest.MonkeyPatch, stated: str, shown: str) -> None:
    """Version and Python are the running ones; the commit is the image's, cut short, or unknown."""
    monkeypatch.setenv("MIGSCHED_COMMIT", stated)
    registry = CollectorRegistry()
    build_info.register(registry)
    labels = {"version": version(), "commit": shown, "python": platform.python_version()}
    assert registry.get_sample_value("migsched_build_info", labels) == 1


def test_the_process_is_measured() -> None:
    """Memory, processor time, file descriptors and the start are those of this process."""
    registry = CollectorRegistry()
    build_info.register(registry)
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"):
        assert (registry.get_sample_value(f"process_{name}") or 0) > 0
    assert b"_created" not in generate_latest(registry)
