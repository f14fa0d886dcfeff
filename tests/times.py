"""Seconds by drawer of a recorded test run: `python -m tests.times FILE` reads what `pytest --junit-xml=FILE` wrote."""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

DRAWERS = ("unit", "property", "contract", "integration", "e2e.real_node", "e2e")  # the longer name first
HOUSE_RULES = "house rules"


def main(file: str) -> None:
    """Print a row for each drawer."""
    times: dict[str, list[float]] = defaultdict(list)
    for case in ET.parse(Path(file)).iter("testcase"):  # our own file
        times[drawer(case.get("classname", ""))].append(float(case.get("time", 0)))
    for name in (*DRAWERS, HOUSE_RULES):
        _print(name, times[name])
    _print("all", [seconds for drawn in times.values() for seconds in drawn])


def drawer(module: str) -> str:
    """The drawer of a test's module."""
    return next((name for name in DRAWERS if module.startswith(f"tests.{name}.")), HOUSE_RULES)


def _print(name: str, seconds: list[float]) -> None:
    print(f"{name:15} {len(seconds):6} cases {sum(seconds):8.1f} s")  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*sys.argv[1:])
