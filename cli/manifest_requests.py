"""Manifests as pods to ask about: what a workload's pods ask for, by kind of pod. Used by `migsched capacity`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from allocator import errors, request
from cli import slot_map
from kubeclient import containers, objects
from simulator.workloads import expand, manifests

_MOST_TOLD = 20  # parts that were left out; more are counted


def read(file: Path, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """The `requests` of a document: one per workload and kind of pod, as many as it has replicas.

    Any workload that `migsched demo` applies. Pods that ask for no slice are not in them; objects and fields that are
    not understood are told. Raises InputError naming the file and the field, or if no pod asks for a slice.
    """
    expansion = expand.expand(manifests.read(file))
    for left in expansion.left_out[:_MOST_TOLD]:
        tell(f"left out: {left}")
    if len(expansion.left_out) > _MOST_TOLD:
        tell(f"left out: {len(expansion.left_out) - _MOST_TOLD} more")
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
