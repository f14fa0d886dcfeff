"""kube-scheduler's extender JSON (k8s.io/kube-scheduler/extender/v1), and nothing else knows it.

The Go structs carry no tags: keys are the exact field names, unset pointers arrive as null. Only the pod's fields
that we use are decoded, node objects stay raw. A reply always names `NodeNames` explicitly: kube-scheduler takes an
absent list for "no node fits".
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

import msgspec

from allocator import errors
from allocator.claims.refusal import Refusal
from kubeclient.objects import Pod


class NodeItems(msgspec.Struct, frozen=True):
    """A v1.NodeList whose items stay raw."""

    items: tuple[msgspec.Raw, ...] = ()


class _NodeMeta(msgspec.Struct, frozen=True):
    name: str


class _NodeName(msgspec.Struct, frozen=True):
    metadata: _NodeMeta


_NOTHING = msgspec.Raw(b"null")


class NodeNames(Sequence[str]):
    """Node names as they came, decoded when all of them are looked at: mostly one question is asked, whether a certain
    one is among them, and decoding thousands would be a third of a filter call.
    """

    def __init__(self, raw: msgspec.Raw) -> None:
        self._raw = raw
        self._decoded: list[str] | None = None

    def __contains__(self, name: object) -> bool:
        if self._decoded is None and isinstance(name, str) and name.isascii() and b"\\" not in bytes(self._raw):
            return b'"%s"' % name.encode() in bytes(self._raw)  # what has no escapes lies between its quotes as it is
        return name in self._names

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        return self._names[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def _names(self) -> list[str]:
        if self._decoded is None:
            self._decoded = _decode(_NAMES, self._raw) or []
        return self._decoded


class ExtenderArgs(msgspec.Struct, frozen=True, rename="pascal"):
    """Body of filter and prioritize. With nodeCacheCapable only `node_names` is set, else only `nodes`."""

    pod: Pod
    nodes: NodeItems | None = None
    node_names: msgspec.Raw = _NOTHING

    @property
    def by_name(self) -> bool:
        """Whether nodes came as names. If they came in neither form there are none, and the answer has names."""
        return self.node_names != _NOTHING or self.nodes is None

    def names(self) -> Sequence[str]:
        """The node names, however they came. Raises ContractError for a node without one.

        NodeNames that cannot be read are a ContractError when they are looked at.
        """
        if self.by_name:
            return NodeNames(self.node_names)
        items = self.nodes.items if self.nodes is not None else ()
        return [_decode(_NODE_NAME, raw).metadata.name for raw in items]


class BindingArgs(msgspec.Struct, frozen=True):
    """Body of bind."""

    pod_name: str = msgspec.field(name="PodName")
    pod_namespace: str = msgspec.field(name="PodNamespace")
    pod_uid: str = msgspec.field(name="PodUID")
    node: str = msgspec.field(name="Node")


class Victims(msgspec.Struct, frozen=True):
    """Victims on a node, as full pods."""

    pods: list[Pod] | None = msgspec.field(default=None, name="Pods")
    violations: int = msgspec.field(default=0, name="NumPDBViolations")


class MetaPod(msgspec.Struct, frozen=True):
    """A victim by UID."""

    uid: str = msgspec.field(name="UID")


class MetaVictims(msgspec.Struct, frozen=True):
    """Victims on a node, by UID."""

    pods: list[MetaPod] | None = msgspec.field(default=None, name="Pods")
    violations: int = msgspec.field(default=0, name="NumPDBViolations")


class PreemptionArgs(msgspec.Struct, frozen=True):
    """Body of preempt: one of the two maps is set."""

    pod: Pod = msgspec.field(name="Pod")
    victims: dict[str, Victims | None] | None = msgspec.field(default=None, name="NodeNameToVictims")
    meta_victims: dict[str, MetaVictims | None] | None = msgspec.field(default=None, name="NodeNameToMetaVictims")

    def by_uid(self) -> dict[str, tuple[list[str], int]]:
        """Victims' UIDs and PDB violations per node, however they came."""
        if self.meta_victims is not None:
            return {
                n: ([p.uid for p in v.pods or ()], v.violations) if v else ([], 0) for n, v in self.meta_victims.items()
            }
        return {
            n: ([p.metadata.uid for p in v.pods or ()], v.violations) if v else ([], 0)
            for n, v in (self.victims or {}).items()
        }


