"""ClusterDocument: a plan's document about a cluster that exists: its GPUs pinned as they are cut. Called by the
command line.
"""

from collections import Counter
from typing import Any

from allocator import errors
from allocator.claims.snapshot import GpuView
from allocator.claims.snapshot_file import IDLE, Saved
from allocator.mig.catalogue import Catalogue
from allocator.planning.eligible_nodes import open_nodes

_Cut = tuple[tuple[str, int, bool], ...]  # profile, start and whether it is idle


def with_cluster(document: Any, saved: Saved) -> dict[str, Any]:
    """The document with the cluster's GPUs as `pinned`; its `fleet`, unless the document has one, is their models.

    GPUs on nodes that take no pods, and those that cannot be cut, are left out; so are models that a fleet of the
    document does not name. Raises InputError for a document that pins GPUs itself.
    """
    if not isinstance(document, dict) or document.get("pinned"):
        fix = "the cluster's GPUs are pinned; leave it out, or do not ask about a cluster"
        raise errors.InputError("pinned", document.get("pinned") if isinstance(document, dict) else document, fix)
    nodes = open_nodes(saved.snapshot)
    gpus = [gpu for node in nodes for gpu in node.gpus if gpu.catalogue is not None and not gpu.problem]
    widest: dict[str, int] = {}
    for (_, model), number in Counter((gpu.node, gpu.model) for gpu in gpus).items():
        widest[model] = max(widest.get(model, 0), number)
    fleet = document.get("fleet") or [{"model": model, "gpus_per_node": most} for model, most in widest.items()]
    named = {str(entry.get("model")).strip().lower() for entry in fleet if isinstance(entry, dict)}
    cut = Counter((gpu.model, _cut(gpu)) for gpu in gpus if gpu.model.lower() in named)
    pinned = [
        {"model": model, "count": number, "slices": [{"profile": p, "start": s, "idle": i} for p, s, i in slices]}
        for (model, slices), number in cut.items()
    ]
    return {**document, "fleet": fleet, "pinned": pinned}


def catalogues(saved: Saved) -> dict[str, Catalogue]:
    """The cluster's GPU models by name."""
    return {gpu.model: gpu.catalogue for gpu in saved.snapshot.gpus() if gpu.catalogue is not None}


def notes(saved: Saved) -> list[str]:
    """What of the cluster is left out."""
    closed = [node for node in saved.snapshot.nodes if node.closed and node.gpus]
    ill = sum(1 for node in open_nodes(saved.snapshot) for gpu in node.gpus if gpu.problem or gpu.catalogue is None)
    said = list(saved.notes)
    if closed:
        said.append(f"GPUs on nodes that take no pods are left out: {sum(len(node.gpus) for node in closed)}")
    if ill:
        said.append(f"GPUs that cannot be cut are left out: {ill}")
    return said


def _cut(gpu: GpuView) -> _Cut:
    slices = ((o.placement.profile, o.placement.start, o.state == IDLE) for o in gpu.occupants)
    return tuple(sorted(slices, key=lambda slice_: (slice_[1], slice_[0])))
