"""A coordination.k8s.io/v1 Lease, in part: what leader election reads and writes of it. Crosses the port."""

import msgspec

from kubeclient.objects import Meta


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Who holds a lease, as client-go's leader election writes it. Points in time are RFC 3339 in microseconds."""

    holder_identity: str | None = None  # nobody, if empty
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None

    @property
    def holder(self) -> str:
        """The identity of its holder; empty if it has none."""
        return self.holder_identity or ""


class Lease(msgspec.Struct, frozen=True):
    """A Lease. UID and resourceVersion in its metadata are preconditions of a write."""

    metadata: Meta
    spec: LeaseSpec = LeaseSpec()
