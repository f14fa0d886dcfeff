"""Makes pods of pod templates, with names, labels and owners as controllers give them. Used by work."""

import copy
import json
import random
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields
from simulator.workloads.fields import FieldPlace

_SAFE_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes makes random names of these: no word comes out of them
_MAX_GENERATED = 58  # a generated name's beginning is cut to this, so that with five more letters it is a label


@dataclass(frozen=True, slots=True)
class Controller:
    """The object a pod is made for."""

    api_version: str
    kind: str
    name: str
    namespace: str
    uid: str

    def reference(self) -> Document:
        """The entry of a pod's ownerReferences."""
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(slots=True)
class NameGenerator:
    """Random parts of names and UIDs of owners; the same ones again for the same seed."""

    seed: int = 0
    _random: random.Random = field(init=False)
    _given: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def suffixed(self, stem: str) -> str:
        """The stem, a dash and five random letters; never the same name twice, as a controller tries another one."""
        while True:
            name = f"{stem[:_MAX_GENERATED].rstrip('-')}-{''.join(self._random.choices(_SAFE_LETTERS, k=5))}"
            if name not in self._given:
                self._given.add(name)
                return name

    def uid(self) -> str:
        """A UID for an owner that exists only in its pods."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def template_hash(template: Mapping[str, Any]) -> str:
    """Up to ten letters that tell templates apart, as in the name of a Deployment's ReplicaSet."""
    digest = zlib.crc32(json.dumps(template, sort_keys=True, default=str).encode())
    return "".join(_SAFE_LETTERS[ord(digit) % len(_SAFE_LETTERS)] for digit in str(digest))


def pod(
    template: Mapping[str, Any],
    at: FieldPlace,
    *,
    name: str,
    namespace: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: Controller | None = None,
) -> Document:
    """A pod of a template. Raises ManifestError if the template has no containers."""
    meta = fields.mapping(template, "metadata", at)
    spec = fields.mapping(template, "spec", at, required=True)
    check_containers(spec, at / "spec")
    made: Document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**fields.mapping(meta, "labels", at / "metadata"), **(labels or {})},
            "annotations": {**fields.mapping(meta, "annotations", at / "metadata"), **(annotations or {})},
        },
        "spec": copy.deepcopy(spec),
    }
    if owner is not None:
        made["metadata"]["ownerReferences"] = [owner.reference()]
    return made


def check_containers(spec: Mapping[str, Any], at: FieldPlace) -> None:
    """Raise ManifestError for containers that are missing, nameless or have resources that are no mapping."""
    for group in ("containers", "initContainers"):
        for index, container in enumerate(fields.sequence(spec, group, at, required=group == "containers")):
            here = at / group / index
            fields.text(container, "name", here)
            resources = fields.mapping(container, "resources", here)
            for what in ("limits", "requests"):
                fields.mapping(resources, what, here / "resources")
