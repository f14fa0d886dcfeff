"""StepSignal: asks for a step, and tells when one is done. Shared by loop, which makes the steps, and backend.

It lives on the event loop; nothing here blocks.
"""

import asyncio
import contextlib


class StepSignal:
    """A step can be requested, and waited for."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._done = asyncio.Condition()

    def request(self) -> None:
        """Something changed: step soon."""
        self._requested.set()

    async def wait_for_request(self, timeout_s: float) -> None:
        """Until a step is requested, or the time has passed; the request counts as seen."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._requested.wait()
        self._requested.clear()

    async def done(self) -> None:
        """A step is done."""
        async with self._done:
            self._done.notify_all()

    async def next_step(self, timeout_s: float) -> None:
        """Request a step, and wait until the next one is done or the time has passed."""
        self.request()
        async with self._done:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._done.wait()
