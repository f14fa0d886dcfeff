"""Pinning: a pod's affinity with its node named in every term, so that kube-scheduler binds it there and nowhere else.

Terms are alternatives, so each of them has to name the node. While a pod is gated, Kubernetes lets requirements be
added and nothing be taken away (KEP-3838). A field of a term can have one value: several nodes are several terms, which
can be written only in a pod that has none.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from allocator import errors
from allocator.eligibility.node_selector import NAME_FIELD

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def pinned(affinity: bytes, node: str, spares: Sequence[str] = ()) -> bytes:
    """The text (JSON) of an affinity, empty for none, pinned to a node, or to any of several where it has no terms.
    Raises InputError if it has another form, or terms although there are `spares`.
    """
    try:
        whole: dict[str, Any] = msgspec.json.decode(affinity, type=dict[str, Any]) if affinity else {}
        of_nodes = dict(whole.get("nodeAffinity") or {})
        required = dict(of_nodes.get(_REQUIRED) or {})
        terms = [dict(term) for term in required.get("nodeSelectorTerms") or [{}]]
        if spares and terms != [{}]:
            raise errors.InputError("affinity", affinity[:120], "has terms, so it can name one node only")
        terms += [{} for _ in spares]
        for number, term in enumerate(terms):
            here = {"key": NAME_FIELD, "operator": "In", "values": [spares[number - 1] if spares and number else node]}
            term["matchFields"] = [*(term.get("matchFields") or ()), here]
    except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError, RecursionError) as error:
        raise errors.InputError("affinity", affinity[:120], f"is not an affinity: {error}") from error
    required["nodeSelectorTerms"] = terms
    of_nodes[_REQUIRED] = required
    return msgspec.json.encode({**whole, "nodeAffinity": of_nodes})
