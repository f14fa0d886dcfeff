"""Connections: the open connections of a server by address, and which of them leaves when there is no room.

A newcomer is admitted in place of a connection that waits for its client, of the address that has the most: silent
clients cannot keep others out, and a probe is answered within milliseconds of its arrival. Of `protocol`.
"""

from typing import Protocol

from httpserver.limits import ConnectionLimits


class AdmittedConnection(Protocol):
    """A connection as far as this goes."""

    @property
    def address(self) -> str:
        """The client's address."""

    @property
    def waits_for_client(self) -> bool:
        """Whether no call is in work on it."""

    def abort(self) -> None:
        """Close it at once; what was not sent is lost."""


class Connections:
    """All connections of one server, those of an address oldest first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._by_address: dict[str, dict[AdmittedConnection, None]] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def admit(self, newcomer: AdmittedConnection) -> bool:
        """Take a connection in, in place of another one if there is no room; False where none can leave."""
        own = self._by_address.get(newcomer.address, {})
        if len(own) >= self._limits.per_address:
            leaving = _oldest_that_waits(own)
        elif self._total >= self._limits.total:
            leaving = next(filter(None, map(_oldest_that_waits, self._by_size())), None)
        else:
            self._add(newcomer)
            return True
        if leaving is None:
            return False
        self.discard(leaving)
        leaving.abort()
        self._add(newcomer)
        return True

    def discard(self, connection: AdmittedConnection) -> None:
        """Forget a connection, if it is known."""
        own = self._by_address.get(connection.address, {})
        if connection in own:
            del own[connection]
            self._total -= 1
            if not own:
                del self._by_address[connection.address]

    def _add(self, connection: AdmittedConnection) -> None:
        self._by_address.setdefault(connection.address, {})[connection] = None
        self._total += 1

    def _by_size(self) -> list[dict[AdmittedConnection, None]]:
        """The connections of each address, the most first."""
        return sorted(self._by_address.values(), key=len, reverse=True)


def _oldest_that_waits(connections: dict[AdmittedConnection, None]) -> AdmittedConnection | None:
    return next((connection for connection in connections if connection.waits_for_client), None)
