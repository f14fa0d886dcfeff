"""The contract of evicting a pod, on every implementation of the scheduler service's port."""

import pytest

from allocator import errors
from simulator.cluster.api import DISRUPTION_BUDGET, POD, Document
from tests.contract.cluster.conftest import Ports


async def running(ports: Ports, stem: str = "pod") -> Document:
    """A pod that runs on a node, with a label of its own."""
    document = ports.pod(stem, nodeName="nowhere")
    document["metadata"]["labels"] = {"app": ports.suffix}
    await ports.api.create(POD, document)
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "conditions": [ready]}
    return await ports.api.patch_status(POD, ports.name(stem), {"status": status}, "default")


async def allow(ports: Ports, number: int, stem: str = "budget") -> None:
    """A budget over this test's pods that allows so many disruptions; there is no controller that counts them."""
    selector = {"matchLabels": {"app": ports.suffix}}
    meta = {"name": ports.name(stem), "namespace": "default"}
    await ports.api.create(DISRUPTION_BUDGET, {"metadata": meta, "spec": {"maxUnavailable": 1, "selector": selector}})
    counts = {"disruptionsAllowed": number, "observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1}
    status = {**counts, "expectedPods": 2}
    await ports.api.patch_status(DISRUPTION_BUDGET, ports.name(stem), {"status": status}, "default")


async def evict(ports: Ports, pod: Document) -> None:
    await ports.cluster.evict("default", pod["metadata"]["name"], pod["metadata"]["uid"])


async def test_a_pod_without_a_budget_is_deleted_in_its_grace_period(ports: Ports) -> None:
    """It is marked as being deleted, and to evict it once more does no harm."""
    pod = await running(ports)
    await evict(ports, pod)
    await evict(ports, pod)
    after = await ports.api.get(POD, ports.name("pod"), "default")
    assert after["metadata"]["deletionGracePeriodSeconds"] == 5


async def test_a_budget_is_counted_down_and_then_refuses(ports: Ports) -> None:
    """Of two pods of a budget that allows one, the second is TooManyRequestsError and stays."""
    first, second = await running(ports, "first"), await running(ports, "second")
    await allow(ports, 1)
    await evict(ports, first)
    with pytest.raises(errors.TooManyRequestsError):
        await evict(ports, second)
    assert "deletionTimestamp" not in (await ports.api.get(POD, ports.name("second"), "default"))["metadata"]
    (budget,) = [
        each for each in await ports.cluster.disruption_budgets() if each.metadata.name == ports.name("budget")
    ]
    assert budget.allowed == 0
    assert set(budget.status.disrupted_pods or ()) == {ports.name("first")}


async def test_no_pod_of_two_budgets_is_evicted(ports: Ports) -> None:
    """Kubernetes does not evict such a pod, whatever its budgets allow; it says so as an error of its own."""
    pod = await running(ports)
    await allow(ports, 1, "one")
    await allow(ports, 1, "two")
    with pytest.raises(errors.UnreachableError, match="more than one PodDisruptionBudget"):
        await evict(ports, pod)
    assert "deletionTimestamp" not in (await ports.api.get(POD, ports.name("pod"), "default"))["metadata"]


async def test_a_budget_is_not_asked_about_a_pod_that_has_not_started(ports: Ports) -> None:
    """A pending pod goes although its budget allows nothing."""
    document = ports.pod()
    document["metadata"]["labels"] = {"app": ports.suffix}
    pod = await ports.api.create(POD, document)
    await allow(ports, 0)
    await evict(ports, pod)
    with pytest.raises(errors.NotFoundError):
        await ports.api.get(POD, ports.name("pod"), "default")


async def test_an_eviction_checks_the_uid(ports: Ports) -> None:
    """Another pod of that name stays, and one that is gone is NotFoundError."""
    await running(ports)
    with pytest.raises(errors.ConflictError):
        await ports.cluster.evict("default", ports.name("pod"), "another")
    assert "deletionTimestamp" not in (await ports.api.get(POD, ports.name("pod"), "default"))["metadata"]
    with pytest.raises(errors.NotFoundError):
        await ports.cluster.evict("default", ports.name("absent"), "")
