"""The contract of `simulator.cluster.api.Api`, on every implementation."""

from contextlib import aclosing

import pytest

from allocator import errors
from kubeclient.changes import Change, ChangeType
from scheduler.cache.port import Binding
from simulator.cluster import api
from simulator.cluster.api import EVENT, MIG_NODE, NODE, POD, Document
from tests.contract.cluster.conftest import Ports

STATUS = {"contractVersion": 1, "agent": {"version": "1", "mode": "simulated"}}


async def changes(ports: Ports, kind: api.ResourceKind, version: str, count: int) -> list[Change[Document]]:
    """The next changes of this test's own objects."""
    found: list[Change[Document]] = []
    async with aclosing(ports.api.watch(kind, version)) as watch:
        async for change in watch:
            if change.item is not None and change.item["metadata"]["name"].endswith(ports.suffix):
                found.append(change)
            if len(found) == count:
                break
    return found


def binding(ports: Ports, pod: Document, node: str = "n1") -> Binding:
    meta = pod["metadata"]
    return Binding("default", meta["name"], meta["uid"], node, {"a": "b"})


async def test_created_object_is_read_back(ports: Ports) -> None:
    """A created object has a UID and a version, and is what get and list then show."""
    made = await ports.created()
    assert made["metadata"]["uid"]
    assert made["status"]["phase"] == "Pending"
    assert await ports.api.get(POD, ports.name("pod"), "default") == made
    listed = [d for d in (await ports.api.list(POD)).items if d["metadata"]["uid"] == made["metadata"]["uid"]]
    assert listed == [made]


async def test_name_is_taken_once(ports: Ports) -> None:
    """A second object of the same name is a conflict."""
    await ports.created()
    with pytest.raises(errors.ConflictError):
        await ports.created()


async def test_names_are_generated(ports: Ports) -> None:
    """generateName gives each object a name of its own."""
    document = ports.pod()
    document["metadata"] = {"generateName": "web-", "namespace": "default"}
    names = {(await ports.api.create(POD, document))["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("web-") for name in names)


async def test_absent_object_is_not_found(ports: Ports) -> None:
    """Every verb on an object that is not there is NotFoundError."""
    name = ports.name("absent")
    for call in (
        ports.api.get(POD, name, "default"),
        ports.api.patch(NODE, name, {"metadata": {"labels": {"a": "b"}}}),
        ports.api.patch_status(MIG_NODE, name, {"status": STATUS}),
        ports.api.delete(NODE, name),
        ports.api.bind(Binding("default", name, "", "n1", {})),
    ):
        with pytest.raises(errors.NotFoundError):
            await call


@pytest.mark.parametrize(
    "containers",
    [
        [],
        [{"name": "main"}, {"name": "main"}],
        [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "-1"}}}],
        [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "500m"}}}],
        [{"name": "main", "resources": {"requests": {"nvidia.com/mig-1g.5gb": "1"}}}],
        [{"name": "main", "resources": {"limits": {"cpu": "four"}}}],
    ],
    ids=["none", "namesakes", "negative", "half", "request-without-limit", "no-quantity"],
)
async def test_bad_pods_are_refused(ports: Ports, containers: list[Document]) -> None:
    """A pod without containers, with namesakes, or with an impossible number of slices is RefusedError."""
    with pytest.raises(errors.RefusedError):
        await ports.created(containers=[{"image": "none", **one} for one in containers])


async def test_bad_names_are_refused(ports: Ports) -> None:
    """A name that is no DNS subdomain is RefusedError."""
    document = ports.pod()
    document["metadata"]["name"] = f"Größe_{ports.suffix}"
    with pytest.raises(errors.RefusedError):
        await ports.api.create(POD, document)


async def test_requests_default_to_limits(ports: Ports) -> None:
    """What a container's limits name and its requests do not is requested too."""
    limits = {"nvidia.com/mig-1g.5gb": "1", "cpu": "2"}
    resources = {"limits": limits, "requests": {"cpu": "1"}}
    made = await ports.created(containers=[{"name": "main", "image": "none", "resources": resources}])
    requests = made["spec"]["containers"][0]["resources"]["requests"]
    assert requests == {"nvidia.com/mig-1g.5gb": "1", "cpu": "1"}


async def test_merge_patch_sets_and_removes(ports: Ports) -> None:
    """A merge patch sets what it names, removes what it says is null and leaves the rest."""
    document = ports.node()
    document["metadata"]["labels"] = {"keep": "1", "drop": "1"}
    await ports.api.create(NODE, document)
    after = await ports.api.patch(NODE, ports.name("node"), {"metadata": {"labels": {"drop": None, "new": "2"}}})
    assert after["metadata"]["labels"] == {"keep": "1", "new": "2"}


