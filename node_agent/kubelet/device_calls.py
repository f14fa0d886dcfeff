"""DeviceCalls: whether the kubelet is just handing devices out. Shared by backend, which is asked, and loop.

A kubelet that is asked for its PodResources works out anew which devices are free, and may leave out what it is handing
out at that moment: the next pod then gets the same device. Seen with Kubernetes 1.37.2; kubernetes/kubernetes pull
request 137534. So the agent does not ask in between. It lives on the event loop; nothing here blocks.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_S = 0.05  # after an answer: a kubelet notes what it was told within a few milliseconds
LONGEST_S = 1.0  # an answer may take as long as the driver; what ended meanwhile has to be seen too


class DeviceCalls:
    """The kubelet's questions that are being answered: which devices are preferred, and what a container gets."""

    def __init__(self) -> None:
        self._running = 0
        self._answered_at = float("-inf")
        self._changed = asyncio.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """A question is being answered."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._answered_at = asyncio.get_running_loop().time()
            self._changed.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The answer waits for a step, so that the step must not wait for the answer."""
        self._running -= 1
        self._changed.set()
        try:
            yield
        finally:
            self._running += 1

    async def quiet(self) -> None:
        """Until nothing was handed out for QUIET_S, or LONGEST_S have passed."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST_S
        while (remaining := until - loop.time()) > 0:
            rest = self._answered_at + QUIET_S - loop.time()
            if not self._running and rest <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(remaining if self._running else min(rest, remaining)):
                    await self._changed.wait()
            except TimeoutError:
                continue
