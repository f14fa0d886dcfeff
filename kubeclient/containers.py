"""From a pod's containers to the core's: what each asks for. Used by the `pods` of either edge, so that both read a pod
the same way.
"""

from collections.abc import Iterable

from allocator import request
from allocator.mig import profile
from kubeclient import objects

_NONE = ("0", 0)  # as the API server writes it


def of(containers: Iterable[objects.Container] | None) -> tuple[request.ContainerRequest, ...]:
    """Containers, or init containers, as the effective-request rule takes them."""
    return tuple(
        request.ContainerRequest(
            container.name, quantities(container), restartable=container.restart_policy == "Always"
        )
        for container in containers or ()
    )


def quantities(container: objects.Container) -> dict[str, str | int]:
    """A container's MIG resources, well-formed or not: limits, which Kubernetes copies into requests, or requests where
    alone. Others are left out, and so is what is asked for 0 times: a container may have thousands of either.
    """
    resources = container.resources
    if resources is None:
        return {}
    named = {**(resources.requests or {}), **(resources.limits or {})}
    return {
        name: quantity for name, quantity in named.items() if quantity not in _NONE and profile.is_mig_resource(name)
    }
