"""Reviews: what an API server says of somebody else's token (TokenReview), and of what its user may do
(SubjectAccessReview). Used by what is served with a lock on it.

The account that asks needs to `create` tokenreviews and subjectaccessreviews, and nothing else
(Kubernetes documentation, "Authenticating", "Authorization Overview").
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from allocator import errors
from kubeclient.kube import Connection
from kubeclient.object_reader import DECODER_ERRORS

T = TypeVar("T")

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class User(msgspec.Struct, frozen=True):
    """A user as an API server knows it; what `groups` and `extra` say is part of its rights."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: Mapping[str, tuple[str, ...]] | None = None


class Reviews(Protocol):
    """Whom to ask. Every method raises the ClusterError that fits."""

    async def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        """Whose token it is; None for one that is not valid.

        With `audiences` it has to be made for one of them, otherwise for the API server itself.
        """

    async def may(self, user: User, verb: str, path: str) -> bool:
        """Whether a user has a verb on a path that is no resource's (nonResourceURLs)."""

    async def may_on(self, user: User, verb: str, group: str, resource: str) -> bool:
        """Whether a user has a verb on a resource of an API group, whatever its name and namespace."""

    async def close(self) -> None:
        """Give back connections."""


class _TokenStatus(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: User | None = None
    audiences: tuple[str, ...] | None = None


class _TokenReview(msgspec.Struct, frozen=True):
    status: _TokenStatus = _TokenStatus()


class _AccessStatus(msgspec.Struct, frozen=True):
    allowed: bool = False
    denied: bool = False


class _AccessReview(msgspec.Struct, frozen=True):
    status: _AccessStatus = _AccessStatus()


class ApiServerReviews:
    """`Reviews` over a connection, which goes when this is closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        """POST a TokenReview."""
        spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = (await self._ask(TOKEN_REVIEWS, body, _TokenReview)).status
        if not status.authenticated or status.user is None or not status.user.username:
            return None
        if audiences and not set(audiences) & set(status.audiences or ()):
            return None  # an authenticator that knows no audiences leaves them out: then the token is for anybody
        return status.user

    async def may(self, user: User, verb: str, path: str) -> bool:
        """POST a SubjectAccessReview."""
        return await self._is_allowed(user, {"nonResourceAttributes": {"path": path, "verb": verb}})

    async def may_on(self, user: User, verb: str, group: str, resource: str) -> bool:
        """The same for a resource."""
        asked = {"verb": verb, "group": group, "resource": resource}
        return await self._is_allowed(user, {"resourceAttributes": asked})

    async def _is_allowed(self, user: User, asked: Mapping[str, object]) -> bool:
        spec = {
            "user": user.username,
            "uid": user.uid,
            "groups": user.groups or (),
            "extra": user.extra or {},
            **asked,
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = (await self._ask(ACCESS_REVIEWS, body, _AccessReview)).status
        return status.allowed and not status.denied

    async def close(self) -> None:
        """Give back connections."""
        await self._connection.close()

    async def _ask(self, path: str, body: Mapping[str, object], type_: type[T]) -> T:
        answer = await self._connection.request("POST", path, body=msgspec.json.encode(body))
        try:
            return msgspec.json.decode(answer, type=type_)
        except DECODER_ERRORS as error:
            raise errors.UnreachableError(f"POST {path}: unreadable answer: {error}") from error
