"""Outlook: what the planner says of the cluster for the page: room with moves, and remedies for pods that wait.

It asks one question at a time, as one more client who takes turns with all others, and only while somebody looks at the
page. What it knows grows old: it is asked again once something has changed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from allocator import errors
from allocator.planning.capacity.types import CapacityAnswer
from allocator.planning.remedy.types import (
    MovesRemedy,
    NodesRemedy,
    ProfileRemedy,
    Remedy,
    RemedyAnswer,
    RemedyState,
    WaitRemedy,
)
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.scheduling_facts import shown
from scheduler.explain import remedy_question
from scheduler.page.document import OverviewRemedy
from scheduler.planner import tasks
from scheduler.planner.port import Planner, PlannerError, PlannerJob
from scheduler.snapshots import Snapshots

_log = structlog.get_logger("page")
CLIENT = "page"  # as whom the planner is asked
TIME_LIMIT_S = 2.0
CAPACITY_LIMIT_S = 5.0
MOST_GPUS = 1_600  # beyond, a snapshot and a search take longer than anybody looks
MOST_PODS = 20  # the oldest, for whom remedies are looked for
MOST_MOVES = 10  # of a remedy
AGAIN_S = 20.0  # until a question is asked again, if something has changed
MAX_TEXT = 600
NOT_YET = "not looked at yet"


class Outlook:
    """The answers known so far. `look` asks for more."""

    def __init__(
        self,
        state: ClusterCache,
        snapshots: Snapshots,
        planner: Planner,
        *,
        again_s: float = AGAIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._snapshots = snapshots
        self._planner = planner
        self._again_s = again_s
        self._clock = clock
        self._rooms: Mapping[str, tuple[int, str | None]] = {}
        self._why_not = NOT_YET
        self._rooms_asked: tuple[float, int] | None = None  # when, and at which change
        self._remedies: dict[str, OverviewRemedy | None] = {}  # by UID
        self._asked: dict[str, tuple[float, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def with_moves(self, profile: str) -> tuple[int | None, str | None]:
        """How many of a profile could start if all that may be moved were placed again, and what limits the answer."""
        return self._rooms.get(profile, (None, self._why_not))

    def remedy(self, uid: str) -> tuple[OverviewRemedy | None, bool]:
        """The cheapest remedy for a pod that waits, and whether one was looked for."""
        return self._remedies.get(uid), uid in self._remedies

    def look(self, waiting: Sequence[str], change: int) -> None:
        """Ask the next question, if one is due and none is under way. `waiting` are pods by UID, `change` a number that
        is another one once something has changed.
        """
        for uid in self._asked.keys() - set(waiting):
            del self._asked[uid]
            self._remedies.pop(uid, None)
        if self._task is not None and not self._task.done():
            return
        now = self._clock()
        for uid in waiting[:MOST_PODS]:
            if self._is_due(self._asked.get(uid), now, change):
                self._asked[uid] = (now, change)
                self._task = asyncio.create_task(self._ask_remedy(uid), name="page remedy")
                return
        if self._is_due(self._rooms_asked, now, change):
            self._rooms_asked = (now, change)
            self._task = asyncio.create_task(self._ask_rooms(), name="page rooms")

    async def close(self) -> None:
        """Ask nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _is_due(self, asked: tuple[float, int] | None, now: float, change: int) -> bool:
        return asked is None or (change != asked[1] and now - asked[0] >= self._again_s)

    @property
    def _is_large(self) -> bool:
        fleet = self._state.inventory.fleet
        return sum(len(fleet.gpus(node)) for node in fleet.rows) > MOST_GPUS

    async def _ask_rooms(self) -> None:
        if self._is_large:
            self._rooms, self._why_not = {}, f"not looked at: there are more than {MOST_GPUS:,} GPUs"
            return

        async def job() -> PlannerJob:
            return PlannerJob(b"{}", snapshot=await self._snapshots.text(), time_limit_s=CAPACITY_LIMIT_S)

        try:
            answer = msgspec.json.decode(await self._planner.submit(tasks.capacity, job, CLIENT), type=CapacityAnswer)
        except (PlannerError, errors.ClusterError, msgspec.MsgspecError) as error:
            self._rooms, self._why_not = {}, shown(f"not looked at: {error}", MAX_TEXT)
            return
        unproven = "more may be possible: it is not proven that no other way has more room"
        self._rooms = {
            name: (room.after_repack, None if room.proven else unproven) for name, room in answer.profiles.items()
        }

    async def _ask_remedy(self, uid: str) -> None:
        pod = self._state.pods.get(uid)
        if pod is None or self._is_large or not pod.request or remedy_question.why_none(self._state, pod):
            return
        request = pod.request

        async def job() -> PlannerJob:
            document = await remedy_question.document(self._state, pod, request, MOST_MOVES)
            snapshot = await self._snapshots.text()
            return PlannerJob(msgspec.json.encode(document), snapshot=snapshot, time_limit_s=TIME_LIMIT_S)

        try:
            answer = msgspec.json.decode(await self._planner.submit(tasks.remedy, job, CLIENT), type=RemedyAnswer)
        except (PlannerError, errors.ClusterError, msgspec.MsgspecError) as error:
            _log.debug("no remedy looked for", pod=f"{pod.namespace}/{pod.name}", error=str(error))
            return
        if uid in self._asked:
            self._remedies[uid] = _shown(answer)


def _shown(answer: RemedyAnswer) -> OverviewRemedy | None:
    if answer.state is RemedyState.FITS:
        return OverviewRemedy("fits", answer.reason)
    if answer.cheapest is None:
        return None
    kind = str(msgspec.to_builtins(answer.cheapest)["kind"])
    moves = [move.pod for move in answer.cheapest.moves] if isinstance(answer.cheapest, MovesRemedy) else []
    return OverviewRemedy(kind, shown(_said(answer.cheapest), MAX_TEXT), moves)


def _said(remedy: Remedy) -> str:
    if isinstance(remedy, WaitRemedy):
        return f"wait until {', '.join(remedy.pods)} on {remedy.node} end, at {remedy.until}"
    if isinstance(remedy, MovesRemedy):
        moves = "; then ".join(f"{move.pod} from {move.from_node} to {move.to_node}" for move in remedy.moves)
        cheaper = "" if remedy.optimal else " (a cheaper way may exist)"
        return f"restart {len(remedy.moves)} elsewhere{cheaper}: {moves}; it then fits on {remedy.node}"
    if isinstance(remedy, ProfileRemedy):
        swaps = ", ".join(f"{swap.count} × {swap.to} instead of {swap.from_}" for swap in remedy.swaps)
        return f"ask for {swaps}, which fits now on {remedy.node}"
    assert isinstance(remedy, NodesRemedy)
    return f"add {remedy.nodes} × a node with {remedy.gpus_per_node} empty GPUs of {remedy.model}"
