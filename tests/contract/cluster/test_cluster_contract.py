"""The contract of `scheduler.cache.port.Cluster`, the scheduler service's port, on every implementation."""

from contextlib import aclosing

import msgspec
import pytest

from allocator import errors
from kubeclient.changes import ChangeType
from kubeclient.objects import Pod
from scheduler.cache.disruption_budget import Selector
from scheduler.cache.port import Binding, MigNode, WatchedKind
from simulator.cluster.api import DISRUPTION_BUDGET, MIG_NODE, NODE, POD
from tests.contract.cluster.conftest import Ports

MIG = {"limits": {"nvidia.com/mig-1g.5gb": "1"}}


async def test_list_gives_the_fields_we_use(ports: Ports) -> None:
    """A listed pod has its containers, limits, UID and phase; a node its name; a MigNode its status, raw."""
    made = await ports.created(
        containers=[{"name": "main", "image": "none", "resources": MIG}], schedulerName="migsched"
    )
    await ports.api.create(NODE, ports.node())
    await ports.api.create(MIG_NODE, {"metadata": {"name": ports.name("node")}})
    await ports.api.patch_status(MIG_NODE, ports.name("node"), {"status": {"contractVersion": 1}})
    (pod,) = [p for p in (await ports.cluster.list(WatchedKind.POD)).items if p.metadata.uid == made["metadata"]["uid"]]
    assert isinstance(pod, Pod)
    assert pod.status.phase == "Pending"
    assert pod.spec.scheduler_name == "migsched"
    (container,) = pod.spec.containers
    assert container.name == "main"
    assert container.resources is not None
    assert container.resources.limits == MIG["limits"]
    assert ports.name("node") in {n.metadata.name for n in (await ports.cluster.list(WatchedKind.NODE)).items}
    (seen,) = [
        m for m in (await ports.cluster.list(WatchedKind.MIG_NODE)).items if m.metadata.name == ports.name("node")
    ]
    assert isinstance(seen, MigNode)
    assert msgspec.json.decode(seen.status) == {"contractVersion": 1}


async def test_watch_follows_a_list(ports: Ports) -> None:
    """A watch from a list's version tells what happened since, the object as it became."""
    version = (await ports.cluster.list(WatchedKind.POD)).resource_version
    made = await ports.created()
    await ports.cluster.bind(Binding("default", ports.name("pod"), made["metadata"]["uid"], "n1", {"k": "v"}))
    seen = []
    async with aclosing(ports.cluster.watch(WatchedKind.POD, version)) as watch:  # type: ignore[type-var]
        async for change in watch:
            if isinstance(change.item, Pod) and change.item.metadata.name == ports.name("pod"):
                seen.append((change.type, change.item.spec.node_name, change.item.metadata.annotations))
            if len(seen) == 2:
                break
    assert seen == [(ChangeType.ADDED, "", None), (ChangeType.MODIFIED, "n1", {"k": "v"})]


async def test_a_version_that_the_server_has_not_reached_is_gone(ports: Ports) -> None:
    """A watch from a future version, as after etcd was put back to an older state, is told to list again."""
    version = int((await ports.cluster.list(WatchedKind.POD)).resource_version)
    watch = ports.cluster.watch(WatchedKind.POD, str(version + 1_000_000))
    with pytest.raises(errors.GoneError, match="Too large resource version"):
        await anext(watch)


async def test_bind_checks_the_uid(ports: Ports) -> None:
    """A Binding for another pod of that name is a conflict and binds nothing."""
    await ports.created()
    with pytest.raises(errors.ConflictError):
        await ports.cluster.bind(Binding("default", ports.name("pod"), "another", "n1", {}))
    assert (await ports.cluster.get_pod("default", ports.name("pod"))).spec.node_name == ""


async def test_bind_twice_is_a_conflict(ports: Ports) -> None:
    """A second Binding is a conflict, to the same node too, and changes nothing."""
    uid = (await ports.created())["metadata"]["uid"]
    await ports.cluster.bind(Binding("default", ports.name("pod"), uid, "n1", {"k": "first"}))
    with pytest.raises(errors.ConflictError):
        await ports.cluster.bind(Binding("default", ports.name("pod"), uid, "n1", {"k": "second"}))
    pod = await ports.cluster.get_pod("default", ports.name("pod"))
    assert (pod.spec.node_name, pod.metadata.annotations) == ("n1", {"k": "first"})


async def test_bind_of_a_pod_being_deleted_is_a_conflict(ports: Ports) -> None:
    """A pod that is on its way out is not bound."""
    made = await ports.created(nodeName="n0")
    await ports.api.delete(POD, ports.name("pod"), "default")
    with pytest.raises(errors.ConflictError):
        await ports.cluster.bind(Binding("default", ports.name("pod"), made["metadata"]["uid"], "n1", {}))


async def test_absent_pod_is_not_found(ports: Ports) -> None:
    """Reading or binding a pod that is gone is NotFoundError."""
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.get_pod("default", ports.name("gone"))
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.bind(Binding("default", ports.name("gone"), "", "n1", {}))


async def test_annotation_of_a_node(ports: Ports) -> None:
    """One annotation is set, others stay; an absent node is NotFoundError."""
    document = ports.node()
    document["metadata"]["annotations"] = {"mine": "1"}
    await ports.api.create(NODE, document)
    await ports.cluster.annotate_node(ports.name("node"), "migsched.io/requeue", "7")
    after = await ports.api.get(NODE, ports.name("node"))
    assert after["metadata"]["annotations"] == {"mine": "1", "migsched.io/requeue": "7"}
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.annotate_node(ports.name("absent"), "migsched.io/requeue", "7")


async def test_disruption_budgets_come_with_selector_and_status(ports: Ports) -> None:
    """A budget has its namespace, its selector and how many disruptions it allows by its last look at what version."""
    selector = {"matchLabels": {"app": ports.name("chat")}}
    spec = {"selector": selector, "maxUnavailable": 1}
    meta = {"name": ports.name("pdb"), "namespace": "default"}
    made = await ports.api.create(DISRUPTION_BUDGET, {"metadata": meta, "spec": spec})
    status = {"disruptionsAllowed": 1, "observedGeneration": made["metadata"].get("generation", 0)}
    counts = {"currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1}
    await ports.api.patch_status(DISRUPTION_BUDGET, ports.name("pdb"), {"status": status | counts}, "default")
    (found,) = [b for b in await ports.cluster.disruption_budgets() if b.metadata.name == ports.name("pdb")]
    assert found.metadata.namespace == "default"
    assert found.spec.selector == Selector(match_labels=selector["matchLabels"])
    assert found.status.disruptions_allowed == 1
    assert found.status.observed_generation == found.metadata.generation
