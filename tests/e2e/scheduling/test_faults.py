"""Things die in mid-burst on the genuine control plane; afterwards every pod is placed, once."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from allocator import errors
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Binding
from testbed.control_plane import ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e.scheduling.stack import ExtenderProcess, Stack, bound, eventually, placements, pod

pytestmark = pytest.mark.e2e

PODS = 120


@pytest.fixture
def fresh(plane: ControlPlane) -> Iterator[Stack]:
    """Nodes and agents; the test starts extender and kube-scheduler as it needs them."""
    with closing(Stack(plane, 3, 8)) as stack:
        yield stack
        stack.clear()
    plane.kubectl("delete", "nodes,mignodes", "--all")


def all_running(stack: Stack) -> bool:
    """Whether every pod of the burst runs."""
    pods = stack.pods()
    return len(pods) == PODS and all(p["status"]["phase"] == "Running" for p in pods)


def assert_sound(stack: Stack) -> None:
    """Promises are legal and disjoint, and the hardware holds exactly what is promised."""
    promised = {gpu: sorted(p for _, p in there) for gpu, there in placements(stack, stack.pods()).items()}
    assert sum(len(there) for there in promised.values()) == PODS
    assert promised == {gpu: sorted(there) for gpu, there in stack.agents.in_use().items() if there}


def burst(stack: Stack) -> None:
    """Create the pods."""
    stack.create(*(pod(f"burst-{n}", "1g.5gb") for n in range(PODS)))


class LosesReplies:
    """The real cluster, but the reply of every third Binding is lost after it was carried out."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.lost = 0
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def bind(self, binding: Binding) -> None:
        """Bind, and perhaps say that nobody knows."""
        await self._client.bind(binding)
        self._calls += 1
        if self._calls % 3 == 0:
            self.lost += 1
            raise errors.UnreachableError("the reply was lost")


def test_lost_bind_replies_double_and_lose_nothing(fresh: Stack) -> None:
    """Where the reply of a Binding is lost, the pod is bound once, at the place that was reserved."""
    client = LosesReplies(fresh.loop.run(KubeClient.connect(fresh.plane.kubeconfig)))
    service = fresh.serve(client)
    fresh.schedule()
    burst(fresh)
    eventually(lambda: all_running(fresh), "all pods running")
    assert client.lost > PODS // 6
    assert_sound(fresh)
    assert len(service.state.inventory.ledger) == PODS


def test_an_api_server_restart_in_mid_burst_doubles_and_loses_nothing(fresh: Stack) -> None:
    """The API server goes away and comes back while pods are bound; all of them end up placed."""
    service = fresh.serve()
    burst(fresh)
    scheduling = threading.Thread(target=fresh.schedule, daemon=True)
    with fresh.recorded() as seen:
        scheduling.start()
        eventually(lambda: len(bound(seen)) > PODS // 10, "a part of the burst bound")
        fresh.plane.restart_apiserver()
    scheduling.join()
    eventually(lambda: all_running(fresh), "all pods running")
    assert_sound(fresh)
    fresh.loop.run(checked(service))


async def checked(service: Any) -> None:
    """The service's own books agree."""
    service.state.inventory.check()


def test_an_extender_killed_in_mid_burst_comes_back_with_the_same_books(fresh: Stack, tmp_path: Path) -> None:
    """SIGKILL of the extender while pods are bound: restarted, it knows every claim and places the rest."""
    extender_port, api_port = ports.choose_free(2)
    extender = ExtenderProcess(fresh.plane.kubeconfig, tmp_path, extender_port, api_port)
    extender.start()
    try:
        fresh.schedule(extender.url)
        creating = threading.Thread(target=burst, args=(fresh,), daemon=True)
        with fresh.recorded() as seen:
            creating.start()
            eventually(lambda: len(bound(seen)) > PODS // 10, "a part of the burst bound")
            extender.kill()
        creating.join()
        assert len(bound(fresh.pods())) < PODS
        extender.start()
        eventually(lambda: all_running(fresh), "all pods running")
        assert_sound(fresh)
    finally:
        extender.stop()


def test_claims_are_rebuilt_from_the_cluster_alone(fresh: Stack) -> None:
    """A second service, started beside a full cluster, has the same claims in the same places."""
    first = fresh.serve()
    fresh.schedule()
    burst(fresh)
    eventually(lambda: all_running(fresh), "all pods running")
    second = fresh.serve()
    books = [{c.uid: c.holds for c in service.state.inventory.ledger} for service in (first, second)]
    assert books[0] == books[1]
    assert len(books[1]) == PODS


def test_etcd_put_back_to_an_older_state_is_noticed(fresh: Stack, tmp_path: Path) -> None:
    """Where a backup of etcd is restored, the books follow the cluster's older state, and nothing is doubled."""
    service = fresh.serve()
    fresh.schedule()
    fresh.create(*(pod(f"kept-{n}", "3g.20gb") for n in range(20)))
    eventually(lambda: len(bound(fresh.pods())) == 20, "the first pods bound")
    fresh.plane.save(tmp_path / "backup")
    fresh.create(*(pod(f"lost-{n}", "1g.5gb") for n in range(60)))
    eventually(lambda: len(bound(fresh.pods())) == 80, "all pods bound")
    fresh.plane.restore(tmp_path / "backup")
    eventually(lambda: len(service.state.inventory.ledger) == 20, "the lost pods forgotten")
    for process in fresh.plane.children:
        if process.name == "kube-scheduler":  # its own watches are silent until the versions are reached again
            process.restart()
    fresh.create(*(pod(f"new-{n}", "2g.10gb") for n in range(20)))
    eventually(lambda: len(bound(fresh.pods())) == 40, "new pods bound")
    placements(fresh, fresh.pods())
    fresh.loop.run(checked(service))
