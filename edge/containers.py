"""From a pod's containers to the core's: what each asks for. Used by the `pods` of either edge, so that both read a pod
the same way.
"""

from collections.abc import Iterable

from allocator import request
from edge import objects


def of(found: Iterable[objects.Container] | None) -> tuple[request.Container, ...]:
    """Containers, or init containers, as the effective-request rule takes them."""
    return tuple(
        request.Container(one.name, quantities(one), restartable=one.restart_policy == "Always") for one in found or ()
    )


def quantities(one: objects.Container) -> dict[str, str | int]:
    """A container's extended resources: limits, which Kubernetes copies into requests, or requests where alone."""
    resources = one.resources
    return {} if resources is None else {**(resources.requests or {}), **(resources.limits or {})}
