"""MemoryReviews: what an API server would say of tokens and rights, from tables in memory. Set by tests.

The rules are RBAC's for paths that are no resource's: a role's path is exact, or a prefix that ends in `*`
(Kubernetes documentation, "Using RBAC Authorization").
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kubeclient.reviews import User
from simulator.cluster.memory_cluster.faults import ApiFaults

API_SERVER = "https://kubernetes.default.svc"  # whom tokens are for that name no audience


@dataclass(frozen=True, slots=True)
class _Token:
    user: User
    audience: str


class MemoryReviews:
    """`kubeclient.reviews.Reviews` in memory. `faults` says what goes wrong; `asked` counts reviews of both kinds."""

    def __init__(self) -> None:
        self.faults = ApiFaults()
        self.asked = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._tokens: dict[str, _Token] = {}
        self._rights: set[tuple[str, str, str]] = set()  # user or group, verb, path
        self._on_resources: set[tuple[str, str, str, str]] = set()  # user or group, verb, API group, resource

    def give_token(self, token: str, user: User, audience: str = API_SERVER) -> None:
        """Let a token be a user's."""
        self._tokens[token] = _Token(user, audience)

    def take_token(self, token: str) -> None:
        """Let a token be nobody's."""
        del self._tokens[token]

    def grant(self, subject: str, verb: str, path: str) -> None:
        """Give a user or a group a verb on a path."""
        self._rights.add((subject, verb, path))

    async def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        """Whose token it is."""
        async with self._counted("tokenreviews"):
            known = self._tokens.get(token)
            if known is None or known.audience not in (audiences or (API_SERVER,)):
                return None
            return known.user

    async def may(self, user: User, verb: str, path: str) -> bool:
        """Whether a user, or a group of the user, has the verb on the path."""
        async with self._counted("subjectaccessreviews"):
            subjects = {user.username, *(user.groups or ())}
            return any(
                subject in subjects and verb == granted and _covers(rule, path)
                for subject, granted, rule in self._rights
            )

    def grant_on(self, subject: str, verb: str, group: str, resource: str) -> None:
        """Give a user or a group a verb on a resource of an API group."""
        self._on_resources.add((subject, verb, group, resource))

    async def may_on(self, user: User, verb: str, group: str, resource: str) -> bool:
        """Whether a user, or a group of the user, has the verb on the resource."""
        async with self._counted("subjectaccessreviews"):
            subjects = {user.username, *(user.groups or ())}
            return any((subject, verb, group, resource) in self._on_resources for subject in subjects)

    async def close(self) -> None:
        """Nothing is open."""

    @contextlib.asynccontextmanager
    async def _counted(self, plural: str) -> AsyncIterator[None]:
        self.asked += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with self.faults.around("create", plural):
                yield
        finally:
            self.in_flight -= 1


def _covers(rule: str, path: str) -> bool:
    return path.startswith(rule[:-1]) if rule.endswith("*") else path == rule
