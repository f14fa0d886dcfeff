"""Free TCP ports for servers that must come back on the same port. Called by `control_plane`.

Asking the kernel for any port (port 0) gives one of its ephemeral range, from which it also takes the source ports of
outgoing connections. A server that is down for a moment may then find its port taken by a client of its own, which
reconnects in a loop and can even connect to itself. So ports come from below that range.
"""

import contextlib
import random
import socket
from pathlib import Path

from testbed import errors

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000
_TRIES = 1_000


def choose_free(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different TCP ports of `host` that nothing listens on now, none of them ephemeral.

    Raises StartError where no such ports were found.
    """
    highest = int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    if highest - _LOWEST < count:
        raise errors.StartError(f"no room for {count} ports between {_LOWEST} and the ephemeral range at {highest}")
    free: list[int] = []
    with contextlib.ExitStack() as held:
        for _ in range(_TRIES):
            if len(free) == count:
                return free
            port = random.randrange(_LOWEST, highest)  # two control planes starting at once should not meet
            if port in free:  # SO_REUSEADDR would let it be bound twice
                continue
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                free.append(port)
    raise errors.StartError(f"found {len(free)} free ports of {count} on {host} in {_TRIES} tries")
