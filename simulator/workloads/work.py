"""Work: one manifest being expanded, and what was left out of it. Handed by expand to the translator of its kind.

What is not understood must not be lost: a translator tells it (`leave_out`), and `FieldTable` finds the fields that it
does not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields, templates
from simulator.workloads.fields import FieldPlace
from simulator.workloads.manifests import Manifest
from simulator.workloads.templates import Controller, NameGenerator

MAX_PODS = 100_000  # of all manifests together


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is not in the pods that were made: an object, or one `field` of it, and why."""

    kind: str
    name: str
    field: str
    why: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.field + ': ' if self.field else ''}{self.why}"


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields of an object: those that are read, those that change no pods, and those that are left out, with why.

    A field in none of them is left out as unknown.
    """

    read: frozenset[str]
    harmless: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def unread(self, parent: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(field, why) of what stands there and is not read, in order."""
        return [
            (name, self.left_out.get(name, "is not known here and not read; it may change pods"))
            for name, value in parent.items()
            if value is not None and name not in self.read and name not in self.harmless
        ]


_POD_SPEC = FieldTable(
    read=frozenset(
        {
            "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "dnsConfig", "dnsPolicy",
            "enableServiceLinks", "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID",
            "hostUsers", "hostname", "hostnameOverride", "imagePullSecrets", "initContainers", "nodeName",
            "nodeSelector", "os", "overhead", "preemptionPolicy", "priority", "priorityClassName", "readinessGates",
            "resourceClaims", "resources", "restartPolicy", "runtimeClassName", "schedulerName", "schedulingGates",
            "securityContext", "serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "shareProcessNamespace",
            "subdomain", "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
            "workloadRef",
        }
    )
)  # fmt: skip
_NOT_JUDGED = "is not looked at here: the pods may be kept apart or together"
# Of a pod template: what decides about pods elsewhere and nothing here looks at. (path of fields, why)
_OF_TEMPLATES: Sequence[tuple[tuple[str, ...], str]] = (
    (("affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution"), _NOT_JUDGED),
    (("affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"), _NOT_JUDGED),
    (("topologySpreadConstraints",), _NOT_JUDGED),
    (("resourceClaims",), "is not looked at here: devices asked for through DRA are missing"),
)


@dataclass(slots=True)
class Work:
    """One manifest being expanded. `nodes` are the cluster's nodes, None where they are not known."""

    manifest: Manifest
    namespace: str
    names: NameGenerator
    nodes: Sequence[Document] | None = None
    _left_out: dict[LeftOut, None] = field(default_factory=dict)
    _looked_at: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.manifest.name

    @property
    def at(self) -> FieldPlace:
        """Where the object stands."""
        return self.manifest.place

    @property
    def spec(self) -> dict[str, Any]:
        """Its spec. Raises ManifestError without one."""
        return fields.mapping(self.manifest.body, "spec", self.at, required=True)

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What is not in the pods, in the order in which it was told."""
        return tuple(self._left_out)

    def leave_out(self, at: FieldPlace | None, why: str) -> None:
        """Tell that the field there, or the whole object, is not in the pods; once."""
        path = at.path if at is not None else ""
        self._left_out[LeftOut(self.manifest.kind, self.name, path, why, str(self.at))] = None

    def check(self, table: FieldTable, parent: Mapping[str, Any], at: FieldPlace) -> None:
        """Leave out what a table does not read of the fields there."""
        for name, why in table.unread(parent):
            self.leave_out(at / name, why)

    def count(self, parent: Mapping[str, Any], name: str, at: FieldPlace, default: int = 1, least: int = 0) -> int:
        """A number of pods, or of groups of pods. Raises ManifestError."""
        return fields.count(parent, name, at, default=default, least=least, most=MAX_PODS)

    def template(self, parent: Mapping[str, Any], at: FieldPlace, name: str = "template") -> dict[str, Any]:
        """A pod template. Raises ManifestError."""
        return fields.mapping(parent, name, at, required=True)

    def owner(self, kind: str, name: str, api_version: str = "") -> Controller:
        """A controller of pods, of the object's own API version or another one."""
        return Controller(api_version or self.manifest.api_version, kind, name, self.namespace, self.names.uid())

    def pod(
        self,
        template: Mapping[str, Any],
        at: FieldPlace,
        *,
        name: str,
        owner: Controller | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Document:
        """A pod of a template. Raises ManifestError if it is none."""
        made = templates.pod(
            template, at, name=name, namespace=self.namespace, labels=labels, annotations=annotations, owner=owner
        )
        if str(at) not in self._looked_at:
            self._looked_at.add(str(at))
            self._look_at(made["spec"], at / "spec")
        return made

    def _look_at(self, spec: Document, at: FieldPlace) -> None:
        self.check(_POD_SPEC, spec, at)
        for path, why in _OF_TEMPLATES:
            value: Any = spec
            here = at
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
                here = here / name
            if value:
                self.leave_out(here, why)
