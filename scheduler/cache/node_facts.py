"""From a watched Node to what decides which pods it takes. Asked by `cluster_cache`.

5,000 nodes with a hundred labels each share most of them: equal keys and values are kept once.
"""

import sys

from allocator.eligibility import document
from allocator.eligibility.node import NodeFacts
from scheduler.cache.port import WatchedNode

_MAX_SHARED = 63  # characters of a label's key or value that is kept once; longer ones are rare


def of(node: WatchedNode) -> NodeFacts:
    """A node as kube-scheduler judges it."""
    meta = node.metadata
    labels = {_shared(key): _shared(value) for key, value in (meta.labels or {}).items()}
    return document.node(meta.name, labels, node.spec, node.status)


def _shared(text: str) -> str:
    return sys.intern(text) if len(text) <= _MAX_SHARED else text
