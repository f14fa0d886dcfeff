"""What the agent needs on a node is judged at once, with what is wrong and what would do."""

from dataclasses import fields, replace
from typing import Any

import pytest

from node_agent import preconditions
from node_agent.cluster import access
from node_agent.preconditions import Directory, Precondition, Surroundings
from tests.unit.deploy import manifests

STATE = Directory("/var/lib/migsched", free_bytes=1 << 30, file_system="ext4")
PLUGINS = Directory("/var/lib/kubelet/device-plugins", file_system="ext4")
WELL = Surroundings("gpu-1", STATE, PLUGINS, Directory("/var/run/cdi", file_system="tmpfs"), gpus=2)
UNKNOWN = replace(WELL, gpus=None, node_is_known=None, serves_mig_nodes=None, missing_rights=None)
# What is wrong → the precondition's name, a word of what is wrong, and whether the agent starts without it.
WRONG: list[tuple[dict[str, Any], str, str, bool]] = [
    ({"node": ""}, "node name", "there is none", True),
    ({"node_is_known": False}, "node name", "knows no node 'gpu-1'", False),
    ({"state_dir": replace(STATE, writable=False)}, "state directory", "cannot be written", True),
    ({"state_dir": replace(STATE, free_bytes=4096)}, "state directory", "is full", True),
    ({"state_dir": replace(STATE, file_system="tmpfs")}, "state survives a reboot", "is on tmpfs", False),
    ({"journal": "journal.json.0 is damaged"}, "journal", "is damaged", True),
    ({"conflict": "pod a manages this node's GPUs"}, "no other manager of the GPUs", "pod a manages", True),
    ({"metrics_port": "cannot listen on port 9410"}, "metrics port", "cannot listen", True),
    ({"plugin_dir": replace(PLUGINS, exists=False)}, "kubelet's device plugin directory", "does not exist", False),
    ({"plugin_dir": replace(PLUGINS, writable=False)}, "kubelet's device plugin directory", "be written", False),
    ({"kubelet": "kubelet.sock does not answer"}, "kubelet's device plugin directory", "does not answer", False),
    ({"pod_resources": "no socket"}, "kubelet's PodResources", "no socket", False),
    ({"driver": "no driver below /run"}, "driver", "no driver", False),
    ({"gpus": 0}, "driver", "shows no GPU", False),
    ({"cdi_dir": Directory("/var/run/cdi", writable=False)}, "CDI directory", "cannot be written", False),
    ({"api_settings": "kubeconfig: cannot be used"}, "API server", "kubeconfig", True),
    ({"api": "timed out"}, "API server", "timed out", False),
    ({"serves_mig_nodes": False}, "CRD MigNode", "does not know", False),
    ({"missing_rights": ("patch nodes",)}, "RBAC", "may not patch nodes", False),
]


def test_a_node_that_has_everything_lacks_nothing() -> None:
    """On a node as the deployment leaves it every precondition holds."""
    judged = preconditions.judge(WELL)
    assert [str(precondition) for precondition in judged if precondition.ok is not True] == []
    assert len({precondition.name for precondition in judged}) == len(judged) == len(preconditions.CHECKS)


@pytest.mark.parametrize(("change", "name", "wrong", "needed"), WRONG)
def test_what_is_wrong_is_named_with_a_fix(change: dict[str, Any], name: str, wrong: str, needed: bool) -> None:
    """One thing that is wrong fails exactly its precondition, says why and what would do, and whether it is needed."""
    (failed,) = preconditions.failures(preconditions.judge(replace(WELL, **change)))
    assert (failed.name, failed.needed) == (name, needed)
    assert wrong in failed.wrong
    assert failed.fix
    assert str(failed) == f"{failed.name}: {failed.wrong}: {failed.fix}"


def test_every_fact_is_judged() -> None:
    """No field of what is looked at is without a case above, so none is looked at in vain."""
    judged = {field for change, *_ in WRONG for field in change}
    assert {field.name for field in fields(Surroundings)} - judged == {"observer", "simulated", "starting"}


def test_all_that_is_wrong_is_told_at_once() -> None:
    """However much is missing, one message on one line names all of it."""
    found = WELL
    for change in [change for change, *_ in WRONG if change != {"node": ""}]:
        found = replace(found, **change)
    failed = preconditions.failures(preconditions.judge(found))
    message = preconditions.message("gpu-1", failed)
    assert message.startswith(f"node gpu-1: {len(failed)} preconditions are not met: (1) ")
    assert "\n" not in message
    assert all(str(precondition) in message for precondition in failed)
    assert preconditions.message("gpu-1", failed[:1]) == f"node gpu-1: {failed[0]}"


def test_what_cannot_be_told_is_no_failure() -> None:
    """Where the API server or the driver was not heard, nothing is claimed either way."""
    judged = preconditions.judge(UNKNOWN)
    assert preconditions.failures(judged) == ()
    unknown = {precondition.name for precondition in judged if precondition.ok is None}
    assert unknown == {"node name", "driver", "CRD MigNode", "RBAC"}


@pytest.mark.parametrize("type_", ["overlay", ""])
def test_a_file_system_that_may_be_lost_is_told_as_unknown(type_: str) -> None:
    """An overlay may be a container's own files or a live system's disk: unknown is not no."""
    judged = preconditions.judge(replace(WELL, state_dir=replace(STATE, file_system=type_)))
    assert [p.ok for p in judged if p.name == "state survives a reboot"] == [None]
    simulated = preconditions.judge(replace(WELL, simulated=True, state_dir=replace(STATE, file_system="tmpfs")))
    assert preconditions.failures(simulated) == ()


def test_an_observer_needs_little() -> None:
    """An observer writes nothing on the node: neither its directories nor another manager of the GPUs matter."""
    found = replace(WELL, observer=True, state_dir=replace(STATE, writable=False), conflict="another", kubelet="gone")
    judged = preconditions.judge(found)
    assert preconditions.failures(judged) == ()
    assert {p.name for p in judged} == {"node name", "metrics port", "driver", "API server", "CRD MigNode", "RBAC"}


def test_a_taken_port_beside_a_running_agent_is_no_failure() -> None:
    """A look on a node where the agent runs finds its port taken, by that agent."""
    found = replace(WELL, metrics_port="cannot listen on port 9410", starting=False)
    assert preconditions.failures(preconditions.judge(found)) == ()


def test_more_checks_can_be_given() -> None:
    """A check is a function of what was found; one that does not apply says nothing."""
    checks = [lambda _: None, lambda found: Precondition(found.node, False, "wrong", "fix")]
    assert [str(p) for p in preconditions.judge(WELL, checks)] == ["gpu-1: wrong: fix"]


def test_the_rights_are_those_that_are_granted() -> None:
    """What the agent asks whether it may do is what deploy grants: neither more, nor less but for unused verbs."""
    granted = {
        access.Right(verb, resource.partition("/")[0], group, resource.partition("/")[2])
        for file in ("rbac/agent/agent.yaml", "options/agent-operator-labels/rbac.yaml")
        for rule in manifests.one(manifests.DEPLOY / file, "ClusterRole")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {*access.RIGHTS, *access.LABEL_RIGHTS}
    assert asked <= granted
    assert {str(right) for right in granted - asked} == {
        "get mignodes.migsched.io",
        "patch mignodes.migsched.io",
        "update mignodes/status.migsched.io",
    }
