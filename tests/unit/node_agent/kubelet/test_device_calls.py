"""DeviceCalls: the kubelet's listing is not asked for while it hands devices out."""

import asyncio

import pytest

from node_agent.kubelet.device_calls import LONGEST_S, QUIET_S, DeviceCalls


async def _waited(calls: DeviceCalls) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await calls.quiet()
    return loop.time() - began


async def test_nothing_is_waited_for_where_nothing_is_handed_out() -> None:
    """An idle kubelet is asked at once."""
    assert await _waited(DeviceCalls()) < QUIET_S


async def test_an_answer_is_waited_for_and_what_follows_it() -> None:
    """The listing is asked for only once the kubelet has had the time to note what it was answered."""
    calls = DeviceCalls()
    with calls.running():
        waiting = asyncio.create_task(_waited(calls))
        await asyncio.wait([waiting], timeout=QUIET_S)
        assert not waiting.done()
    assert await waiting >= 2 * QUIET_S - 0.01  # loops may wake a little early


async def test_a_slow_answer_does_not_blind_the_agent() -> None:
    """After LONGEST_S the listing is asked for all the same."""
    calls = DeviceCalls()
    with calls.running():
        assert LONGEST_S - 0.01 <= await _waited(calls) < LONGEST_S + 1.0


async def test_an_answer_that_waits_for_a_step_does_not_hold_it_up() -> None:
    """A step is made while an Allocate waits for just that step."""
    calls = DeviceCalls()
    with calls.running(), calls.waiting():
        assert await _waited(calls) < LONGEST_S / 2


async def test_a_question_that_fails_is_over_too() -> None:
    """An Allocate that is refused is not waited for."""
    calls = DeviceCalls()
    with pytest.raises(ValueError, match="refused"), calls.running():
        raise ValueError("refused")
    assert await _waited(calls) < LONGEST_S / 2
