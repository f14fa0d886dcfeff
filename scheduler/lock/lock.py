"""ApiLock: whether a request is admitted, and as whom. Asked by the gateway's guard before a request takes a place.

What cannot be found out is not admitted: while the API server does not answer, callers who are not known get 503.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog

from allocator import errors
from kubeclient.reviews import User
from scheduler.lock import bearer, routes
from scheduler.lock.bearer import TokenError
from scheduler.lock.known_callers import KnownCaller, KnownCallers, LargeUserError, ReviewsBusyError
from scheduler.lock.routes import AskedRight, Asks, PathRight

READER = "migsched-reader"
OPERATOR = "migsched-operator"
_ROLES = {"get": READER, "post": OPERATOR, "create": OPERATOR, "patch": OPERATOR}
_TELLS_RIGHTS = (routes.OVERVIEW, routes.CHANGES)
_AWAY_S, _BUSY_S = 5, 1  # until it is worth asking again
_SERVICE_ACCOUNT = "system:serviceaccount:"
_HOW = "send a bearer token of the cluster: kubectl create token NAME, or that of your kubeconfig"
_log = structlog.get_logger("lock")


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request is answered. `caller` is the user's name, None where it was not asked for.

    `may` is what of the page the user has the rights for, where the answer depends on it.
    """

    caller: str | None = None
    may: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """The request is not answered, and why."""

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiLock:
    """The lock of one server."""

    def __init__(self, callers: KnownCallers, *, open_metrics: bool = False) -> None:
        self._callers = callers
        self._open_metrics = open_metrics
        self._told_away = False

    async def ask(self, method: str, path: str, authorization: Sequence[str], address: str) -> Admitted | RefusedCall:
        """Whether a request is answered. `authorization` are its headers of that name."""
        row = routes.find(path)
        methods = routes.ROUTES.get(row, {})
        asks = methods.get(method, Asks.RIGHT)
        if asks is Asks.NOTHING or (asks is Asks.RIGHT_UNLESS_OPEN and self._open_metrics):
            return Admitted()
        try:
            token = bearer.read(authorization)
        except TokenError as error:
            return _stranger(f"who calls must be known, and of a token {error}")
        try:
            answer = await self._ask(method, row, methods, token, address)
        except ReviewsBusyError as error:
            return RefusedCall(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}; ask again", {"Retry-After": str(_BUSY_S)})
        except LargeUserError as error:
            return RefusedCall(HTTPStatus.FORBIDDEN, str(error))
        except errors.ClusterError as error:
            return self._away(error)
        self._told_away = False
        return answer

    async def _ask(
        self, method: str, row: str, methods: Mapping[str, Asks], token: str, address: str
    ) -> Admitted | RefusedCall:
        caller = await self._callers.find(token, address)
        if caller is None:
            return _stranger("the API server does not take the token for valid: it may have run out, be of another "
                             "cluster or made for another audience")  # fmt: skip
        if not methods:
            return RefusedCall(HTTPStatus.NOT_FOUND, "Not Found")
        if method not in methods:
            return RefusedCall(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", {"Allow": ", ".join(methods)})
        asked = routes.right(method, row)
        if not await self._callers.may(caller, asked):
            return _without_right(caller, asked)
        return Admitted(caller.user.username, await self._rights(caller) if row in _TELLS_RIGHTS else None)

    async def _rights(self, caller: KnownCaller) -> frozenset[str]:
        """What of the page a caller has the rights for."""
        return frozenset(
            [
                name
                for name, asked in routes.MAY.items()
                if all([await self._callers.may(caller, right) for right in asked])
            ]
        )

    def _away(self, error: errors.ClusterError) -> RefusedCall:
        if not self._told_away:  # once, until it answers again: strangers would write our log
            self._told_away = True
            _log.error("tokens cannot be checked", error=str(error), needed="system:auth-delegator's rights")
        away = "tokens cannot be checked now, since the API server does not answer; ask again"
        if isinstance(error, errors.RefusedError):
            away = "tokens cannot be checked, since the API server refuses migsched the question; its log says why"
        return RefusedCall(HTTPStatus.SERVICE_UNAVAILABLE, away, {"Retry-After": str(_AWAY_S)})


def _stranger(why: str) -> RefusedCall:
    challenge = {"WWW-Authenticate": 'Bearer realm="migsched"'}
    return RefusedCall(HTTPStatus.UNAUTHORIZED, f"{why}; {_HOW}", challenge)


def _without_right(caller: KnownCaller, asked: AskedRight) -> RefusedCall:
    role = _ROLES[asked.verb]
    what = asked.path if isinstance(asked, PathRight) else f"{asked.resource}.{asked.group}"
    bind = f"kubectl create clusterrolebinding NAME --clusterrole={role} {_subject(caller.user)}"
    said = f"{caller.user.username!r} may not {asked.verb} {what}; whoever administers the cluster can allow it: {bind}"
    return RefusedCall(HTTPStatus.FORBIDDEN, said)


def _subject(user: User) -> str:
    """The user as kubectl's flag names it."""
    name = user.username
    if name.startswith(_SERVICE_ACCOUNT):
        return f"--serviceaccount={shlex.quote(name.removeprefix(_SERVICE_ACCOUNT))}"
    return f"--user={shlex.quote(name)}"
