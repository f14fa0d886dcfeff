"""What a service says of itself in its metrics: which build it is, and what the kernel knows of its process.

Called once for each registry by the services' `metrics` modules. The commit is the image's to state, by the variable
MIGSCHED_COMMIT: a wheel does not know what it was built from.
"""

import os
import platform

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from config.version import version

COMMIT_VARIABLE = "MIGSCHED_COMMIT"
UNKNOWN = "unknown"
_LONGEST = 64  # a SHA-256 in hexadecimal


def register(registry: CollectorRegistry) -> Gauge:
    """Add `migsched_build_info` and the `process_…` metrics to a registry; the former.

    No series `…_created` are exported beside counters and histograms: nothing here asks for them, and they double what
    Prometheus stores.
    """
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's
    ProcessCollector(registry=registry)
    build = Gauge(
        "migsched_build_info",
        "1; which build this is. `commit` is what the image states in MIGSCHED_COMMIT, or unknown.",
        ["version", "commit", "python"],
        registry=registry,
    )
    build.labels(version(), commit(), platform.python_version()).set(1)
    return build


def commit() -> str:
    """The commit that the image states; `unknown` without one."""
    return os.environ.get(COMMIT_VARIABLE, "").strip()[:_LONGEST] or UNKNOWN
