"""A request's body, read within a bound. Used by the extender's verbs and the API's routes."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from allocator import errors

DRAINED = 256 * 2**20  # bytes of an oversized body that are read and thrown away before the connection is cut


class BodyTooLargeError(errors.MigschedError):
    """A request body beyond the limit; reading it has stopped. `setting` is what would admit it."""

    def __init__(self, limit: int, setting: str) -> None:
        super().__init__(f"request body: more than {limit} bytes; raise {setting} if it is real")


async def read(receive: Receive, limit: int, *, drained: int = DRAINED, setting: str = "max_body_mib") -> bytes:
    """The body. Raises BodyTooLargeError for a longer one, which is never held in memory; ClientDisconnect.

    What is too long is read on and thrown away, up to `drained` bytes: a client that is cut off while it sends sees a
    reset connection instead of the answer.
    """
    chunks: list[bytes] = []
    length, more = 0, True
    while more and length <= limit + drained:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        length += len(chunk)
        chunks.append(chunk)
        if length > limit:
            chunks.clear()
    if length > limit:
        raise BodyTooLargeError(limit, setting)
    return b"".join(chunks)
