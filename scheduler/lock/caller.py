"""The caller's name on its way from the lock to the API's routes: the user's if there is a lock, else the address.

It is in the ASGI scope; between the gateway's process and the service it is a header of the private socket, which no
client reaches.
"""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "X-Migsched-Caller"
_KEY = "migsched.caller"
_MAY = "migsched.may"
_MOST = 256  # characters of a name that is passed on as it is


def put(scope: Scope, name: str) -> None:
    """Say who calls."""
    scope[_KEY] = name


def of(scope: Mapping[str, Any]) -> str:
    """Who calls; the client's address where nobody has said."""
    name: str | None = scope.get(_KEY)
    if name is not None:
        return name
    client = scope.get("client")
    return client[0] if client else ""


def put_may(scope: Scope, may: frozenset[str]) -> None:
    """Say what of the page the caller has the rights for."""
    scope[_MAY] = may


def may_of(scope: Mapping[str, Any]) -> frozenset[str] | None:
    """What of the page the caller has the rights for; None where nobody asks for rights."""
    may: frozenset[str] | None = scope.get(_MAY)
    return may


def encoded(scope: Scope) -> str:
    """Who calls, as the header says it: a long name by its digest."""
    name = of(scope)
    if len(name) > _MOST:
        name = f"sha256:{hashlib.sha256(name.encode(errors='replace')).hexdigest()}"
    return quote(name, safe=":@/", errors="replace")


class NamedByGateway:
    """An application on the private socket, whose caller the gateway names."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the name."""
        if scope["type"] == "http":
            name = Headers(scope=scope).get(HEADER)
            if name is not None:
                put(scope, name)
        await self._application(scope, receive, send)
