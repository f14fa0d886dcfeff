"""From an object's text to what the picture keeps of it: little, since there are tens of thousands. Pure; called by
`reader`.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.claims.report import NodeReport
from allocator.mig import geometry
from allocator.mig.profile import WHOLE_GPU, is_mig_resource
from cli.diagnosis import drivers, objects
from cli.diagnosis.picture import (
    PicturedExtender,
    PicturedGpu,
    PicturedGraph,
    PicturedNode,
    PicturedPod,
    PicturedReport,
)
from config import document_text
from kubeclient import containers
from kubeclient.object_reader import DECODER_ERRORS
from node_agent.cluster import coexistence
from scheduler.admission import gate_rule
from scheduler.cache.port import MigNode

MAX_NEW_CATALOGUES = 16  # of all MigNodes: a catalogue that is not shipped takes most of a second to compile
MAX_CONDITIONS = 8  # of one MigNode
MAX_LABELS = 200  # of a node, of those that we look at
MAX_PINNED = 64
_PREFIXES = ("nvidia.com/", "migsched.io/")
_INTERESTING = (b"nvidia.com/", b"migsched.io/", b"nvidia-device-plugin", b"nvidia-mig-manager", b"migsched")
_CHOOSING = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_HARMLESS = ("void", "all", "none")  # what images and NVIDIA's own manifests say of NVIDIA_VISIBLE_DEVICES
_AGENT = ("app.kubernetes.io/name", "migsched"), ("app.kubernetes.io/component", "agent")
_POD = msgspec.json.Decoder(objects.DiagnosedPod).decode
_CONDITIONS = msgspec.json.Decoder(objects.ConditionsOnly).decode


def is_interesting(text: bytes) -> bool:
    """Whether a pod's text can have to do with GPUs or with us."""
    return any(word in text for word in _INTERESTING)


def pod(text: bytes | msgspec.Raw) -> PicturedPod:
    """What is kept of a pod. Raises one of DECODER_ERRORS."""
    read = _POD(text)
    meta, spec = read.metadata, read.spec
    of_pod = (*spec.containers, *(spec.init_containers or ()))
    labels = meta.labels or {}
    return PicturedPod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=spec.node_name,
        scheduler=spec.scheduler_name,
        asks=any(containers.quantities(container) for container in of_pod),
        uses_gpus=any(containers.quantities(container) or _asks_for_gpu(container) for container in of_pod),
        placed=contract.PLACEMENT_ANNOTATION in (meta.annotations or {}),
        over=read.is_over,
        opted_out=labels.get(gate_rule.LABEL) == gate_rule.OFF,
        variables=tuple(_choosing(of_pod))[:MAX_CONDITIONS],
        pinned=_pinned(spec.affinity),
        rival=coexistence.rival(read) or "",
        agent=all(labels.get(key) == value for key, value in _AGENT),
        ready=any(c.type == "Ready" and c.status == "True" for c in read.status.conditions or ()),
    )


def _asks_for_gpu(container: objects.DiagnosedContainer) -> bool:
    resources = container.resources
    return resources is not None and WHOLE_GPU in (resources.limits or {})


def _choosing(of_pod: Iterable[objects.DiagnosedContainer]) -> Iterator[tuple[str, str, str]]:
    for container in of_pod:
        for env in container.env or ():
            if env.name in _CHOOSING and env.value is not None and env.value not in _HARMLESS:
                yield container.name, env.name, env.value


