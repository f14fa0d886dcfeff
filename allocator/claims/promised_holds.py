"""Promised holds: what a bound pod's placement annotation promises it, as holds on the GPUs that its node reports.

An annotation is anybody's text: it is believed only where it is what the pod asks for and names places that exist.
"""

from collections import Counter
from collections.abc import Sequence

from allocator import errors
from allocator.claims.ledger import Hold
from allocator.claims.placement_annotation import Promise
from allocator.claims.refusal import Refusal
from allocator.claims.report import NodeReport
from allocator.mig import geometry
from allocator.request import Request


def promised_holds(request: Request, promises: Sequence[Promise], report: NodeReport) -> tuple[Hold, ...] | Refusal:
    """The holds that a pod's promises make, free or not; or why they cannot be believed."""
    if Counter(promise.profile for promise in promises) != Counter(dict(request.counts)):
        return Refusal(f"its annotation does not promise what it asks for ({request})")
    gpus = report.by_uuid()
    holds = []
    for promise in promises:
        gpu = gpus.get(promise.gpu)
        if gpu is None or gpu.catalogue is None:
            return Refusal(f"its annotation names GPU {promise.gpu[:80]!r}, which the node does not report")
        try:
            geometry.compiled(gpu.catalogue)
            placement = gpu.catalogue.placement(promise.profile, promise.start)
        except errors.CatalogueError as error:
            return Refusal(str(error))
        holds.append(Hold(promise.container, promise.gpu, placement))
    return tuple(holds)
