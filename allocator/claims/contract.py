"""What crosses the border between the scheduler and the node agents: names, and the MigNode status.

The agent writes the status, versioned JSON, and the scheduler reads it. Text from a cluster is anybody's: decoding
never trusts sizes, types or lengths, and raises ContractError naming the field. Schema: deploy/crd/mignodes.yaml. The
other half of the contract is `placement_annotation`.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from allocator import errors
from allocator.claims import report
from allocator.mig import catalogue, profile

GROUP = "migsched.io"
VERSION = "v1alpha1"
PLURAL = "mignodes"
REPACKS = "repacks"
PLACEMENT_ANNOTATION = f"{GROUP}/placement"
MOVABLE_ANNOTATION = f"{GROUP}/movable"
NOT_BEFORE_ANNOTATION = f"{GROUP}/not-before"  # until when (RFC 3339) a movable pod is to be left alone
SLICES_ANNOTATION = f"{GROUP}/slices"
REQUEUE_ANNOTATION = f"{GROUP}/requeue"
CONTRACT_VERSION = 1
MAX_CATALOGUES = 4  # of one node; boards are bought by the server, and a catalogue is dear to compile

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=4096)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class _Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of the MigNode structs: camelCase on the wire, fields unknown to us are ignored."""


class _Engines(_Wire, frozen=True):
    dec: _Count = 0
    enc: _Count = 0
    jpeg: _Count = 0
    ofa: _Count = 0


class _Profile(_Wire, frozen=True):
    """Field for field a `profile.Profile`: `_profile` and `_wire_profile` go by these names."""

    name: _Name
    profile_id: _Count = msgspec.field(name="id")
    compute_slices: _Count
    memory_slices: _Count
    max_instances: _Count
    starts: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=64)]
    enum_index: _Count = 0
    memory_mib: int | None = msgspec.field(default=None, name="memoryMiB")
    engines: _Engines | None = None
    sm: int | None = None
    copy_engines: int | None = None


class _Catalogue(_Wire, frozen=True):
    """A catalogue that GPUs refer to by `name`: its model's, but where GPUs of one model differ in what they offer."""

    name: _Name
    memory_slices: _Count
    compute_slices: _Count
    profiles: Annotated[tuple[_Profile, ...], msgspec.Meta(max_length=catalogue.MAX_PROFILES)]
    engine_totals: _Engines | None = None
    total_memory_mib: int | None = msgspec.field(default=None, name="totalMemoryMiB")
    model: Annotated[str, msgspec.Meta(max_length=253)] = ""  # where it is not the name


class _Owner(_Wire, frozen=True):
    namespace: _Name
    pod: _Name
    uid: _Name
    container: str = ""


class _Illness(_Wire, frozen=True):
    since: Annotated[str, msgspec.Meta(max_length=64)]
    message: _Text


class _Slice(_Wire, frozen=True):
    profile: _Name
    start: _Count
    size: _Count
    state: report.SliceState
    mig_uuid: _Text = msgspec.field(default="", name="migUUID")
    gpu_instance_id: int | None = None
    compute_instance_id: int | None = None
    owner: _Owner | None = None
    illness: _Illness | None = None
    unused_since: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class _Gpu(_Wire, frozen=True):
    uuid: _Name
    index: _Count
    product: _Text = ""
    catalogue: str = ""
    mig_mode: report.MigMode = report.MigMode.UNSUPPORTED
    healthy: bool = True
    message: _Text = ""
    slices: Annotated[tuple[_Slice, ...], msgspec.Meta(max_length=64)] = ()
    illness: _Illness | None = None


class _Summary(_Wire, frozen=True, omit_defaults=False):
    models: str
    gpus: int
    slices: int
    allocated: int
    free_memory_slices: int


class _Agent(_Wire, frozen=True):
    version: _Text = ""
    mode: _Text = ""


class MigNodeStatus(_Wire, frozen=True):
    """The status of a MigNode, as JSON has it. Decode with `msgspec`, make sense of it with `node_report`."""

    contract_version: int = 0
    agent: _Agent | None = None
    summary: _Summary | None = None
    catalogues: Annotated[tuple[_Catalogue, ...], msgspec.Meta(max_length=64)] = ()
    gpus: Annotated[tuple[_Gpu, ...], msgspec.Meta(max_length=64)] = ()


