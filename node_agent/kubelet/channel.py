"""Unix-socket channels to the kubelet, and its errors as ours. Used by plugins and pod_resources."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc.aio

from allocator import errors

_OPTIONS = (
    ("grpc.default_authority", "localhost"),  # a path is no authority, and Go's server says so
    ("grpc.max_receive_message_length", 16 * 2**20),
    # Otherwise a new channel takes over the failed connection of one that Python has not forgotten yet, and answers
    # with its error instead of connecting again. With Python 3.13 that outlasts a restart of the kubelet.
    ("grpc.use_local_subchannel_pool", 1),
)


class KubeletError(errors.MigschedError):
    """The kubelet did not answer, or refused; names the socket."""


def connection(socket: Path) -> grpc.aio.Channel:
    """A channel to a Unix socket; it connects with the first call."""
    return grpc.aio.insecure_channel(f"unix://{socket}", options=_OPTIONS)


def dial(socket: Path) -> grpc.aio.Channel:
    """A channel to the kubelet. Raises KubeletError without a socket."""
    if not socket.exists():
        raise KubeletError(f"kubelet socket {socket} does not exist")
    return connection(socket)


@contextmanager
def translated(socket: Path) -> Iterator[None]:
    """Raises KubeletError for calls that go wrong in it."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise KubeletError(f"kubelet socket {socket}: {error.code().name}: {error.details()}") from error


@asynccontextmanager
async def connect(socket: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel for one exchange. Raises KubeletError for what goes wrong in it."""
    channel = dial(socket)
    try:
        with translated(socket):
            yield channel
    finally:
        await channel.close()
