"""Whom `record` follows: asked at its pace, waited for when it is away, given up on in the end."""

from collections.abc import Callable

import pytest

from cli import api_client
from cli.api_client import Reply
from cli.recording import source
from tests.unit.cli.recording import overviews


class Api:
    """An API that answers, or does not, as the test says."""

    where = "test"
    without_token = ""

    def __init__(self, answers: list[bytes | None], tick: Callable[[], None]) -> None:
        self._answers = answers
        self._tick = tick

    def get(self, target: str) -> Reply:
        """The next answer."""
        assert target == source.PATH
        self._tick()
        answer = self._answers.pop(0) if self._answers else None
        if answer is None:
            raise api_client.NoAnswerError("away")
        return Reply(200, answer, api_client.SERVER)


class Time:
    """Time that goes by being waited for."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> float:
        """Seconds."""
        return self.s

    def go(self, seconds: float = 0.1) -> None:
        """Wait."""
        self.s += seconds


def test_a_service_that_comes_back_is_followed_again_and_one_that_does_not_is_given_up() -> None:
    """Gaps of less than a minute are passed over and told once; a longer one ends with the error."""
    time, told = Time(), list[str]()
    answers = [overviews.overview(0), None, None, overviews.overview(1)]
    documents = source.documents(Api(answers, time.go), 1.0, pause=time.go, clock=time.now, told=told.append)
    assert [next(documents).time, next(documents).time] == [overviews.stamp(0), overviews.stamp(1)]
    assert len(told) == 1
    with pytest.raises(api_client.NoAnswerError):
        next(documents)
    assert 60 < time.s < 70


def test_a_service_that_is_away_from_the_beginning_is_not_waited_for() -> None:
    """A wrong address is told at once."""
    time = Time()
    with pytest.raises(api_client.NoAnswerError):
        next(source.documents(Api([], time.go), 1.0, pause=time.go, clock=time.now))
    assert time.s < 1