def decode_status(raw: bytes | msgspec.Raw, node: str) -> report.NodeReport:
    """The report in a MigNode's raw status. Never raises: a status that cannot be read is a report with a problem.

    Compiles the catalogues that are new to this process, which may take most of a second for each.
    """
    try:
        return node_report(read_status(raw), node)
    except errors.MigschedError as error:
        return bad_report(node, error)


def bad_report(node: str, error: errors.MigschedError) -> report.NodeReport:
    """The report of a node whose status cannot be used, and why."""
    return report.NodeReport(node, (), problem=f"MigNode {node}: {error}")


def read_status(raw: bytes | msgspec.Raw) -> MigNodeStatus:
    """A MigNode's raw status as JSON has it. Raises ContractError if it cannot be read or is of another version."""
    try:
        version = msgspec.json.decode(raw, type=_ContractVersion).contract_version
        if version != CONTRACT_VERSION:
            raise errors.ContractError(
                "status.contractVersion", version, f"this migsched reads version {CONTRACT_VERSION}; upgrade it"
            )
        return msgspec.json.decode(raw, type=MigNodeStatus)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise errors.ContractError("status", bytes(raw)[:60], f"cannot be read: {error}") from error


def catalogues(status: MigNodeStatus) -> Mapping[str, catalogue.Catalogue]:
    """The catalogues of a decoded status by name; none of them is compiled. Raises CatalogueError or ContractError."""
    if len(status.catalogues) > MAX_CATALOGUES:
        fix = f"a node has at most {MAX_CATALOGUES} kinds of GPU; is this the report of one node?"
        raise errors.ContractError("status.catalogues", f"{len(status.catalogues)} catalogues", fix)
    names = [c.name for c in status.catalogues]
    if len(set(names)) != len(names):
        raise errors.ContractError("status.catalogues[].name", names, "must be distinct")
    return {c.name: _catalogue(c) for c in status.catalogues}


class _ContractVersion(_Wire, frozen=True):
    contract_version: int = 0


def node_report(status: MigNodeStatus, node: str) -> report.NodeReport:
    """The report that a decoded status makes. Raises CatalogueError or ContractError naming what contradicts itself.

    A single GPU whose slices contradict its catalogue is kept, marked unhealthy, so that the others stay usable.
    """
    by_name = catalogues(status)
    uuids = [g.uuid for g in status.gpus]
    if len(set(uuids)) != len(uuids):
        raise errors.ContractError("status.gpus[].uuid", uuids, "must be distinct")
    return report.NodeReport(node, tuple(_gpu(g, by_name) for g in status.gpus))


@lru_cache(maxsize=64)  # of up to 100 KiB each
def _catalogue(wire: _Catalogue) -> catalogue.Catalogue:
    return catalogue.Catalogue(
        model=wire.model or wire.name,
        memory_slices=wire.memory_slices,
        compute_slices=wire.compute_slices,
        profiles=tuple(_profile(p) for p in wire.profiles),
        engine_totals=_engines(wire.engine_totals),
        total_memory_mib=wire.total_memory_mib,
    )


def _profile(wire: _Profile) -> profile.Profile:
    return profile.Profile(**{**msgspec.structs.asdict(wire), "engines": _engines(wire.engines)})


def _engines(wire: _Engines | None) -> profile.Engines | None:
    return None if wire is None else profile.Engines(wire.dec, wire.enc, wire.jpeg, wire.ofa)


def _gpu(wire: _Gpu, by_name: Mapping[str, catalogue.Catalogue]) -> report.GpuReport:
    gpu = report.GpuReport(
        uuid=wire.uuid,
        index=wire.index,
        product=wire.product,
        mig_mode=wire.mig_mode,
        catalogue=by_name.get(wire.catalogue),
        slices=tuple(_slice(s) for s in wire.slices),
        healthy=wire.healthy,
        message=wire.message,
        illness=_illness(wire.illness),
    )
    contradiction = gpu.contradiction()
    if contradiction is not None:
        return dataclasses.replace(gpu, healthy=False, message=contradiction.message)
    return gpu


def _slice(wire: _Slice) -> report.Slice:
    owner = wire.owner
    return report.Slice(
        placement=profile.Placement(wire.profile, wire.start, wire.size),
        state=wire.state,
        owner=None if owner is None else report.Owner(owner.namespace, owner.pod, owner.uid, owner.container),
        mig_uuid=wire.mig_uuid,
        gpu_instance_id=wire.gpu_instance_id,
        compute_instance_id=wire.compute_instance_id,
        illness=_illness(wire.illness),
        unused_since=wire.unused_since,
    )


