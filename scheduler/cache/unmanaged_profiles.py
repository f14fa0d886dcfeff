"""UnmanagedProfiles: says of profiles that kube-scheduler does not ask the extender about them, once each. Asked by
`cluster_cache`.
"""

import structlog

from allocator.claims.report import NodeReport
from scheduler.kube_scheduler_config import managed_resources

_log = structlog.get_logger("state")
MAX_WARNED = 256  # resources; reports may offer ever other ones


class UnmanagedProfiles:
    """What the shipped managedResources lack. Pods that ask for such a profile would be placed blindly."""

    def __init__(self) -> None:
        self._managed = set(managed_resources())
        self._warned = 0

    def look_at(self, report: NodeReport) -> None:
        """Warn of what a report offers and the configuration lacks."""
        offered = {p.resource for gpu in report.gpus if gpu.catalogue is not None for p in gpu.catalogue.profiles}
        for resource in sorted(offered - self._managed)[: MAX_WARNED - self._warned]:
            self._warned += 1
            self._managed.add(resource)
            _log.warning(
                "profile not in the shipped managedResources; add it to kube-scheduler's configuration",
                node=report.node,
                resource=resource,
            )
