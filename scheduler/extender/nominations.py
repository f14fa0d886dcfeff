"""Pods on their way to a node: offered one by filter, their Binding not here yet.

The extender tells what it offered and asks where other pods are going; the binder tells when a pod has its claim, or
will not get one: from then on the ledger knows better. No node is refused for what is known here: others are ranked by
it, and the next filter call may wait for it. kube-scheduler may never send the Binding, so all of it is forgotten after
a moment (docs/adr/0006).
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allocator.request import Request


@dataclass(frozen=True, slots=True)
class Nomination:
    """A pod that goes to `node`, where its request takes these profiles."""

    node: str
    profiles: tuple[str, ...]
    until: float


class Nominations:
    """The pods on their way, by UID: those whose node is known, and those for which kube-scheduler is choosing one.

    `nomination_ttl_s` is how long the former are remembered, `tie_wait_s` the latter.
    """

    def __init__(self, *, nomination_ttl_s: float, tie_wait_s: float) -> None:
        self._nomination_ttl_s = nomination_ttl_s
        self._tie_wait_s = tie_wait_s
        self._nominated: dict[str, Nomination] = {}
        self._choosing: dict[str, float] = {}  # with when to forget them
        self._chosen = asyncio.Event()  # for those who wait: nobody is being chosen for any more

    def nominate(self, uid: str, request: Request, node: str) -> None:
        """A pod goes to this node."""
        profiles = tuple(slot.profile for slot in request.slots)
        self._nominated[uid] = Nomination(node, profiles, time.monotonic() + self._nomination_ttl_s)

    def choose(self, uid: str) -> None:
        """A pod goes to one of several nodes; its Binding will say to which."""
        self._choosing[uid] = time.monotonic() + self._tie_wait_s
        self._chosen.clear()

    def over(self, uid: str) -> None:
        """A pod has a claim by now, or its Binding was refused."""
        self._nominated.pop(uid, None)
        if self._choosing.pop(uid, None) is not None and not self._choosing:
            self._chosen.set()

    def of_others(self, uid: str) -> Mapping[str, Sequence[Nomination]]:
        """By node, all other pods that go there, the first nominated first; what is older is forgotten."""
        now = time.monotonic()
        for other in [other for other, nomination in self._nominated.items() if nomination.until < now]:
            del self._nominated[other]
        by_node: dict[str, list[Nomination]] = {}
        for other, nomination in self._nominated.items():
            if other != uid:
                by_node.setdefault(nomination.node, []).append(nomination)
        return by_node

    async def chosen(self, uid: str) -> None:
        """Until it is known where the pods before this one go, but no longer than their time.

        kube-scheduler has chosen for them before it asks about the next pod. Its bind call goes out beside the next
        filter call and at times comes in second; then this pod would be shown the room as it was before.
        """
        self.over(uid)  # asked about again, so its last turn came to nothing
        if not self._choosing:
            return
        left_s = max(self._choosing.values()) - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                await self._chosen.wait()
        except TimeoutError:
            self._forget_undecided()

    def _forget_undecided(self) -> None:
        """Pods that got no Binding in their time: it waits for a volume or a permit, or never comes."""
        now = time.monotonic()
        for uid in [uid for uid, until in self._choosing.items() if until <= now]:
            self.over(uid)
