"""Every error of the layers below the API server's client becomes one of migsched's own."""

import asyncio
import builtins
import socket
import ssl
from collections.abc import Iterator, Mapping
from types import ModuleType

import httptools
import msgspec
import pytest

from allocator import errors
from kubeclient import kube
from kubeclient.http_connection import PARSER_ERRORS


class Failing:
    """An Access that cannot say who calls, for a reason."""

    host = "http://127.0.0.1:1"
    server_name = ""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason

    def ssl_context(self) -> ssl.SSLContext:
        """See Access."""
        return ssl.create_default_context()

    async def headers(self) -> Mapping[str, str]:
        """See Access."""
        raise self.reason

    def refused(self) -> None:
        """See Access."""

    async def close(self) -> None:
        """See Access."""


def exceptions(module: ModuleType, base: type[BaseException]) -> Iterator[type[BaseException]]:
    """The exceptions of a module that are kinds of `base`."""
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, base):
            yield value


NETWORK = sorted(
    {
        *exceptions(builtins, OSError),
        *exceptions(socket, OSError),
        *exceptions(ssl, OSError),
        *exceptions(asyncio, OSError),
    },
    key=lambda error: error.__name__,
)
DECODER = sorted(
    {*exceptions(msgspec, msgspec.MsgspecError), UnicodeDecodeError, RecursionError}, key=lambda error: error.__name__
)


def made(error: type[BaseException]) -> BaseException:
    """An instance of an exception."""
    return error("utf-8", b"\xff", 0, 1, "bad") if error is UnicodeDecodeError else error("why")


def test_the_layers_have_errors() -> None:
    """The search finds the well-known errors of each layer."""
    assert {TimeoutError, ConnectionResetError, socket.gaierror, ssl.SSLError, ssl.SSLCertVerificationError} <= set(
        NETWORK
    )
    assert {msgspec.DecodeError, msgspec.ValidationError} <= set(DECODER)


@pytest.mark.parametrize("error", [*NETWORK, *DECODER], ids=lambda error: error.__name__)
async def test_an_error_of_a_layer_below_is_unreachable(error: type[BaseException]) -> None:
    """Calls, lists and watches turn each of them into UnreachableError, which names it or says what was unreadable."""
    connection = kube.Connection(Failing(made(error)))
    with pytest.raises(errors.UnreachableError, match=f"{error.__name__}|unreadable answer"):
        await connection.request("GET", "/x")
    with pytest.raises(errors.UnreachableError):
        await connection.list("/x", bytes)
    with pytest.raises(errors.UnreachableError):
        _ = [event async for event in connection.watch_raw("/x", "1")]
    await connection.close()


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, ZeroDivisionError])
async def test_what_is_no_error_of_those_layers_passes(error: type[BaseException]) -> None:
    """A cancelled call stays cancelled, and a bug keeps its traceback."""
    connection = kube.Connection(Failing(error()))
    with pytest.raises(error):
        await connection.request("GET", "/x")
    await connection.close()


def test_every_error_of_the_parser_is_the_one_that_is_caught() -> None:
    """HttpConnection catches each exception of the parser."""
    raised = {error for error in vars(httptools).values() if isinstance(error, type) and issubclass(error, Exception)}
    assert len(raised) >= 6
    assert all(issubclass(error, PARSER_ERRORS) for error in raised)
