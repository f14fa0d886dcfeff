"""Nominations: the pods that filter has offered a node to and whose Binding is not here yet.

The extender nominates and asks where other pods are going; the binder says when a pod has its claim, or will not get
one: from then on the ledger knows better. No node is refused for what is known here: others are ranked by it, and the
next filter call may wait for it. kube-scheduler may never send the Binding, so all of it is forgotten after a moment
(docs/adr/0006).
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from allocator.request import Request


class _Nomination(NamedTuple):
    """A node that a pod goes to, what it asks for, and when this is forgotten."""

    node: str
    request: Request
    until: float


class Nominations:
    """The pods on their way, by UID: nominated ones, whose node is known, and tied ones.

    A tied pod was offered several equal nodes; kube-scheduler chooses, and the pod's Binding says which. A nomination
    is remembered for `nomination_ttl_s`, a tie for `tie_wait_s`.
    """

    def __init__(self, *, nomination_ttl_s: float, tie_wait_s: float) -> None:
        self._nomination_ttl_s = nomination_ttl_s
        self._tie_wait_s = tie_wait_s
        self._nominated: dict[str, _Nomination] = {}  # the oldest first
        self._tied_until: dict[str, float] = {}
        self._no_ties = asyncio.Event()

    def nominate(self, uid: str, request: Request, node: str) -> None:
        """A pod goes to this node."""
        self._nominated.pop(uid, None)
        self._nominated[uid] = _Nomination(node, request, time.monotonic() + self._nomination_ttl_s)

    def mark_tied(self, uid: str) -> None:
        """A pod goes to one of several equal nodes; its Binding will say to which."""
        self._tied_until[uid] = time.monotonic() + self._tie_wait_s
        self._no_ties.clear()

    def forget(self, uid: str) -> None:
        """A pod has a claim by now, its Binding was refused, or kube-scheduler starts again with it."""
        self._nominated.pop(uid, None)
        if self._tied_until.pop(uid, None) is not None and not self._tied_until:
            self._no_ties.set()

    def incoming(self, uid: str) -> Mapping[str, Sequence[Request]]:
        """By node, what each pod other than this one asks for that goes there, the first nominated first."""
        self._forget_expired()
        by_node: dict[str, list[Request]] = {}
        for other, nomination in self._nominated.items():
            if other != uid:
                by_node.setdefault(nomination.node, []).append(nomination.request)
        return by_node

    async def await_pending_binds(self) -> None:
        """Until it is known where all tied pods go, but no longer than their time.

        kube-scheduler has chosen for them before it asks about the next pod. Its bind call goes out beside the next
        filter call and at times comes in second; then that pod would be shown the room as it was before.
        """
        if not self._tied_until:
            return
        left_s = max(self._tied_until.values()) - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                await self._no_ties.wait()
        except TimeoutError:
            self._forget_late_ties()

    def _forget_expired(self) -> None:
        now = time.monotonic()
        while self._nominated:
            oldest = next(iter(self._nominated))
            if self._nominated[oldest].until >= now:
                return
            del self._nominated[oldest]

    def _forget_late_ties(self) -> None:
        """Pods that got no Binding in their time: it waits for a volume or a permit, or never comes."""
        now = time.monotonic()
        for uid in [uid for uid, until in self._tied_until.items() if until <= now]:
            self.forget(uid)
