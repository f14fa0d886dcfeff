"""What the API server does to documents before it stores them: defaults, checks, merge patches. Used by server.

Only what the rest of the simulator relies on, or would otherwise get wrong unnoticed: names, resource quantities, the
fields that cannot change. Every refusal is a RefusedError, as HTTP 422 is.
"""

import copy
import re
from typing import Any

from allocator import errors
from kubeclient.objects import TERMINAL_PHASES
from simulator.cluster import api, quantity
from simulator.cluster.api import Document

DEFAULT_GRACE_SECONDS = 30
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME = 253
_KEPT_METADATA = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_CHANGEABLE_SPEC = frozenset(
    {"schedulingGates", "tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds"}
)


def new(kind: api.ResourceKind, document: Document, suffix: str) -> Document:
    """A copy of a document to be created, checked and with defaults; `suffix` completes a generated name."""
    made: Document = copy.deepcopy(document)
    stated = (made.setdefault("apiVersion", kind.api_version), made.setdefault("kind", kind.name))
    if stated != (kind.api_version, kind.name):
        raise errors.RefusedError(f"{'/'.join(stated)}: this is not a {kind.api_version} {kind.name}")
    meta = made.setdefault("metadata", {})
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = f"{meta['generateName']}{suffix}"
    if kind.namespaced:
        meta.setdefault("namespace", "default")
    for field in ("name", "namespace") if kind.namespaced else ("name",):
        _check_name(kind, field, meta.get(field))
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"):
        meta.pop(field, None)
    if kind is api.POD:
        _default_pod(made)
    elif kind in (api.MIG_NODE, api.REPACK):
        made.pop("status", None)
    return made


def merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386) applied; shares what it leaves alone with `before`."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    after = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = merged(after.get(key), value)
    return after


def patched(kind: api.ResourceKind, before: Document, patch: Document) -> Document:
    """The document after a patch of everything but its status. Raises ConflictError, RefusedError."""
    meta = patch.get("metadata") or {}
    title = f"{kind.plural} {api.key_of(before)}"
    version = meta.get("resourceVersion")
    if version not in (None, before["metadata"]["resourceVersion"]):
        raise errors.ConflictError(f"{title}: the object has been modified (it is not at version {version} any more)")
    if meta.get("uid") not in (None, before["metadata"]["uid"]):
        raise errors.RefusedError(f"{title}: metadata.uid: field is immutable")
    after: Document = merged(before, {key: value for key, value in patch.items() if key != "status"})
    after["metadata"] = {k: v for k, v in after["metadata"].items() if k not in _KEPT_METADATA} | {
        k: before["metadata"][k] for k in _KEPT_METADATA if k in before["metadata"]
    }
    if kind is api.POD:
        _check_pod_change(title, before["spec"], after["spec"])
    return after


def with_condition(status: Document, condition: Document) -> Document:
    """A status with one condition set, others left."""
    others = [c for c in status.get("conditions", ()) if c["type"] != condition["type"]]
    return {**status, "conditions": [*others, condition]}


def grace_seconds(pod: Document, requested: int | None) -> int:
    """How long a pod that is deleted stays: a pod on no node, or over already, goes at once."""
    over = pod["status"].get("phase") in TERMINAL_PHASES
    if over or not pod["spec"].get("nodeName"):
        return 0
    own = pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    return int(own if requested is None else requested)


def _check_name(kind: api.ResourceKind, field: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > _MAX_NAME or _SUBDOMAIN.fullmatch(value) is None:
        raise errors.RefusedError(
            f"{kind.name}: metadata.{field}: {str(value)[:80]!r}: must be a lower-case RFC 1123 subdomain"
        )


def _default_pod(pod: Document) -> None:
    spec = pod.setdefault("spec", {})
    containers = spec.get("containers")
    title = f"Pod {pod['metadata']['name']}"
    if not isinstance(containers, list) or not containers:
        raise errors.RefusedError(f"{title}: spec.containers: must be a list of at least one")
    names = [container.get("name") for container in (*containers, *(spec.get("initContainers") or ()))]
    if len(set(names)) != len(names) or not all(names):
        raise errors.RefusedError(f"{title}: spec.containers: names {names} must be distinct and not empty")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    for container in (*containers, *(spec.get("initContainers") or ())):
        _default_resources(container.setdefault("resources", {}), f"{title}: container {container['name']}")
    pod["status"] = {"phase": "Pending"}
    if spec.get("schedulingGates"):
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
        pod["status"] = with_condition(pod["status"], gated)


def _default_resources(resources: Document, where: str) -> None:
    """Requests default to limits; extended resources are whole, not negative, and the same in both."""
    limits = resources.get("limits") or {}
    requests = limits | (resources.get("requests") or {})
    for name, amount in (*limits.items(), *requests.items()):
        field = f"{where}: resources: {name}"
        try:
            number = quantity.parse(amount, field)
        except errors.InputError as error:
            raise errors.RefusedError(str(error)) from error
        if number < 0:
            raise errors.RefusedError(f"{field}: {amount}: must be 0 or more")
        if quantity.is_extended(name) and number != int(number):
            raise errors.RefusedError(f"{field}: {amount}: must be a whole number")
        if quantity.is_extended(name) and str(limits.get(name)) != str(requests[name]):
            raise errors.RefusedError(f"{field}: {amount}: the limit of an extended resource must equal its request")
    if requests:
        resources["requests"] = requests


def _check_pod_change(title: str, before: Document, after: Document) -> None:
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    if changed - _CHANGEABLE_SPEC:
        raise errors.RefusedError(f"{title}: spec: {', '.join(sorted(changed))} may not be changed")
    added = [g for g in after.get("schedulingGates") or () if g not in (before.get("schedulingGates") or ())]
    if added:
        raise errors.RefusedError(f"{title}: spec.schedulingGates: gates can only be removed")
