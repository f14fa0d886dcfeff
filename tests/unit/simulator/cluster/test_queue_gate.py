"""The server in memory gates the pods that the shipped policy gates."""

import re

import pytest

from allocator.mig.profile import RESOURCE_PREFIX
from allocator.queueing.queued_pod import GATE
from simulator.cluster.api import POD
from simulator.cluster.memory_cluster import queue_gate
from simulator.cluster.memory_cluster.server import MemoryServer
from tests import gate_cases
from tests.unit.deploy import manifests

POLICY = manifests.one(manifests.DEPLOY / "options" / "queue" / "gate.yaml", "MutatingAdmissionPolicy")


@pytest.mark.parametrize("name", gate_cases.CASES)
def test_a_pod_gets_the_gates_of_the_rule(name: str) -> None:
    """Each example gets the gates of the table; tests/e2e/scheduling/test_release_modes.py asks the policy itself."""
    document, gates = gate_cases.CASES[name]
    pod = {**document, "metadata": {**document["metadata"], "name": name}}
    made = MemoryServer(admit=queue_gate.admitted).create(POD, pod).document
    assert gate_cases.gates_of(made) == gates
    reasons = [c.get("reason") for c in made["status"].get("conditions", ())]
    assert reasons == (["SchedulingGated"] if gates else []), "kubectl shows it as gated"


def test_names_are_those_of_the_policy() -> None:
    """Gate, schedulers, label and resource prefix are the ones that the policy's text has."""
    conditions = {one["name"]: one["expression"] for one in POLICY["spec"]["matchConditions"]}
    (listed,) = re.findall(r"schedulerName in \[(.*)\]", conditions["is-of-a-scheduler-served"])
    assert tuple(re.findall(r"'([^']*)'", listed)) == queue_gate.SCHEDULERS
    assert f"startsWith('{RESOURCE_PREFIX}')" in conditions["asks-for-slices"]
    assert conditions.keys() == {"asks-for-slices", "has-no-node", "is-of-a-scheduler-served"}
    key, value = queue_gate.OPT_OUT
    opt_out = {"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]}]}
    constraints = POLICY["spec"]["matchConstraints"]
    assert constraints["objectSelector"] == constraints["namespaceSelector"] == opt_out
    (mutation,) = POLICY["spec"]["mutations"]
    assert f'name: "{GATE}"' in mutation["applyConfiguration"]["expression"]


@pytest.mark.parametrize(
    "spec",
    [None, {}, {"containers": None}, {"containers": [{"name": "a", "resources": None}], "schedulingGates": None}],
)
def test_what_is_incomplete_is_left_for_the_server_to_judge(spec: object) -> None:
    """A pod without the fields that the rule looks at stays as it is."""
    pod = {"metadata": None, "spec": spec}
    assert queue_gate.admitted(pod) == pod
