"""GatewayLimits: what the API's clients may take. Made from the settings, given to the gateway's process as JSON."""

import msgspec

from httpserver.limits import ConnectionLimits
from scheduler.lock import routes

NICE = 5  # below the extender, and far above the planner: the kubelet's probes are answered here
BODY_S = 30.0  # until a request's body is there
SEND_S = 30.0  # until an answer is taken


class GatewayLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bounds of calls. `answer_s` is the longest that the service takes for an answer.

    `hosts` are the names under which the API is reached; see `origin`.
    """

    hosts: tuple[str, ...] = ()
    connections: int = 256
    calls: int = 32
    body_bytes: int = 2**20
    answer_s: float = 60.0
    body_s: float = BODY_S
    send_s: float = SEND_S
    head_s: float = 10.0
    memory_mib: int = 384
    streams: int = 64

    @property
    def calls_of_one(self) -> int:
        """Calls of one address at once: a quarter, so that one client leaves room for three others."""
        return max(1, self.calls // 4)

    @property
    def streams_of_one(self) -> int:
        """Streams of one client at once."""
        return max(1, self.streams // 4)

    def of_connections(self) -> ConnectionLimits:
        """What bounds the connections. The time of a call is that of its parts, and of waiting for its turn."""
        return ConnectionLimits(
            total=self.connections,
            per_address=max(1, self.connections // 4),
            head_s=self.head_s,
            call_s=self.body_s + self.answer_s + self.send_s + 10,
            streams=frozenset({routes.CHANGES}),
        )
