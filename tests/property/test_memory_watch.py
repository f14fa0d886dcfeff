"""The in-memory API server's watch, as a state machine: what a watcher is told always adds up to what a list says."""

import asyncio
from typing import Any

from hypothesis import stateful
from hypothesis import strategies as st

from allocator import errors
from kubeclient.changes import Change, ChangeType
from scheduler.cache.port import Binding
from simulator.cluster.api import POD, Document
from simulator.cluster.memory_cluster.client import MemoryApi
from simulator.cluster.memory_cluster.server import MemoryServer

NAMES = st.sampled_from(["a", "b", "c"])
NODES = st.sampled_from(["n1", "n2"])


class WatchMachine(stateful.RuleBasedStateMachine):
    """Writers do anything; one reader follows by watch, listing again only where it is told to (410)."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.server = MemoryServer(history=2)
        self.api = MemoryApi(self.server)
        self.told: dict[str, Any] = {}
        self.version = "0"
        self.watch: Any = None

    def teardown(self) -> None:
        """Leave nothing open."""
        if self.watch is not None:
            self.loop.run_until_complete(self.watch.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    @stateful.rule(name=NAMES, node=st.one_of(st.none(), NODES))
    def create(self, name: str, node: str | None) -> None:
        """A pod, on a node or not."""
        spec: dict[str, Any] = {"containers": [{"name": "main"}], **({"nodeName": node} if node else {})}
        self._try(lambda: self.server.create(POD, {"metadata": {"name": name}, "spec": spec}))

    @stateful.rule(name=NAMES, value=st.sampled_from(["1", "2", None]))
    def label(self, name: str, value: str | None) -> None:
        """A change that may be none."""
        self._try(lambda: self.server.patch(POD, name, {"metadata": {"labels": {"x": value}}}, "default"))

    @stateful.rule(name=NAMES, times=st.integers(1, 8))
    def change_often(self, name: str, times: int) -> None:
        """More changes than are kept."""
        for _ in range(times):
            self._try(lambda: self.server.patch(POD, name, self._fresh_label(), "default"))

    def _fresh_label(self) -> dict[str, Any]:
        return {"metadata": {"labels": {"at": str(self.server.version)}}}

    @stateful.rule(name=NAMES, phase=st.sampled_from(["Running", "Succeeded"]))
    def set_phase(self, name: str, phase: str) -> None:
        """The status subresource."""
        self._try(lambda: self.server.patch_status(POD, name, {"status": {"phase": phase}}, "default"))

    @stateful.rule(name=NAMES, node=NODES)
    def bind(self, name: str, node: str) -> None:
        """The Binding subresource."""
        self._try(lambda: self.server.bind(Binding("default", name, "", node, {"k": "v"})))

    @stateful.rule(name=NAMES, grace=st.sampled_from([0, 5, None]))
    def delete(self, name: str, grace: int | None) -> None:
        """At once, or in time."""
        self._try(lambda: self.server.delete(POD, name, "default", grace_seconds=grace))

    @stateful.rule()
    def compact(self) -> None:
        """What etcd does every few minutes."""
        self.server.compact()

    @stateful.rule()
    def bookmark(self) -> None:
        """What the API server does every minute."""
        self.server.bookmark()

    @stateful.rule(error=st.sampled_from([None, errors.UnreachableError("reset")]))
    def end_watches(self, error: errors.ClusterError | None) -> None:
        """What the API server does after a while, or the network."""
        self.server.end_watches(error)

    @stateful.rule()
    def read(self) -> None:
        """Follow until there is nothing new; then the reader knows exactly what is there."""
        self.loop.run_until_complete(self._catch_up())
        listed = {one.document["metadata"]["name"]: one.document for one in self.server.list(POD)}
        assert self.told == listed

    def _try(self, write: Any) -> None:
        """A write that is refused must leave no trace; the reader finds out if it does."""
        before = self.server.version
        try:
            write()
        except errors.ClusterError:
            assert self.server.version == before

    async def _catch_up(self) -> None:
        while int(self.version) < self._last_change():
            try:
                self.watch = self.watch or self.api.watch(POD, self.version)
                self._apply(await anext(self.watch))
            except (StopAsyncIteration, errors.UnreachableError):
                self.watch = None
            except errors.GoneError:
                self.watch = None
                page = await self.api.list(POD)
                self.told = {one["metadata"]["name"]: one for one in page.items}
                self.version = page.resource_version

    def _last_change(self) -> int:
        """The version that the reader must have reached: every write here is to pods."""
        return self.server.version

    def _apply(self, change: Change[Document]) -> None:
        assert int(change.resource_version) >= int(self.version), "a watch never goes back"
        self.version = change.resource_version
        if change.item is None:
            return
        name = change.item["metadata"]["name"]
        if change.type is ChangeType.DELETED:
            del self.told[name]
            return
        assert (name in self.told) == (change.type is ChangeType.MODIFIED), "added once, then modified"
        self.told[name] = change.item


TestWatch = WatchMachine.TestCase
