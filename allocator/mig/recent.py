"""Recent: values that are kept as long as something uses them, and the latest of them a while longer, within bytes.

Owned by `geometry`, for geometries by their catalogues: these come from reports, and who writes reports with new
catalogues again and again must not fill the memory.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key. Those that nothing else holds go once newer ones take more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._in_use: WeakValueDictionary[K, V] = WeakValueDictionary()
        self._latest: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.held_bytes = 0  # of the latest

    def get(self, key: K) -> V | None:
        """The value of a key, if it is still there."""
        return self._in_use.get(key)

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of `size` bytes."""
        self._in_use[key] = value
        _, before = self._latest.pop(key, (None, 0))
        self._latest[key] = (value, size)
        self.held_bytes += size - before
        while self.held_bytes > self._max_bytes:
            _, (_, freed) = self._latest.popitem(last=False)
            self.held_bytes -= freed
