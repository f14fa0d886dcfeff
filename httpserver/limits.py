"""ConnectionLimits: the bounds of a server's connections. Chosen by each service, kept by `protocol`."""

from dataclasses import dataclass

HEAD_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, in all and of one address, and how long each may take.

    A connection has `head_s` from its start, or from its last answer, until the next request's head is complete, and
    `call_s` from there until the answer is sent. `head_bytes` bounds the head. The answers of the paths `streams`
    have no end, and `stream_s`: the application bounds the time of their parts.
    """

    total: int
    per_address: int
    head_s: float = 10.0
    call_s: float = 60.0
    head_bytes: int = HEAD_BYTES
    streams: frozenset[str] = frozenset()
    stream_s: float = 3600.0
