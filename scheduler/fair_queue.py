"""FairQueue: which question is next, in turn among the clients that ask. Of the planner's pool, and of token reviews.

Clients take turns, however many questions each of them has waiting. Where the queue is full, a client that has fewer in
it gets a place of the client that has the most: nobody keeps others out by asking a lot.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

Refuse = Callable[[int], Exception]  # from the number of questions that wait


class FairQueue:
    """Places for questions in work, and a bounded number that wait for one.

    `changed` is called when another client begins or ceases to wait.
    """

    def __init__(self, places: int, most_waiting: int, refuse: Refuse, changed: Callable[[], None]) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._refuse = refuse
        self._changed = changed
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next client first

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return sum(map(len, self._waiting.values()))

    def others_wait(self, client: str) -> bool:
        """Whether a question of another client waits."""
        return any(other != client for other in self._waiting)

    async def enter(self, client: str) -> None:
        """Take a place when it is this client's turn. Raises what `refuse` makes where it cannot even wait."""
        if self._free > 0:
            self._free -= 1
            return
        if self.waiting >= self._most_waiting:
            self._make_room(client)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._changed()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # it had just got a place
            else:
                self._forget(client, turn)
            raise

    def leave(self) -> None:
        """Give the place to the next client's first question, or back."""
        if not self._waiting:
            self._free += 1
            return
        client, turns = next(iter(self._waiting.items()))
        turn = turns.popleft()
        if turns:
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        turn.set_result(None)
        self._changed()

    def _make_room(self, client: str) -> None:
        """Refuse the last question of the client that has the most, if it has two more than this one."""
        own = len(self._waiting.get(client, ()))
        fullest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=client)
        turns = self._waiting.get(fullest, deque())
        if len(turns) < own + 2:
            raise self._refuse(self.waiting)
        turns.pop().set_exception(self._refuse(self.waiting))

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(client)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[client]
            self._changed()
