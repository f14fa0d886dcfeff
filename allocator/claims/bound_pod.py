"""BoundPod: a pod with its node, and what its placement annotation promises it. Taken over by `inventory`."""

from dataclasses import dataclass

from allocator.claims.placement_annotation import Promise
from allocator.request import Request


@dataclass(frozen=True, slots=True)
class BoundPod:
    """A pod that a node has: what it asks, and what its placement annotation promises."""

    uid: str
    namespace: str
    name: str
    node: str
    request: Request
    promises: tuple[Promise, ...]
