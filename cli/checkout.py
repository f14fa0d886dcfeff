"""What needs a checkout of the repository says so: the installed package leaves out what only tests and benchmarks use.

Called by `migsched cluster` and by the benchmarks that start servers, before they import what may not be there.
"""

import importlib.util

from allocator import errors

LEFT_OUT = ("testbed", "simulator.nvml", "benchmarks.servers")  # pyproject.toml keeps them out of the wheel
START_SERVERS = frozenset(  # of the benchmarks
    {"extender", "interference", "crowd", "scheduler", "agent", "sync", "rivals", "moves"}
)


def require(command: str, target: str) -> None:
    """Raise an error that names the make target, if this is an installed package and not a checkout."""
    if any(importlib.util.find_spec(package) is None for package in LEFT_OUT):
        raise errors.MigschedError(
            f"`migsched {command}` works in a checkout of the repository only, "
            f"because the installed package leaves out {', '.join(LEFT_OUT)}; run `{target}` there"
        )


def require_for_benchmarks(*names: str) -> None:
    """Refuse benchmarks that start servers where there are none, before anything is measured."""
    starting = [name for name in names if name in START_SERVERS]
    if len(starting) == 1:
        require(f"bench {starting[0]}", f'make bench ARGS="--only {starting[0]}"')
    elif starting:
        require("bench all", "make bench")