async def test_status_of_a_node_is_kept_on_create(ports: Ports) -> None:
    """A node created with a status has it: that is how simulated nodes say what they offer."""
    made = await ports.api.create(NODE, ports.node())
    assert made["status"]["allocatable"] == {"cpu": "4", "pods": "10"}


async def test_status_is_written_only_as_status(ports: Ports) -> None:
    """Create and patch leave the status of a MigNode alone; patch_status writes it and nothing else."""
    name = ports.name("node")
    made = await ports.api.create(MIG_NODE, {"metadata": {"name": name}, "status": STATUS})
    assert "status" not in made
    assert "status" not in await ports.api.patch(MIG_NODE, name, {"metadata": {"labels": {"a": "b"}}, "status": STATUS})
    after = await ports.api.patch_status(MIG_NODE, name, {"metadata": {"labels": {"c": "d"}}, "status": STATUS})
    assert after["status"] == STATUS
    assert after["metadata"]["labels"] == {"a": "b"}


async def test_patch_of_an_old_version_is_a_conflict(ports: Ports) -> None:
    """A patch that names a version is refused once the object has another."""
    made = await ports.api.create(NODE, ports.node())
    old = {"resourceVersion": made["metadata"]["resourceVersion"]}
    await ports.api.patch(NODE, ports.name("node"), {"metadata": {**old, "labels": {"a": "1"}}})
    with pytest.raises(errors.ConflictError):
        await ports.api.patch(NODE, ports.name("node"), {"metadata": {**old, "labels": {"a": "2"}}})


async def test_patch_meant_for_another_object_is_refused(ports: Ports) -> None:
    """A patch that names another UID changes nothing."""
    made = await ports.api.create(NODE, ports.node())
    with pytest.raises(errors.ClusterError):
        await ports.api.patch(NODE, ports.name("node"), {"metadata": {"uid": "another", "labels": {"a": "1"}}})
    assert await ports.api.get(NODE, ports.name("node")) == made


async def test_document_of_another_kind_is_refused(ports: Ports) -> None:
    """A document that says it is something else is RefusedError."""
    with pytest.raises(errors.RefusedError):
        await ports.api.create(NODE, {**ports.node(), "apiVersion": "v1", "kind": "Pod"})


async def test_patch_that_changes_nothing_is_no_change(ports: Ports) -> None:
    """An object patched to what it is keeps its version, and no watch tells of it."""
    made = await ports.api.create(NODE, ports.node())
    version = made["metadata"]["resourceVersion"]
    label = {"metadata": {"labels": {"a": "1"}}}
    once = await ports.api.patch(NODE, ports.name("node"), label)
    assert await ports.api.patch(NODE, ports.name("node"), label) == once
    await ports.api.delete(NODE, ports.name("node"))
    seen = await changes(ports, NODE, version, 2)
    assert [change.type for change in seen] == [ChangeType.MODIFIED, ChangeType.DELETED]


async def test_spec_of_a_pod_is_fixed(ports: Ports) -> None:
    """A pod's node cannot be patched in, and its gates can be removed but not added."""
    gates = [{"name": "migsched.io/place"}]
    await ports.created(schedulingGates=gates)
    for spec in ({"nodeName": "n1"}, {"schedulingGates": [*gates, {"name": "migsched.io/two"}]}):
        with pytest.raises(errors.RefusedError):
            await ports.api.patch(POD, ports.name("pod"), {"spec": spec}, "default")
    after = await ports.api.patch(POD, ports.name("pod"), {"spec": {"schedulingGates": None}}, "default")
    assert "schedulingGates" not in after["spec"]


async def test_watch_tells_every_change_in_order(ports: Ports) -> None:
    """A watch tells every later change of a kind once, in order, with rising versions, and the deleted object."""
    version = (await ports.api.list(POD)).resource_version
    made = await ports.created()
    await ports.api.bind(binding(ports, made))
    await ports.api.patch_status(POD, ports.name("pod"), {"status": {"phase": "Running"}}, "default")
    await ports.api.delete(POD, ports.name("pod"), "default", grace_seconds=0)
    seen = await changes(ports, POD, version, 5)
    phases = [(change.type, change.item and change.item["status"]["phase"]) for change in seen]
    assert phases == [
        (ChangeType.ADDED, "Pending"),
        (ChangeType.MODIFIED, "Pending"),  # bound
        (ChangeType.MODIFIED, "Running"),
        (ChangeType.MODIFIED, "Running"),  # marked as being deleted
        (ChangeType.DELETED, "Running"),
    ]
    versions = [int(change.resource_version) for change in seen]
    assert versions == sorted(set(versions))
    last = seen[-1].item
    assert last is not None
    assert last["metadata"]["deletionGracePeriodSeconds"] == 0
    assert last["metadata"]["uid"] == made["metadata"]["uid"]


