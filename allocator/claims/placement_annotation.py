"""Placement annotation: which slices a pod was promised, as text. The scheduler writes it, the node agents read it.

It is versioned JSON. Text from a cluster is anybody's: decoding never trusts sizes, types or lengths, and raises
ContractError naming the field.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from allocator import errors
from allocator.claims.contract import CONTRACT_VERSION, PLACEMENT_ANNOTATION

MAX_SPARES = 8  # nodes beside the first on which a pod may have a place until it is bound
MAX_ANNOTATION = 32_768  # bytes; 128 slices with long names take less than 20,000

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=4096)]


class Promise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One slice promised to a container by the placement annotation."""

    container: _Name
    gpu: _Name
    profile: _Name
    start: _Count


_Promises = Annotated[tuple[Promise, ...], msgspec.Meta(min_length=1, max_length=1024)]


class _Placement(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    slices: _Promises
    spares: Annotated[dict[_Name, _Promises], msgspec.Meta(max_length=MAX_SPARES)] = {}


class _VersionOnly(msgspec.Struct, frozen=True):
    version: int


_VERSION_OF = msgspec.json.Decoder(_VersionOnly).decode
_PLACEMENT = msgspec.json.Decoder(_Placement).decode


def encode(promises: Sequence[Promise], spares: Mapping[str, Sequence[Promise]] | None = None) -> str:
    """The annotation's text for these promises; `spares` are those on other nodes, by node, if it is bound there."""
    others = {node: tuple(there) for node, there in (spares or {}).items()}
    return msgspec.json.encode(_Placement(CONTRACT_VERSION, tuple(promises), others)).decode()


def decode(text: str, node: str = "") -> tuple[Promise, ...]:
    """The promises in an annotation, for a node that has some of its own these. Raises ContractError for anything that
    is not a placement of our version.
    """
    placement = _decoded(text)
    return placement.spares.get(node, placement.slices)


def decode_spares(text: str) -> Mapping[str, tuple[Promise, ...]]:
    """The promises on other nodes, by node. Raises ContractError as `decode`."""
    return _decoded(text).spares


def _decoded(text: str) -> _Placement:
    where = f"annotation {PLACEMENT_ANNOTATION}"
    if len(text) > MAX_ANNOTATION:
        raise errors.ContractError(where, f"{len(text)} characters", f"at most {MAX_ANNOTATION}")
    try:
        version = _VERSION_OF(text).version
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise errors.ContractError(where, text, f"not a placement: {error}") from error
    if version != CONTRACT_VERSION:
        raise errors.ContractError(
            f"{where}: version", version, f"this migsched reads version {CONTRACT_VERSION}; upgrade the older side"
        )
    try:
        return _PLACEMENT(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise errors.ContractError(where, text, f"not a placement: {error}") from error
