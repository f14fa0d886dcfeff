"""Manifests as pods to ask about: what a workload's pods ask for, by kind of pod. Used by `migsched capacity`."""

from pathlib import Path
from typing import Any

import msgspec

from allocator import errors, request
from cli import slot_map
from kubeclient import containers, objects
from simulator.workloads import expand, manifests


def read(file: Path) -> list[dict[str, Any]]:
    """The `requests` of a document: one per workload and kind of pod, as many as it has replicas.

    Any workload that `migsched demo` applies. Pods that ask for no slice are left out. Raises InputError naming the
    file and the field, or if no pod asks for a slice.
    """
    expansion = expand.expand(manifests.read(file))
    counts: dict[tuple[str, tuple[tuple[str, int], ...]], int] = {}
    for pod in expansion.pods:
        asked = _profiles(pod)
        if asked:
            owner = slot_map.workload(str(pod["metadata"]["name"]))
            counts[owner, asked] = counts.get((owner, asked), 0) + 1
    if not counts:
        fix = "no pod of it asks for a slice; write nvidia.com/mig-<profile> into a container's limits"
        raise errors.InputError("manifest", str(file), fix)
    return [{"name": name, "profiles": dict(asked), "count": count} for (name, asked), count in counts.items()]


def _profiles(pod: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    name = f"manifest: pod {pod['metadata']['name']}"
    try:
        spec = msgspec.convert(pod.get("spec") or {}, objects.PodSpec)
        return request.of_containers(containers.of(spec.containers), containers.of(spec.init_containers)).counts
    except (msgspec.ValidationError, errors.RequestError) as error:
        raise errors.InputError(name, "spec", f"cannot be read: {error}") from error
