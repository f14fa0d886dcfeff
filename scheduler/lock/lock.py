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
from scheduler.lock.routes import Asks

READER = "migsched-reader"
OPERATOR = "migsched-operator"
_ROLES = {"get": READER, "post": OPERATOR}
_AWAY_S, _BUSY_S = 5, 1  # until it is worth asking again
_SERVICE_ACCOUNT = "system:serviceaccount:"
_HOW = "send a bearer token of the cluster: kubectl create token NAME, or that of your kubeconfig"
_log = structlog.get_logger("lock")


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request is answered. `caller` is the user's name, None where it was not asked for."""

    caller: str | None = None


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
        methods = routes.ROUTES.get(path, {})
        asks = methods.get(method, Asks.RIGHT)
        if asks is Asks.NOTHING or (asks is Asks.RIGHT_UNLESS_OPEN and self._open_metrics):
            return Admitted()
        try:
            token = bearer.read(authorization)
        except TokenError as error:
            return _stranger(f"who calls must be known, and of a token {error}")
        try:
            answer = await self._ask(method, path, methods, token, address)
        except ReviewsBusyError as error:
            return RefusedCall(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}; ask again", {"Retry-After": str(_BUSY_S)})
        except LargeUserError as error:
            return RefusedCall(HTTPStatus.FORBIDDEN, str(error))
        except errors.ClusterError as error:
            return self._away(error)
        self._told_away = False
        return answer

    async def _ask(
        self, method: str, path: str, methods: Mapping[str, Asks], token: str, address: str
    ) -> Admitted | RefusedCall:
        caller = await self._callers.find(token, address)
        if caller is None:
            return _stranger("the API server does not take the token for valid: it may have run out, be of another "
                             "cluster or made for another audience")  # fmt: skip
        if not methods:
            return RefusedCall(HTTPStatus.NOT_FOUND, "Not Found")
        if method not in methods:
            return RefusedCall(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", {"Allow": ", ".join(methods)})
        verb, named = routes.right(method, path)
        if await self._callers.may(caller, verb, named):
            return Admitted(caller.user.username)
        return _without_right(caller, verb, named)

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


def _without_right(caller: KnownCaller, verb: str, path: str) -> RefusedCall:
    role = _ROLES[verb]
    bind = f"kubectl create clusterrolebinding NAME --clusterrole={role} {_subject(caller.user)}"
    said = f"{caller.user.username!r} may not {verb} {path}; whoever administers the cluster can allow it: {bind}"
    return RefusedCall(HTTPStatus.FORBIDDEN, said)


def _subject(user: User) -> str:
    """The user as kubectl's flag names it."""
    name = user.username
    if name.startswith(_SERVICE_ACCOUNT):
        return f"--serviceaccount={shlex.quote(name.removeprefix(_SERVICE_ACCOUNT))}"
    return f"--user={shlex.quote(name)}"