def _pinned(affinity: dict[str, Any] | None) -> tuple[str, ...]:
    """The nodes that a pod's required affinity names in each of its terms; none where a term names none."""
    required = _inside(affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    names: list[str] = []
    for term in _list(_inside(required, "nodeSelectorTerms")):
        of_term = [name for rule in _list(_inside(term, "matchFields")) for name in _names(rule)]
        if not of_term:
            return ()
        names += of_term
    return tuple(dict.fromkeys(names))[:MAX_PINNED]


def _names(rule: object) -> list[str]:
    if _inside(rule, "key") != "metadata.name" or _inside(rule, "operator") != "In":
        return []
    return [name for name in _list(_inside(rule, "values")) if isinstance(name, str)]


def _inside(value: object, *keys: str) -> Any:
    """What stands below keys; None if anything on the way is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def node(name: str, labels: dict[str, str] | None) -> PicturedNode:
    """What is kept of a Node."""
    ours = [(key, value) for key, value in (labels or {}).items() if key.startswith(_PREFIXES)]
    kept = dict(ours[:MAX_LABELS])
    return PicturedNode(name, kept, drivers.branch(kept))


class ReportReader:
    """Reads MigNodes by the contract. It compiles few catalogues that are not shipped, since each takes long."""

    def __init__(self, most: int = MAX_NEW_CATALOGUES) -> None:
        self._left = most

    def read(self, item: MigNode) -> tuple[PicturedReport, NodeReport]:
        """What is kept of a MigNode, and its report. A status that cannot be used is a report with a problem."""
        name = item.metadata.name
        status = bytes(item.status)
        if status in (b"", b"{}", b"null"):
            return PicturedReport(name, written=False), NodeReport(name, ())
        report, unjudged = self._report(item)
        said = _said(status)
        agent = said.agent or objects.AgentSaid()
        conditions = (said.conditions or ())[:MAX_CONDITIONS]
        gpus = tuple(
            PicturedGpu(gpu.index, gpu.uuid, gpu.product, gpu.mig_mode, gpu.healthy, gpu.message, gpu.catalogue)
            for gpu in report.gpus
        )
        pictured = PicturedReport(name, gpus, report.problem, agent.version, agent.mode, conditions, unjudged=unjudged)
        return pictured, report

    def _report(self, item: MigNode) -> tuple[NodeReport, str]:
        """The report, and a catalogue for which it was not read."""
        name = item.metadata.name
        try:
            status = contract.read_status(item.status)
            unknown = [c for c in contract.catalogues(status).values() if not _is_cheap(c)]
            if len(unknown) > self._left:
                return NodeReport(name, ()), unknown[0].model or "without a name"
            self._left -= len(unknown)
            return contract.node_report(status, name), ""
        except errors.MigschedError as error:
            return contract.bad_report(name, error), ""


def _is_cheap(catalogue: Any) -> bool:
    return geometry.is_known(catalogue) or geometry.is_shipped(catalogue)


def _said(status: bytes) -> objects.ConditionsOnly:
    try:
        return _CONDITIONS(status)
    except DECODER_ERRORS:
        return objects.ConditionsOnly()


def graph(read: objects.Graph) -> PicturedGraph:
    """What is kept of a DynamoGraphDeployment, of v1beta1 or v1alpha1."""
    templates = [_inside(component, "podTemplate", "spec") for component in _list(_inside(read.spec, "components"))]
    services = _inside(read.spec, "services")
    templates += (
        [_inside(service, "extraPodSpec") for service in services.values()] if isinstance(services, dict) else []
    )
    named = {_inside(spec, "schedulerName") for spec in templates}
    grove = (read.metadata.annotations or {}).get("nvidia.com/enable-grove") != "false"
    schedulers = tuple(sorted(name for name in named if isinstance(name, str)))
    return PicturedGraph(read.metadata.namespace, read.metadata.name, grove, schedulers)


def extender(read: objects.ConfigMap) -> PicturedExtender | None:
    """The resources that a KubeSchedulerConfiguration names for extenders; None for a ConfigMap that holds none."""
    text = next((text for text in (read.data or {}).values() if "KubeSchedulerConfiguration" in text), None)
    if text is None:
        return None
    meta = read.metadata
    try:
        document = document_text.load(text, "config.yaml")
    except errors.InputError as error:
        return PicturedExtender(meta.namespace, meta.name, problem=str(error))
    entries = [entry for extender in _list(_inside(document, "extenders")) for entry in _resources(extender)]
    return PicturedExtender(meta.namespace, meta.name, frozenset(entries))


def _resources(extender: object) -> Iterator[str]:
    for entry in _list(_inside(extender, "managedResources")):
        name = _inside(entry, "name")
        if isinstance(name, str) and is_mig_resource(name):
            yield name


def certificates(bundle: str) -> list[bytes]:
    """The PEM certificates of a caBundle, each by itself; one that is none is returned as it is."""
    try:
        text = base64.b64decode(bundle, validate=True)
    except (binascii.Error, ValueError):
        return [b""]
    end = b"-----END CERTIFICATE-----"
    return [part + end for part in text.split(end)[:-1]] or [b""]
