"""The answers of plan, capacity, repack and simulate as JSON has them: what the commands print and the API sends."""

import json
from typing import Any

import msgspec

from allocator.planning import capacity as capacities
from allocator.planning import plan as plans
from allocator.planning import repack as repacks
from replay import sweep


def plan(*arguments: Any, **options: Any) -> dict[str, Any]:
    """`plan.answer` in plain values."""
    return plain(plans.answer(*arguments, **options))


def capacity(*arguments: Any, **options: Any) -> dict[str, Any]:
    """`capacity.answer` in plain values."""
    return plain(capacities.answer(*arguments, **options))


def repack(*arguments: Any, **options: Any) -> dict[str, Any]:
    """`repack.answer` in plain values."""
    return plain(repacks.answer(*arguments, **options))


def simulate(*arguments: Any, **options: Any) -> dict[str, Any]:
    """`replay.run` in plain values."""
    return plain(sweep.run(*arguments, **options))


def plain(answer: Any) -> dict[str, Any]:
    """An answer as it comes out of JSON."""
    values: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(answer), allow_nan=False))
    return values
