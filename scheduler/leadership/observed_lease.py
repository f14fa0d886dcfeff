"""ObservedLease: whether a lease can be taken, judged by when it was seen to change. Pure; used by `elector`.

Clocks of machines differ, so the points in time in a lease are never compared with a clock here. A lease is alive while
its holder changes it: it has run out when it has been seen unchanged for its duration, by one clock, our own. Those who
read it later see the change later, never earlier, so nobody takes it too soon.
"""

import math

from scheduler.cache.lease import LeaseSpec

MAX_DURATION_S = 300.0  # what no replica of ours may exceed, and beyond which a foreign text is not believed


class ObservedLease:
    """What one replica, of this identity, knows of the lease. Points in time are seconds of its own clock."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.spec = LeaseSpec()
        self._changed_at = -math.inf

    def see(self, spec: LeaseSpec, now: float) -> None:
        """The lease as it was read, at the latest, now."""
        if spec != self.spec:
            self.spec = spec
            self._changed_at = now

    @property
    def is_own(self) -> bool:
        """Whether this replica holds it, by what was read last."""
        return self.spec.holder == self.identity

    def may_take(self, now: float) -> bool:
        """Whether it is ours, nobody's, or has run out."""
        if self.is_own or not self.spec.holder:
            return True
        duration_s = self.spec.lease_duration_seconds or 0
        return now >= self._changed_at + min(max(duration_s, 0), MAX_DURATION_S)

    def held(self, stamp: str, duration_s: int) -> LeaseSpec:
        """The lease as it is to be written to take or to renew it; `stamp` is this moment, for people."""
        before = self.spec
        transitions = before.lease_transitions or 0
        if self.is_own:
            return LeaseSpec(self.identity, duration_s, before.acquire_time or stamp, stamp, transitions)
        was_held = before.acquire_time is not None
        return LeaseSpec(self.identity, duration_s, stamp, stamp, transitions + was_held)

    def released(self, stamp: str) -> LeaseSpec:
        """The lease as it is to be written to give it up: whoever reads it may take it at once."""
        return LeaseSpec("", 1, self.spec.acquire_time or stamp, stamp, self.spec.lease_transitions or 0)
