"""Backoff: places where a step failed lately, left alone for a while. Filled by executor, read by reconciler."""

from collections.abc import Callable, Mapping

from allocator.mig.profile import GpuPlacement
from node_agent.slices.steps import Action, Step


class Backoff:
    """Until when each place is left alone. Its mappings are replaced, never changed: an observation refers to one."""

    def __init__(self, retry_s: float, clock: Callable[[], float]) -> None:
        self._retry_s = retry_s
        self._clock = clock
        self.stuck: Mapping[GpuPlacement, float] = {}  # what stands there could not be destroyed
        self._deferred: Mapping[GpuPlacement, float] = {}  # nothing could be cut there

    def failed(self, step: Step) -> None:
        """A step could not be done."""
        until = self._clock() + self._retry_s
        if step.action in (Action.DESTROY, Action.UNDO):
            self.stuck = {**self.stuck, step.place: until}
        else:
            self._deferred = {**self._deferred, step.place: until}

    def defers(self, place: GpuPlacement) -> bool:
        """Whether nothing is to be cut there yet."""
        return self._deferred.get(place, 0.0) > self._clock()

    def prune(self) -> None:
        """Forget what is over."""
        now = self._clock()
        self.stuck = _lasting(self.stuck, now)
        self._deferred = _lasting(self._deferred, now)


def _lasting(places: Mapping[GpuPlacement, float], now: float) -> Mapping[GpuPlacement, float]:
    if all(until > now for until in places.values()):
        return places
    return {place: until for place, until in places.items() if until > now}
