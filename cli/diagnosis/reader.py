"""Reads the picture of a cluster from its API server: the edge of the package. Called by `migsched doctor`.

Lists come by pages, and of each object little is kept: memory follows the number of nodes and of pods that have to do
with GPUs. What is refused, not served or not answered has a reason in its Look; only a server that does not answer at
all is an error.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import yaml

from allocator import errors
from allocator.claims import contract
from cli.diagnosis import decoding, objects, rights, schema
from cli.diagnosis.picture import (
    ClusterPicture,
    Look,
    PicturedCertificate,
    PicturedCrd,
    PicturedExtender,
    PicturedLease,
    PicturedNode,
    PicturedPod,
    PicturedReport,
    PicturedRight,
    PicturedService,
)
from cli.diagnosis.standings import Standings
from cli.diagnosis.text import visible
from kubeclient.changes import Listing
from kubeclient.object_reader import DECODER_ERRORS
from node_agent.cluster.access import Right
from scheduler.cache import pod_decoding
from scheduler.cache.lease import Lease
from scheduler.cache.port import MigNode, WatchedNode

T = TypeVar("T")
Decode = Callable[[bytes | msgspec.Raw], T]

CRD = Path(__file__).parents[2] / "deploy" / "crd" / "mignodes.yaml"
MIG_NODES = f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.PLURAL}"
_LEASES = ("migsched", "migsched-queue")
_SCHEDULERS = {"labelSelector": "app.kubernetes.io/name=migsched,app.kubernetes.io/component=scheduler"}
_AGENTS = {"labelSelector": "app.kubernetes.io/name=migsched,app.kubernetes.io/component=agent"}
_OURS = {"labelSelector": "app.kubernetes.io/name=migsched"}
_NOT_SERVED = "the API server does not serve it (HTTP 404)"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_POLICIES = "/apis/nvidia.com/v1/clusterpolicies"
_GPU_CLUSTERS = "/apis/nvidia.com/v1alpha1/gpuclusters"
_MAX_CONFIG_MAPS = 8
_MAX_CERTIFICATES = 16


class Source(Protocol):
    """An API server; `kubeclient.kube.Connection` is one. Both raise the ClusterError that fits."""

    async def request(self, method: str, path: str, *, body: bytes | None = None) -> bytes:
        """One call; the body of the answer."""

    async def list(
        self, path: str, decode: Callable[[bytes | msgspec.Raw], T], query: Mapping[str, str] | None = None
    ) -> Listing[T]:
        """All objects of a collection, page by page."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked at: the cluster, or one node and what runs on it."""

    scheduler_namespace: str = "migsched-system"
    agent_namespace: str = "migsched-agents"
    program: str = "migsched"
    node: str = ""


@functools.cache
def _decoder(type_: type[T]) -> Decode[T]:
    return msgspec.json.Decoder(type_).decode


