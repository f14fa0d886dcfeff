"""Access: what the agent must be allowed to do at the API server, and whether it is. Used by surroundings.

Asked of the API server itself (SelfSubjectAccessReview, which every account may create), so that what is missing is
known before the first call that needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from allocator.claims import contract


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a kind of object, in all namespaces."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        named = "/".join(part for part in (self.resource, self.subresource) if part)
        return f"{self.verb} {named}.{self.group}" if self.group else f"{self.verb} {named}"


# As deploy/rbac/agent grants them.
RIGHTS: tuple[Right, ...] = (
    Right("list", "pods"),
    Right("watch", "pods"),
    Right("get", "nodes"),
    Right("create", contract.PLURAL, contract.GROUP),
    Right("patch", contract.PLURAL, contract.GROUP, "status"),
    Right("create", "events"),
)
LABEL_RIGHTS: tuple[Right, ...] = (Right("list", "nodes"), Right("watch", "nodes"), Right("patch", "nodes"))


class AccessReviewer(Protocol):
    """What is asked. Every method raises the ClusterError that fits."""

    async def serves_mig_nodes(self) -> bool:
        """Whether the CRD of MigNodes is there, in our version."""

    async def may(self, right: Right) -> bool:
        """Whether this account has a right."""


async def missing(access: AccessReviewer, *, labels: bool) -> Sequence[str]:
    """The rights that are missing, in words; with `labels` also those to keep labels. Raises ClusterError."""
    wanted = (*RIGHTS, *LABEL_RIGHTS) if labels else RIGHTS
    return [str(right) for right in wanted if not await access.may(right)]
