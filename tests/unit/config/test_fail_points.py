"""Fail points: what can be armed, when it acts, and that nothing happens otherwise."""

import time
from collections.abc import Iterator

import pytest

from allocator import errors
from config import fail_points


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """No point stays armed after a test."""
    yield
    fail_points.arm({})


def arm(text: str) -> None:
    """Arm what the text says."""
    fail_points.arm({fail_points.VARIABLE: text})


async def test_nothing_happens_where_nothing_is_armed() -> None:
    """Points that are passed unarmed change nothing."""
    fail_points.reach("journal.write")
    await fail_points.pass_by("binder.reserved")
    assert await fail_points.carry("client.answer", b"{}") == b"{}"


async def test_a_point_acts_at_the_pass_that_is_named() -> None:
    """With @3 the third pass fails, and no other one."""
    arm("client.request=fail@3")
    for failing in (False, False, True, False):
        if failing:
            with pytest.raises(OSError, match=r"fail point client\.request"):
                await fail_points.pass_by("client.request")
        else:
            await fail_points.pass_by("client.request")


async def test_damage_never_leaves_bytes_as_they_were() -> None:
    """Each pass of damage gives other bytes than came, whatever their length above one."""
    arm("client.answer=damage")
    for length in range(2, 40):
        content = bytes(range(length))
        assert await fail_points.carry("client.answer", content) != content


def test_a_delay_lasts_as_long_as_it_says() -> None:
    """A thread that passes a delayed point is held for the seconds."""
    arm("journal.written=delay:0.05")
    began = time.monotonic()
    fail_points.reach("journal.written")
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere=kill", "is not a fail point; use one of binder.reserved, "),
        ("binder.bound=fail", "binder.bound takes one of delay, kill"),
        ("binder.bound", "binder.bound takes one of delay, kill"),
        ("journal.write=delay", "write delay:SECONDS, above 0 and at most 60"),
        ("journal.write=delay:nan", "write delay:SECONDS, above 0 and at most 60"),
        ("journal.write=delay:61", "write delay:SECONDS, above 0 and at most 60"),
        ("journal.write=kill:1", "kill takes no seconds"),
        ("journal.write=kill@", "write the number of the pass after @, from 1 on"),
        ("journal.write=kill@0", "write the number of the pass after @, from 1 on"),
        ("journal.write=kill@x", "write the number of the pass after @, from 1 on"),
    ],
)
def test_what_cannot_be_armed_is_refused(text: str, said: str) -> None:
    """A wrong text is refused by name, value and fix, and nothing is armed."""
    with pytest.raises(errors.SettingsError) as refused:
        arm(text)
    assert str(refused.value).startswith("MIGSCHED_FAIL_POINTS: ")
    assert said in str(refused.value)
    fail_points.reach("journal.write")