def _illness(wire: _Illness | None) -> report.Illness | None:
    return None if wire is None else report.Illness(wire.since, wire.message)


def encode_status(node: report.NodeReport, *, agent_version: str, mode: str) -> dict[str, Any]:
    """The MigNode status of a report, as a JSON-able mapping. The inverse of `decode_status`."""
    names = _names(gpu.catalogue for gpu in node.gpus if gpu.catalogue is not None)
    status = MigNodeStatus(
        contract_version=CONTRACT_VERSION,
        agent=_Agent(agent_version, mode),
        summary=_summary(node, names),
        catalogues=tuple(_wire_catalogue(catalogue_, name) for catalogue_, name in names.items()),
        gpus=tuple(_wire_gpu(g, names[g.catalogue] if g.catalogue else "") for g in node.gpus),
    )
    document: dict[str, Any] = msgspec.to_builtins(status)
    return document


def _names(catalogues: Iterable[catalogue.Catalogue]) -> dict[catalogue.Catalogue, str]:
    """A name for each: its model's, numbered where GPUs of one model do not offer the same."""
    names: dict[catalogue.Catalogue, str] = {}
    for catalogue_ in catalogues:
        if catalogue_ not in names:
            numbered = (f"{catalogue_.model}#{number}" for number in itertools.count(2))
            taken = set(names.values())
            names[catalogue_] = next(
                name for name in itertools.chain((catalogue_.model,), numbered) if name not in taken
            )
    return names


def _summary(node: report.NodeReport, names: Mapping[catalogue.Catalogue, str]) -> _Summary:
    slices = [s for g in node.gpus for s in g.slices]
    taken = [s for g in node.gpus if g.usable for s in g.slices if not s.free]
    total = sum(g.catalogue.memory_slices for g in node.gpus if g.usable and g.catalogue)
    return _Summary(
        models=",".join(dict.fromkeys(catalogue_.model for catalogue_ in names)),
        gpus=len(node.gpus),
        slices=len(slices),
        allocated=sum(s.state is report.SliceState.ALLOCATED for s in slices),
        free_memory_slices=total - sum(s.placement.size for s in taken),
    )


def _wire_catalogue(catalogue_: catalogue.Catalogue, name: str) -> _Catalogue:
    return _Catalogue(
        name=name,
        model="" if name == catalogue_.model else catalogue_.model,
        memory_slices=catalogue_.memory_slices,
        compute_slices=catalogue_.compute_slices,
        profiles=tuple(_wire_profile(p) for p in catalogue_.profiles),
        engine_totals=_wire_engines(catalogue_.engine_totals),
        total_memory_mib=catalogue_.total_memory_mib,
    )


def _wire_profile(profile_: profile.Profile) -> _Profile:
    same = {name: getattr(profile_, name) for name in _Profile.__struct_fields__}
    return _Profile(**{**same, "engines": _wire_engines(profile_.engines)})


def _wire_engines(engines: profile.Engines | None) -> _Engines | None:
    return None if engines is None else _Engines(*engines.values())


def _wire_gpu(gpu: report.GpuReport, catalogue_name: str) -> _Gpu:
    return _Gpu(
        uuid=gpu.uuid,
        index=gpu.index,
        product=gpu.product,
        catalogue=catalogue_name,
        mig_mode=gpu.mig_mode,
        healthy=gpu.healthy,
        message=gpu.message,
        slices=tuple(_wire_slice(s) for s in gpu.slices),
        illness=_wire_illness(gpu.illness),
    )


def _wire_slice(slice_: report.Slice) -> _Slice:
    owner = slice_.owner
    return _Slice(
        profile=slice_.placement.profile,
        start=slice_.placement.start,
        size=slice_.placement.size,
        state=slice_.state,
        mig_uuid=slice_.mig_uuid,
        gpu_instance_id=slice_.gpu_instance_id,
        compute_instance_id=slice_.compute_instance_id,
        owner=None if owner is None else _Owner(owner.namespace, owner.pod, owner.uid, owner.container),
        illness=_wire_illness(slice_.illness),
        unused_since=slice_.unused_since,
    )


def _wire_illness(illness: report.Illness | None) -> _Illness | None:
    return None if illness is None else _Illness(illness.since, illness.message[:1024])
