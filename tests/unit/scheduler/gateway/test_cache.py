"""The gateway's cache: an answer is made once for all who ask, and old ones do not fill the memory."""

import asyncio

import pytest

from scheduler.gateway.cache import Answer, Cache


class Maker:
    """Makes numbered answers of a size, and counts them."""

    def __init__(self, size: int = 10) -> None:
        self.made = 0
        self._size = size

    async def __call__(self) -> Answer:
        """The next answer."""
        await asyncio.sleep(0)
        self.made += 1
        return Answer(200, (), (str(self.made).encode().ljust(self._size),))


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


async def test_an_answer_is_made_once_in_its_lifetime() -> None:
    """All who ask within the lifetime get one answer; after it there is another, and each path has its own."""
    clock, maker = Clock(), Maker()
    cache = Cache(clock=clock)
    answers = await asyncio.gather(*(cache.get("/a", maker, 1.0) for _ in range(100)))
    assert (len(set(map(id, answers))), maker.made) == (1, 1)
    clock.now += 0.9
    assert await cache.get("/a", maker, 1.0) is answers[0]
    clock.now += 0.2
    assert await cache.get("/a", maker, 1.0) is not answers[0]
    await cache.get("/b", maker, 1.0)
    assert maker.made == 3


async def test_a_client_that_leaves_does_not_end_it_for_the_others() -> None:
    """The first asker's leaving does not cancel what others wait for."""
    maker = Maker()
    cache = Cache()
    first = asyncio.create_task(cache.get("/a", maker))
    second = asyncio.create_task(cache.get("/a", maker))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status == 200
    assert maker.made == 1


async def test_slow_readers_cannot_fill_the_memory() -> None:
    """While answers that are still read take more than there is room for, the youngest is given out beyond its time."""
    clock, maker = Clock(), Maker(size=60)
    cache = Cache(most_bytes=100, clock=clock)
    read = []
    for _ in range(10):
        read.append(await cache.get("/a", maker, 1.0))
        clock.now += 2
    assert maker.made == 2
    read.clear()
    await cache.get("/a", maker, 1.0)
    assert maker.made == 3


async def test_small_answers_are_never_old() -> None:
    """Probes are answered anew whatever slow readers keep alive."""
    clock = Clock()
    cache = Cache(most_bytes=100_000, clock=clock)
    kept = [await cache.get(f"/{number}", Maker(size=60_000)) for number in range(2)]
    probe = Maker(size=10)
    await cache.get("/readyz", probe)
    clock.now += 2
    await cache.get("/readyz", probe)
    assert (probe.made, len(kept)) == (2, 2)


async def test_what_fails_is_asked_again() -> None:
    """A failure reaches those who wait, and the next one asks anew."""

    async def fail() -> Answer:
        raise OSError("away")

    cache, maker = Cache(), Maker()
    with pytest.raises(OSError, match="away"):
        await cache.get("/a", fail)
    assert (await cache.get("/a", maker)).status == 200