async def test_watch_begins_after_its_version(ports: Ports) -> None:
    """What happened up to the version of a watch is not told again."""
    made = await ports.created("first")
    await ports.created("second")
    (seen,) = await changes(ports, POD, made["metadata"]["resourceVersion"], 1)
    assert seen.item is not None
    assert seen.item["metadata"]["name"] == ports.name("second")


async def test_bind_writes_node_and_annotations_at_once(ports: Ports) -> None:
    """One change carries a bound pod's node and annotations, and its condition says that it is scheduled."""
    made = await ports.created()
    await ports.api.bind(binding(ports, made, "n7"))
    (seen,) = await changes(ports, POD, made["metadata"]["resourceVersion"], 1)
    assert seen.item is not None
    assert seen.item["spec"]["nodeName"] == "n7"
    assert seen.item["metadata"]["annotations"]["a"] == "b"
    conditions = {c["type"]: c["status"] for c in seen.item["status"]["conditions"]}
    assert conditions["PodScheduled"] == "True"


async def test_bind_refuses_what_is_not_to_be_bound(ports: Ports) -> None:
    """A pod that is bound, gated, or another than the UID says is a conflict."""
    bound = await ports.created("bound")
    await ports.api.bind(binding(ports, bound))
    gated = await ports.created("gated", schedulingGates=[{"name": "migsched.io/place"}])
    other = await ports.created("other")
    other["metadata"]["uid"] = bound["metadata"]["uid"]
    for pod in (bound, gated, other):
        with pytest.raises(errors.ConflictError):
            await ports.api.bind(binding(ports, pod))


async def test_pod_on_a_node_waits_for_its_kubelet(ports: Ports) -> None:
    """A deleted pod on a node is marked and stays; it cannot be bound; with grace 0 it goes."""
    made = await ports.created(nodeName="n1")
    name = ports.name("pod")
    await ports.api.delete(POD, name, "default")
    marked = await ports.api.get(POD, name, "default")
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 5
    with pytest.raises(errors.ConflictError):
        await ports.api.bind(binding(ports, made))
    await ports.api.delete(POD, name, "default", uid=made["metadata"]["uid"], grace_seconds=0)
    with pytest.raises(errors.NotFoundError):
        await ports.api.get(POD, name, "default")


async def test_pod_without_a_node_goes_at_once(ports: Ports) -> None:
    """A deleted pod that was never bound, or is over, is gone."""
    await ports.created("unbound")
    await ports.created("over", nodeName="n1")
    await ports.api.patch_status(POD, ports.name("over"), {"status": {"phase": "Succeeded"}}, "default")
    for stem in ("unbound", "over"):
        await ports.api.delete(POD, ports.name(stem), "default")
        with pytest.raises(errors.NotFoundError):
            await ports.api.get(POD, ports.name(stem), "default")


async def test_delete_respects_the_uid(ports: Ports) -> None:
    """A deletion meant for another object of that name is a conflict."""
    await ports.created()
    with pytest.raises(errors.ConflictError):
        await ports.api.delete(POD, ports.name("pod"), "default", uid="another")
    assert await ports.api.get(POD, ports.name("pod"), "default")


async def test_events_can_be_told(ports: Ports) -> None:
    """An event about a pod is created and listed."""
    made = await ports.created()
    involved = {"kind": "Pod", "namespace": "default", "name": ports.name("pod"), "uid": made["metadata"]["uid"]}
    event = {
        "metadata": {"generateName": "pod.", "namespace": "default"},
        "involvedObject": involved,
        "reason": "Refused",
        "message": "why",
        "type": "Warning",
    }
    await ports.api.create(EVENT, event)
    told = [e["reason"] for e in (await ports.api.list(EVENT)).items if e["involvedObject"] == involved]
    assert told == ["Refused"]


async def test_version_that_is_none_is_refused(ports: Ports) -> None:
    """A watch from something that is no version is an error, not an endless silence."""
    with pytest.raises(errors.ClusterError):
        await changes(ports, POD, "yesterday", 1)
