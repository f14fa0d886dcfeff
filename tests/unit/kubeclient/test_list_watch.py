"""List + watch: where it goes on, when it lists again, and what it leaves to its caller."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from allocator import errors
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import RELIST_AFTER, ListWatch

Event = Change[str] | Exception
AWAY = errors.UnreachableError("connection refused")
DEADLINE_S = 20


class Scripted:
    """A collection whose n-th watch brings the n-th script and then ends; after the last one a watch stays open."""

    def __init__(self, *watches: Sequence[Event], lists: Sequence[Exception] = ()) -> None:
        self._watches = list(watches)
        self._lists = list(lists)
        self.watched_from: list[str] = []
        self.told: list[str] = []
        self.open = asyncio.Event()

    async def list(self) -> Listing[str]:
        """See Collection. The version of the n-th list is `list-n`."""
        self.told.append("list")
        if self._lists:
            raise self._lists.pop(0)
        return Listing(("a",), f"list-{self.told.count('list')}")

    async def watch(self, resource_version: str) -> AsyncGenerator[Change[str], None]:
        """See Collection."""
        self.watched_from.append(resource_version)
        if not self._watches:
            self.open.set()
            await asyncio.Event().wait()
        for event in self._watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event

    async def replace(self, listing: Listing[str]) -> None:
        """See Collection."""
        self.told.append(f"replace {','.join(listing.items)}")

    def apply(self, change: Change[str]) -> None:
        """See Collection."""
        self.told.append(f"{change.type.value} {change.item}")

    def relisting(self, cause: str) -> None:
        """See Collection."""
        self.told.append(cause)


@asynccontextmanager
async def running(collection: Scripted) -> AsyncIterator[ListWatch[str]]:
    """A list + watch of it, at the end of the script."""
    followed = ListWatch("things", collection, backoff_max_s=0.001)
    task = asyncio.create_task(followed.run())
    async with asyncio.timeout(DEADLINE_S):
        await collection.open.wait()
    yield followed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "last",
    [
        Change(ChangeType.ADDED, "b", "7"),
        Change(ChangeType.DELETED, "b", "7"),
        Change(ChangeType.BOOKMARK, None, "7"),
    ],
    ids=lambda change: change.type.value,
)
async def test_a_watch_that_ends_goes_on_after_the_last_event(last: Change[str]) -> None:
    """The next watch starts at the newest version seen, a bookmark's too, without another list."""
    collection = Scripted([last])
    async with running(collection) as followed:
        assert followed.synced.is_set()
    assert collection.watched_from == ["list-1", "7"]
    assert collection.told.count("list") == 1


async def test_bookmarks_are_not_told() -> None:
    """Only changes of objects reach the collection, in their order."""
    collection = Scripted(
        [
            Change(ChangeType.ADDED, "b", "2"),
            Change(ChangeType.BOOKMARK, None, "3"),
            Change(ChangeType.MODIFIED, "b", "4"),
        ]
    )
    async with running(collection):
        assert collection.told == ["list", "replace a", "ADDED b", "MODIFIED b"]


async def test_a_version_that_is_too_old_is_listed_anew_at_once() -> None:
    """After 410 comes a list, and the watch starts at its version."""
    collection = Scripted([errors.GoneError("too old")])
    async with running(collection):
        assert collection.told == ["list", "replace a", "gone", "list", "replace a"]
    assert collection.watched_from == ["list-1", "list-2"]


@pytest.mark.parametrize(("failures", "causes"), [(RELIST_AFTER - 1, []), (RELIST_AFTER, ["unreachable"])])
async def test_a_version_is_doubted_after_several_failures(failures: int, causes: Sequence[str]) -> None:
    """Fewer failures in a row go on where the watch was; that many mean a new list."""
    collection = Scripted(*[[AWAY]] * failures)
    async with running(collection):
        assert [told for told in collection.told if told in ("gone", "unreachable")] == causes
    assert collection.watched_from[-1] == f"list-{1 + len(causes)}"


async def test_a_watch_that_ends_at_once_with_nothing_is_a_failure() -> None:
    """What cuts every watch off at once is waited out like an absent server, not asked again without a pause."""
    nothing: Sequence[Event] = ()
    collection = Scripted(*[nothing] * RELIST_AFTER)
    async with running(collection):
        assert collection.told == ["list", "replace a", "unreachable", "list", "replace a"]


async def test_failures_with_changes_in_between_are_not_in_a_row() -> None:
    """Connections that break now and then, but bring what happens, are no reason to list anew."""
    something: Sequence[Event] = (Change(ChangeType.BOOKMARK, None, "7"), AWAY)
    collection = Scripted(*[something] * (2 * RELIST_AFTER))
    async with running(collection):
        assert collection.told == ["list", "replace a"]


async def test_a_list_that_fails_is_tried_until_it_succeeds() -> None:
    """Before the first list nothing counts as synced; refusals are waited out like absences."""
    collection = Scripted(lists=[AWAY, errors.RefusedError("403"), AWAY])
    async with running(collection) as followed:
        assert followed.synced.is_set()
    assert collection.told == ["list"] * 4 + ["replace a"]


@pytest.mark.parametrize("broken", ["replace", "apply"])
async def test_what_the_collection_itself_raises_ends_it(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the reader is not mistaken for an absent API server."""
    collection = Scripted([Change(ChangeType.ADDED, "b", "2")])
    fail: Callable[[object], None] = lambda _: [].pop()  # noqa: E731
    monkeypatch.setattr(collection, broken, fail)
    with pytest.raises(IndexError):
        async with asyncio.timeout(DEADLINE_S):
            await ListWatch("things", collection, backoff_max_s=0.001).run()


async def test_a_busy_server_is_not_asked_before_it_says() -> None:
    """HTTP 429 names the time of the next try, which may be longer than any back-off of our own."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    async with running(Scripted([errors.TooManyRequestsError("busy", 0.15)])) as followed:
        assert followed.synced.is_set()
        assert clock() - begun >= 0.1  # a loop's clock may be some milliseconds late
