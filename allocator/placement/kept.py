"""Kept: answers about several GPU models together, kept until one of the models is gone.

What concerns one model is kept with its geometry (`Geometry.keep`) and goes with it. An answer about several would keep
all of them, so all such answers are forgotten when the fleet loses a model, which is rare.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_caches: list[Any] = []  # what `lru_cache` makes; its type has no public name


def kept(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """As `functools.lru_cache`, for functions of which some arguments are or hold geometries."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        cached = lru_cache(maxsize=maxsize)(function)
        _caches.append(cached)
        return cached  # type: ignore[return-value]  # the stub of lru_cache wants hashable arguments

    return decorate


def answers() -> int:
    """How many answers are kept now."""
    return sum(cached.cache_info().currsize for cached in _caches)


def forget_all() -> None:
    """Forget all of these answers."""
    for cached in _caches:
        cached.cache_clear()
