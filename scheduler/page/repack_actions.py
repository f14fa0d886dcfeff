"""RepackActions: what people do with Repacks from the page: have one made for a waiting pod, approve it, look at it.

The same objects that `migsched repack --apply` and `approve` write. Who may do so is the lock's to say; here it is
whether it can be done. What is asked twice is done once.
"""

import msgspec

from allocator import errors
from allocator.moves.budgets import MoveBudgets
from allocator.moves.document import RepackMode
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.moves import repack_for_pod
from scheduler.moves.repack_objects import KnownRepack, RepackObjects

MOST_AGAIN = 9  # Repacks for one pod, one after the other, before those that ended are forgotten


class RepackRefusedError(errors.MigschedError):
    """It cannot be done as things are: a setting is off, the pod does not wait, or another has the name by now."""


class NoSuchRepackError(errors.MigschedError):
    """There is no Repack, or no pod, of this name."""


class MadeRepack(msgspec.Struct, frozen=True):
    """A Repack by name; `created` is false where it was there already."""

    name: str
    created: bool


class RepackActions:
    """For one service. `repacks` are None where they are not carried out (setting `moves`)."""

    def __init__(self, state: ClusterCache, cluster: Cluster, repacks: RepackObjects | None) -> None:
        self._state = state
        self._cluster = cluster
        self._repacks = repacks

    async def make(self, pod: str, mode: RepackMode) -> MadeRepack:
        """Have a Repack made for a waiting pod, by `namespace/name` or UID.

        Raises RepackRefusedError, NoSuchRepackError, and ClusterErrors.
        """
        known = self._known()
        queued = self._queued(pod)
        spec = repack_for_pod.encoded(repack_for_pod.spec(queued, mode, MoveBudgets()))
        first = repack_for_pod.name(queued.uid)
        by_name = {repack.name: repack for repack in known}
        for name in (first, *(f"{first}-{number}" for number in range(2, MOST_AGAIN + 1))):
            there = by_name.get(name)
            if there is not None and not there.has_ended:
                return MadeRepack(name, created=False)
            if there is None:
                try:
                    await self._cluster.create_repack(name, spec)
                except errors.ConflictError:  # made a moment ago, and not seen yet
                    return MadeRepack(name, created=False)
                return MadeRepack(name, created=True)
        raise RepackRefusedError(f"{MOST_AGAIN} Repacks for {queued.title} have ended; they are forgotten in an hour")

    async def approve(self, name: str, uid: str = "") -> KnownRepack:
        """Let one be carried out; with `uid` only the one that was looked at.

        Raises RepackRefusedError, NoSuchRepackError, and ClusterErrors.
        """
        repack = self.get(name)
        if uid and uid != repack.uid:
            raise RepackRefusedError(f"Repack {name} is another by now; look at it again")
        if repack.spec is None:
            raise RepackRefusedError(f"Repack {name} cannot be read: {repack.problem}")
        if repack.spec.mode is not RepackMode.APPROVE:
            raise RepackRefusedError(f"Repack {name} is of mode {repack.spec.mode.value}: only Approve is approved")
        if repack.has_ended:
            raise RepackRefusedError(f"Repack {name} has ended: {repack.status.phase.value}")
        if not repack.spec.approved:
            try:
                await self._cluster.approve_repack(name, repack.uid)
            except errors.ConflictError as error:
                raise RepackRefusedError(f"Repack {name} is another by now; look at it again") from error
            except errors.NotFoundError as error:
                raise NoSuchRepackError(f"there is no Repack {name} any more") from error
        return repack

    def get(self, name: str) -> KnownRepack:
        """One of them. Raises RepackRefusedError and NoSuchRepackError."""
        found = next((repack for repack in self._known() if repack.name == name), None)
        if found is None:
            raise NoSuchRepackError(f"there is no Repack {name[:120]!r}")
        return found

    def _known(self) -> RepackObjects:
        if self._repacks is None:
            raise RepackRefusedError("Repacks are not carried out here: set moves: true (deploy/options/moves)")
        return self._repacks

    def _queued(self, pod: str) -> QueuedPod:
        found = self._state.queue.get(pod) or next(
            (queued for queued in self._state.queue if queued.title == pod), None
        )
        if found is None:
            raise NoSuchRepackError(f"pod {pod[:320]!r} is not in migsched's queue: it has a place, or is no MIG pod")
        if found.state is not QueueState.QUEUED:
            raise RepackRefusedError(f"pod {found.title} does not wait: it is {found.state.value}")
        if found.problem or not found.request:
            raise RepackRefusedError(f"no room helps pod {found.title}: {found.problem or 'it asks for no slices'}")
        return found
