"""ApiFaults: what can go wrong between a client and the API server, on demand. Held by each client; set by tests.

A fault meets the calls of one verb, once or as often as told: it makes the call fail before the server sees it or after
the server did it (a lost reply), and holds it up until an event. Watches in progress are ended on the server.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from allocator import errors

VERBS = ("create", "get", "list", "watch", "patch", "patch_status", "bind", "nominate", "release", "delete", "evict")


@dataclass(slots=True)
class Fault:
    """One fault: `times` calls of a verb (on a plural, if given) meet it, without `times` every one."""

    verb: str
    plural: str = ""
    error: errors.ClusterError | None = None
    done: bool = False  # the call is done, and only its reply becomes the error
    hold: asyncio.Event | None = None  # the call waits for this first
    times: int | None = 1
    met: int = 0  # calls that met it


class ApiFaults:
    """The faults of one client."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let calls meet a fault, after those added before it. Raises InputError for a verb that there is not."""
        if fault.verb not in VERBS:
            raise errors.InputError("verb of a fault", fault.verb, "use one of " + ", ".join(VERBS))
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Nothing goes wrong any more; calls that are held up stay so until their event."""
        self._faults.clear()

    @contextlib.asynccontextmanager
    async def around(self, verb: str, plural: str) -> AsyncIterator[None]:
        """Do a call inside: it fails as the next fault for it says. Gives way to other tasks before and after."""
        fault = self._next(verb, plural)
        await asyncio.sleep(0)
        if fault is not None and fault.hold is not None:
            await fault.hold.wait()
        if fault is not None and fault.error is not None and not fault.done:
            raise fault.error
        yield
        await asyncio.sleep(0)
        if fault is not None and fault.error is not None:
            raise fault.error

    def _next(self, verb: str, plural: str) -> Fault | None:
        for fault in self._faults:
            if fault.verb == verb and fault.plural in ("", plural):
                fault.met += 1
                if fault.times is not None and fault.met >= fault.times:
                    self._faults.remove(fault)
                return fault
        return None
