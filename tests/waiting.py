"""Waiting for what has to happen: by condition and deadline, never by a guessed time."""

import asyncio
from collections.abc import Callable

import pytest

_SECONDS = 30.0


async def eventually(condition: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
    """Wait until a condition holds while everything else runs; fail the test, saying what never came, after a while."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.002)
