"""Policies that follow the demand: what pods ask for weighs the losses of the fleet, for those policies alone."""

import numpy as np
import pytest

from allocator.placement import policy
from allocator.placement.fleet import Fleet
from allocator.placement.policy import Weights
from allocator.request import Request
from kubeclient.changes import Change, ChangeType
from scheduler import settings
from scheduler.cache.demand_follower import DemandFollower
from scheduler.cache.port import WatchedKind
from scheduler.service import Service
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node, request
from tests.unit.scheduler.cache.test_cluster_cache import mig_node, pod, status_of


def service(named: str) -> Service:
    """A service under a policy, over a cluster with one node, not started."""
    chosen = settings.load(policy=named, extender_port=0, api_host="127.0.0.1", api_port=0)
    made = Service(chosen, MemoryCluster(MemoryServer()))
    made.state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node("n", status_of("n")), "1"))
    return made


def follower(of: Service) -> DemandFollower:
    """Who follows the demand of a service."""
    assert of.demand is not None
    return of.demand


def weights_of(fleet: Fleet) -> dict[str, float]:
    """The weights that a fleet's policy has now."""
    score = fleet.policy.loss
    weights: Weights = getattr(score, "weights")  # noqa: B009 - only fgd's score has them
    return dict(weights)


async def test_what_new_pods_ask_for_weighs_the_policy() -> None:
    """After a look, profiles that pods asked for weigh more than others, and each pod counts once."""
    running = service("fgd")
    state = running.state
    for number in range(400):
        state.remember(pod(f"p{number}"))
        state.remember(pod(f"p{number}"))
    await follower(running).look()
    first = weights_of(state.inventory.fleet)
    assert first["1g.5gb"] == 1.0
    assert all(weight < 1.0 for name, weight in first.items() if name != "1g.5gb")
    await follower(running).look()
    assert weights_of(state.inventory.fleet) == first, "nothing new was asked for"


async def test_losses_are_those_of_the_weights() -> None:
    """A fleet that was asked before a look answers afterwards as one that had the weighed policy from the start."""
    running = service("fgd")
    fleet = running.state.inventory.fleet
    asked = [request("1g.5gb"), request("3g.20gb"), request("1g.5gb", "2g.10gb")]
    rows = fleet.rows_of(["n"])
    for one in asked:
        fleet.losses(one, rows)
    for number in range(300):
        running.state.remember(pod(f"p{number}"))
    running.state.inventory.observe(node("n").gpu().allocated("1g.5gb", 0, pod="x").report())
    await follower(running).look()
    fresh = Fleet(fleet.policy)
    fresh.put("n", fleet.gpus("n"))
    assert weights_of(fresh)["1g.5gb"] == 1.0
    for one in asked:
        np.testing.assert_array_equal(fleet.losses(one, rows), fresh.losses(one, fresh.rows_of(["n"])))


async def test_a_new_kind_of_gpu_starts_the_average_anew_with_the_pods_known() -> None:
    """Profiles that a new GPU model brings take part, and what known pods ask for is not forgotten."""
    running = service("fgd")
    for number in range(400):
        running.state.remember(pod(f"p{number}"))
    await follower(running).look()
    running.state.inventory.observe(node("m").gpu("h100-80gb").report())
    await follower(running).look()
    weights = weights_of(running.state.inventory.fleet)
    assert "1g.10gb" in weights
    assert weights["1g.5gb"] == 1.0


async def test_without_gpus_there_is_nothing_to_weigh() -> None:
    """A look at an empty cluster changes nothing."""
    fleet = Fleet(policy.find("fgd"))
    known: list[Request] = []
    await DemandFollower(fleet, policy.fgd, lambda: known, 1.0).look()
    assert fleet.policy is policy.find("fgd")


@pytest.mark.parametrize("named", [name for name in policy.POLICIES if name != "fgd"])
def test_other_policies_follow_nothing(named: str) -> None:
    """Where the losses do not follow the demand, nobody is told of requests."""
    running = service(named)
    assert running.demand is None
    assert running.state.on_request is None