class PictureReader:
    """Reads one picture. `now` is in seconds since 1970; `service` is what the service said already.

    `new_catalogues` is how many catalogues that are not shipped are compiled: each takes most of a second.
    """

    def __init__(
        self,
        source: Source,
        scope: Scope,
        service: Look[PicturedService],
        now: Callable[[], float],
        *,
        new_catalogues: int = decoding.MAX_NEW_CATALOGUES,
    ) -> None:
        self._source = source
        self._scope = scope
        self._service = service
        self._now = now
        self._reports = decoding.ReportReader(new_catalogues)
        self.standings = Standings()

    async def read(self) -> ClusterPicture:
        """The picture. Raises UnreachableError if the API server does not answer at all."""
        version = await self._version()
        services = await self._workloads("deployments", _SCHEDULERS, self._scope.scheduler_namespace)
        agents = await self._workloads("daemonsets", _AGENTS, self._scope.agent_namespace)
        picture = ClusterPicture(
            scheduler_namespace=self._scope.scheduler_namespace,
            agent_namespace=self._scope.agent_namespace,
            program=self._scope.program,
            version=version,
            services=services,
            agents=agents,
            service=self._service,
            service_version=_version_of(self._service, services),
        )
        self.standings.queueing(on=picture.queueing)
        nodes, reports, pods = await self._objects_of_nodes()
        picture = replace(picture, nodes=nodes, reports=reports, pods=pods)
        return replace(picture, **await self._others(services, agents))

    async def read_node(self) -> ClusterPicture:
        """What handing the scope's node over depends on. Raises UnreachableError as `read` does."""
        await self._version()
        nodes, reports, pods = await self._objects_of_nodes()
        policies = await self._look(_POLICIES, _decoder(objects.ClusterPolicy))
        clusters = await self._look(_GPU_CLUSTERS, _decoder(objects.Named))
        return ClusterPicture(
            agent_namespace=self._scope.agent_namespace,
            nodes=nodes,
            reports=reports,
            pods=pods,
            cluster_policies=policies,
            gpu_clusters=clusters,
        )

    async def _version(self) -> Look[objects.Version]:
        try:
            text = await self._source.request("GET", "/version")
            return Look((msgspec.json.decode(text, type=objects.Version),))
        except errors.UnreachableError:
            raise
        except (errors.ClusterError, *DECODER_ERRORS) as error:
            return Look(why_not=visible(str(error)))

    async def _workloads(self, plural: str, query: Mapping[str, str], namespace: str) -> Look[objects.WorkloadObject]:
        """Those of the cluster; where one may not see them, those of our namespace."""
        look = await self._look(f"/apis/apps/v1/{plural}", _decoder(objects.WorkloadObject), query)
        if look.why_not:
            path = f"/apis/apps/v1/namespaces/{namespace}/{plural}"
            within = await self._look(path, _decoder(objects.WorkloadObject), query)
            look = look if within.why_not else within
        return look

    async def _objects_of_nodes(self) -> tuple[Look[PicturedNode], Look[PicturedReport], Look[PicturedPod]]:
        """Nodes, MigNodes and pods, in this order: a pod is judged by the others."""
        named = {"fieldSelector": f"metadata.name={self._scope.node}"} if self._scope.node else None
        on_node = {"fieldSelector": f"spec.nodeName={self._scope.node}"} if self._scope.node else None
        nodes = await self._look("/api/v1/nodes", self._node, named)
        reports = await self._look(MIG_NODES, self._report, named)
        self.standings.settle()
        pods = await self._look("/api/v1/pods", self._pod, on_node)
        kept = tuple(self.standings.of(pod) for pod in pods if pod is not None)
        return nodes, reports, Look(kept, pods.unreadable, pods.why_not, pods.absent)

    def _node(self, raw: bytes | msgspec.Raw) -> PicturedNode:
        read = _decoder(WatchedNode)(raw)
        self.standings.see_node(read)
        return decoding.node(read.metadata.name, read.metadata.labels)

    def _report(self, raw: bytes | msgspec.Raw) -> PicturedReport:
        read = _decoder(MigNode)(raw)
        pictured, report = self._reports.read(read)
        if pictured.written and not pictured.unjudged:
            self.standings.see_report(report, read.metadata.creation_timestamp or "")
        return pictured

    def _pod(self, raw: bytes | msgspec.Raw) -> PicturedPod | None:
        text = bytes(raw)
        if not decoding.is_interesting(text):
            _decoder(objects.Named)(text)
            return None
        pictured = decoding.pod(text)
        if pictured.asks:
            self.standings.see_pod(pod_decoding.decode(text))
        return pictured

    async def _others(
        self, services: Look[objects.WorkloadObject], agents: Look[objects.WorkloadObject]
    ) -> dict[str, Any]:
        """Every other look, at once."""
        namespace, agent_namespace = self._scope.scheduler_namespace, self._scope.agent_namespace
        asked: dict[str, Awaitable[Look[Any]]] = {
            "namespaces": self._named("/api/v1/namespaces", agent_namespace),
            "leases": self._leases(namespace),
            "cluster_policies": self._look(_POLICIES, _decoder(objects.ClusterPolicy)),
            "gpu_clusters": self._look(_GPU_CLUSTERS, _decoder(objects.Named)),
            "gates": self._look(f"{_ADMISSION}/mutatingadmissionpolicies", _decoder(objects.Named), _OURS),
            "gate_bindings": self._look(
                f"{_ADMISSION}/mutatingadmissionpolicybindings", _decoder(objects.PolicyBinding)
            ),
            "webhooks": self._look(f"{_ADMISSION}/mutatingwebhookconfigurations", _decoder(objects.Named), _OURS),
            "certificates": self._certificates(),
            "graphs": self._graphs(),
            "grove": self._named("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "podcliquesets.grove.io"),
            "quotas": self._look("/api/v1/resourcequotas", _decoder(objects.Quota)),
            "limit_ranges": self._look("/api/v1/limitranges", _decoder(objects.LimitRange)),
            "extenders": self._extenders(services),
            "rights": self._rights(services, agents),
            "crd": self._crd(),
        }
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _look(self, path: str, decode: Decode[T], query: Mapping[str, str] | None = None) -> Look[T]:
        try:
            listing = await self._source.list(path, decode, query)
        except errors.NotFoundError:
            return Look(why_not=_NOT_SERVED, absent=True)
        except errors.ClusterError as error:
            return Look(why_not=visible(str(error)))
        return Look(listing.items, listing.unreadable)

    async def _named(self, path: str, name: str) -> Look[objects.Named]:
        return await self._look(path, _decoder(objects.Named), {"fieldSelector": f"metadata.name={name}"})

    async def _leases(self, namespace: str) -> Look[PicturedLease]:
        look = await self._look(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", _decoder(Lease))
        kept = tuple(self._lease(lease) for lease in look if lease.metadata.name in _LEASES)
        return Look(kept, look.unreadable, look.why_not, look.absent)

    def _lease(self, lease: Lease) -> PicturedLease:
        spec, meta = lease.spec, lease.metadata
        duration_s = spec.lease_duration_seconds or 15
        return PicturedLease(meta.namespace, meta.name, spec.holder, duration_s, self._age_s(spec.renew_time))

    def _age_s(self, stamp: str | None) -> float | None:
        try:
            return self._now() - datetime.fromisoformat(stamp or "").timestamp()
        except (ValueError, OverflowError):
            return None

    async def _certificates(self) -> Look[PicturedCertificate]:
        path = f"{_ADMISSION}/mutatingwebhookconfigurations"
        look = await self._look(path, _decoder(objects.WebhookConfiguration), _OURS)
        kept = [
            PicturedCertificate(configuration.metadata.name, webhook.name, self._days(pem))
            for configuration in look
            for webhook in configuration.webhooks or ()
            for pem in decoding.certificates(webhook.client_config.ca_bundle or "")
        ]
        return Look(tuple(kept[:_MAX_CERTIFICATES]), (), look.why_not, look.absent)

    def _days(self, pem: bytes) -> float | None:
        from cryptography import x509  # slow to load, and only where there is a webhook

        try:
            ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
        except ValueError:
            return None
        return (ends.timestamp() - self._now()) / 86_400

    async def _graphs(self) -> Look[Any]:
        look: Look[objects.Graph] = Look(why_not=_NOT_SERVED, absent=True)
        for version in ("v1beta1", "v1alpha1"):
            look = await self._look(f"/apis/nvidia.com/{version}/dynamographdeployments", _decoder(objects.Graph))
            if not look.absent:
                break
        return Look(tuple(map(decoding.graph, look)), look.unreadable, look.why_not, look.absent)

    async def _extenders(self, services: Look[objects.WorkloadObject]) -> Look[PicturedExtender]:
        """The configurations that our Deployments mount."""
        if services.why_not:
            return Look(why_not=f"deployments: {services.why_not}")
        found: list[PicturedExtender] = []
        for namespace, name in tuple(_config_maps(services))[:_MAX_CONFIG_MAPS]:
            path, query = f"/api/v1/namespaces/{namespace}/configmaps", {"fieldSelector": f"metadata.name={name}"}
            look = await self._look(path, _decoder(objects.ConfigMap), query)
            if look.why_not:
                return Look(why_not=look.why_not)
            found += [extender for each in look if (extender := decoding.extender(each)) is not None]
        return Look(tuple(found))

    async def _rights(
        self, services: Look[objects.WorkloadObject], agents: Look[objects.WorkloadObject]
    ) -> Look[PicturedRight]:
        if services.why_not or agents.why_not:
            return Look(why_not=services.why_not or agents.why_not)
        queueing = ClusterPicture(services=services).queueing
        roles = [(account, rights.SCHEDULER_ROLE) for account in _accounts(services)]
        roles += [(account, rights.QUEUE_ROLE) for account in _accounts(services) if queueing]
        roles += [(account, rights.AGENT_ROLE) for account in _accounts(agents)]
        wanted = [(account, role, right) for account, role in roles for right in rights.RIGHTS[role]]
        try:
            return Look(tuple([await self._right(*each) for each in wanted]))
        except errors.ClusterError as error:
            return Look(why_not=visible(str(error)))

    async def _right(self, account: str, role: str, right: Right) -> PicturedRight:
        body = msgspec.json.encode(rights.review(account, right))
        answer = await self._source.request("POST", _REVIEWS, body=body)
        try:
            allowed = msgspec.json.decode(answer, type=_Review).status.allowed
        except DECODER_ERRORS as error:
            raise errors.UnreachableError(f"POST {_REVIEWS}: unreadable answer: {error}") from error
        return PicturedRight(account, str(right), role, allowed)

    async def _crd(self) -> Look[PicturedCrd]:
        name = f"{contract.PLURAL}.{contract.GROUP}"
        path, query = (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            {"fieldSelector": f"metadata.name={name}"},
        )
        look = await self._look(path, _decoder(objects.CustomResourceDefinition), query)
        return Look(tuple(map(_crd, look)), look.unreadable, look.why_not, look.absent)


class _Allowed(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _Allowed = _Allowed()


def _crd(read: objects.CustomResourceDefinition) -> PicturedCrd:
    version = next((version for version in read.spec.versions if version.name == contract.VERSION), None)
    if version is None or not version.served:
        return PicturedCrd(read.metadata.name, served=False, lacking=())
    present = schema.fields((version.schema or {}).get("openAPIV3Schema"))
    return PicturedCrd(read.metadata.name, served=True, lacking=tuple(sorted(_shipped_fields() - present)))


@functools.cache
def _shipped_fields() -> frozenset[str]:
    """The fields of the CRD that this version ships."""
    shipped = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    return schema.fields(shipped["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def _accounts(workloads: Iterable[objects.WorkloadObject]) -> Sequence[str]:
    """`namespace:name` of their accounts."""
    return [
        f"{workload.metadata.namespace}:{workload.spec.template.spec.service_account_name or 'default'}"
        for workload in workloads
    ]


def _config_maps(services: Iterable[objects.WorkloadObject]) -> Iterable[tuple[str, str]]:
    for service in services:
        for volume in service.spec.template.spec.volumes or ():
            if volume.config_map is not None and volume.config_map.name:
                yield service.metadata.namespace, volume.config_map.name


def _version_of(service: Look[PicturedService], services: Look[objects.WorkloadObject]) -> Look[str]:
    """The version of the service: as it says itself, else the tag of its image."""
    said = [each.version for each in service if each.version]
    for workload in () if said else services:
        spec = workload.spec.template.spec
        images = [container.image for container in (*spec.containers, *(spec.init_containers or ()))]
        tags = [image.rpartition(":")[2] for image in images if "migsched" in image.rpartition("/")[2]]
        said += [tag for tag in tags if tag[:1].isdigit()]
    if said:
        return Look((said[0],))
    return Look(why_not=service.why_not or services.why_not or "neither the service nor its image tells it")