_T = TypeVar("_T")
_NODE_NAME = msgspec.json.Decoder(_NodeName)
_NAMES = msgspec.json.Decoder(list[str] | None)
_ARGS = msgspec.json.Decoder(ExtenderArgs)
_BINDING = msgspec.json.Decoder(BindingArgs)
_PREEMPTION = msgspec.json.Decoder(PreemptionArgs)
_ENCODER = msgspec.json.Encoder()


def decode_args(body: bytes) -> ExtenderArgs:
    """Body of filter or prioritize. Raises ContractError saying what is wrong."""
    args = _decode(_ARGS, body)
    _check_uid("Pod.metadata.uid", args.pod.metadata.uid)
    return args


def decode_binding(body: bytes) -> BindingArgs:
    """Body of bind. Raises ContractError saying what is wrong."""
    args = _decode(_BINDING, body)
    _check_uid("PodUID", args.pod_uid)
    return args


def decode_preemption(body: bytes) -> PreemptionArgs:
    """Body of preempt. Raises ContractError saying what is wrong."""
    args = _decode(_PREEMPTION, body)
    _check_uid("Pod.metadata.uid", args.pod.metadata.uid)
    return args


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes | msgspec.Raw) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise errors.ContractError(
            "request body", bytes(body)[:60], f"not what kube-scheduler sends: {error}"
        ) from error


def _check_uid(field: str, uid: str) -> None:
    """Pods are known by their UIDs: one without would be taken for every other without."""
    if not uid:
        raise errors.ContractError(
            f"request body: {field}", uid, "must be the pod's UID; kube-scheduler always sends it"
        )


class FilterResult(Protocol):
    """What filter answers with."""

    @property
    def nodes(self) -> Sequence[str]:
        """The nodes to go on with."""

    @property
    def failed(self) -> Mapping[str, str]:
        """Why others were refused where evicting pods may help."""

    @property
    def unresolvable(self) -> Mapping[str, str]:
        """Why others were refused where it does not."""


def encode_filter(args: ExtenderArgs, names: Sequence[str], result: FilterResult) -> bytes:
    """The reply of filter, in the form in which the nodes were asked for; `names` are those of `args`."""
    reply: dict[str, Any] = {
        "FailedNodes": result.failed,
        "FailedAndUnresolvableNodes": result.unresolvable,
        "Error": "",
    }
    if not args.by_name and args.nodes is not None:
        kept = set(result.nodes)
        items = [raw for raw, name in zip(args.nodes.items, names, strict=True) if name in kept]
        reply["Nodes"] = {"items": items}
        reply["NodeNames"] = None
    else:
        reply["Nodes"] = None
        reply["NodeNames"] = list(result.nodes)
    return _ENCODER.encode(reply)


def encode_scores(scores: Mapping[str, int]) -> bytes:
    """The reply of prioritize: a bare array of hosts and whole numbers 0…10."""
    return _ENCODER.encode([{"Host": host, "Score": score} for host, score in scores.items()])


def encode_bind(refusal: Refusal | None) -> bytes:
    """The reply of bind, where an empty error is success."""
    return encode_error("" if refusal is None else refusal.message)


def encode_error(error: str) -> bytes:
    """The reply of any verb that could not be answered."""
    return _ENCODER.encode({"Error": error})


def encode_preemption(victims: Mapping[str, tuple[Sequence[str], int]], note: str = "") -> bytes:
    """The reply of preempt: always by UID, whichever form was asked in.

    kube-scheduler passes the note by, as it has no field for one; it is for people who look at the wire.
    """
    reply: dict[str, Any] = {
        "NodeNameToMetaVictims": {
            node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": violations}
            for node, (uids, violations) in victims.items()
        }
    }
    return _ENCODER.encode({**reply, "Error": note} if note else reply)
