"""Manifests as pods to ask about: what a workload's pods ask for, by kind of pod. Used by `migsched capacity` and
`migsched repack`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from allocator import errors, request
from allocator.eligibility import document
from allocator.eligibility.constraints import PodConstraints
from allocator.planning.repack.types import MAX_SPEC
from cli import slot_map
from kubeclient import containers, objects
from simulator.workloads import expand, manifests
from simulator.workloads.work import LeftOut

_MOST_TOLD = 20  # parts that were left out; more are counted
_PARTS = (  # of a pod's spec, those that say where it may run
    "nodeName",
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
    "resourceClaims",
    "resources",
    "overhead",
    "hostNetwork",
)
_OF_CONTAINER = ("resources", "restartPolicy", "ports")

_Kind = tuple[str, tuple[tuple[str, int], ...], PodConstraints]


def read(file: Path) -> list[dict[str, Any]]:
    """The `requests` of a document: one per workload and kind of pod, as many as it has replicas.

    Any workload that `migsched demo` applies. Pods that ask for no slice are not in them; objects and fields that are
    not understood are told on standard error. Raises InputError naming the file and the field, or if no pod asks for a
    slice.
    """
    expansion = expand.expand(manifests.read(file))
    _tell(expansion.left_out)
    asked: dict[_Kind, dict[str, Any]] = {}
    for pod in expansion.pods:
        profiles = _profiles(pod)
        if profiles:
            owner, spec = slot_map.workload(str(pod["metadata"]["name"])), _spec(pod)
            kind = owner, profiles, document.pod_of(spec)
            asked.setdefault(kind, {"name": owner, "profiles": dict(profiles), "count": 0, "spec": spec})["count"] += 1
    if not asked:
        fix = "no pod of it asks for a slice; write nvidia.com/mig-<profile> into a container's limits"
        raise errors.InputError("manifest", str(file), fix)
    return list(asked.values())


def _tell(left_out: Sequence[LeftOut]) -> None:
    """Name what of the manifests is not in the question."""
    lines = [str(left) for left in left_out[:_MOST_TOLD]]
    if len(left_out) > _MOST_TOLD:
        lines.append(f"{len(left_out) - _MOST_TOLD} more")
    for line in lines:
        print(f"migsched: left out: {line}", file=sys.stderr)  # noqa: T201 - a hint, for people


def _profiles(pod: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    name = f"manifest: pod {pod['metadata']['name']}"
    try:
        spec = msgspec.convert(pod.get("spec") or {}, objects.PodSpec)
        return request.of_containers(containers.of(spec.containers), containers.of(spec.init_containers)).counts
    except (msgspec.ValidationError, errors.RequestError) as error:
        raise errors.InputError(name, "spec", f"cannot be read: {error}") from error


def _spec(pod: dict[str, Any]) -> dict[str, Any]:
    """What of a pod's spec says where it may run: commands and environments may be long, and say nothing of that."""
    whole = pod.get("spec") or {}
    spec = {name: whole[name] for name in _PARTS if name in whole}
    for name in ("containers", "initContainers"):
        if whole.get(name):
            spec[name] = [{part: of[part] for part in _OF_CONTAINER if part in of} for of in whole[name]]
    size = len(msgspec.json.encode(spec))
    if size > MAX_SPEC:
        where = f"manifest: pod {pod['metadata']['name']}: spec"
        raise errors.InputError(where, f"{size} bytes", f"says more about nodes than is read: {MAX_SPEC // 1024} KiB")
    return spec
