"""Demand: what pods ask for, for policies whose losses follow it (fgd). Fed by `state` with every new pod's request;
`run` is a task of `service`, which makes one only for such a policy.

Looking at the demand and making tables of it happens here, now and then and away from any call; a pod that is seen only
leaves its request in a list.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from allocator.placement import policy
from allocator.placement.demand import Demand
from allocator.placement.fleet import Fleet
from allocator.placement.policy import Policy, Weights
from allocator.request import Request

_log = structlog.get_logger("demand")
_WAITING = 10_000  # slices kept between two looks; of more, the latest


class DemandFollower:
    """Weighs a fleet's policy by what pods asked for lately.

    The profiles are those that the fleet offers. When these change, the average begins again with the requests of the
    pods that are known, which `known` gives.
    """

    def __init__(
        self,
        fleet: Fleet,
        weigh: Callable[[Weights], Policy],
        known: Callable[[], Iterable[Request]],
        interval_s: float,
    ) -> None:
        self._fleet = fleet
        self._weigh = weigh
        self._known = known
        self._interval_s = interval_s
        self._waiting: deque[str] = deque(maxlen=_WAITING)
        self._demand: Demand | None = None
        self._index: dict[str, int] = {}
        self._weights: Weights = ()

    def saw(self, request: Request) -> None:
        """A pod that was not seen before asks for this."""
        self._waiting.extend(slice_.profile for slice_ in request.slots)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()

    async def look(self) -> None:
        """Let the fleet's policy follow the demand as it is now."""
        weights = self._current()
        if weights in ((), self._weights):
            return
        self._weights = weights
        weighed = self._weigh(weights)
        for geometry in self._fleet.geometries:
            policy.tables(weighed, geometry)  # kept there until the fleet asks for them
            await asyncio.sleep(0)
        self._fleet.use(weighed)
        _log.info("demand followed", policy=weighed.name, weights=dict(weights))

    def _current(self) -> Weights:
        profiles = tuple(sorted({name for geometry in self._fleet.geometries for name in geometry.profiles}))
        if not profiles:
            return ()
        fresh: Iterable[str] = tuple(self._waiting)
        self._waiting.clear()
        if self._demand is None or self._demand.profiles != profiles:
            self._demand = Demand(profiles)
            self._index = {name: number for number, name in enumerate(profiles)}
            fresh = (slice_.profile for request in self._known() for slice_ in request.slots)
        for profile in fresh:
            if profile in self._index:
                self._demand.saw(self._index[profile])
        return self._demand.weights()
