"""The queue's gate by its policy, which Kubernetes serves as v1 from 1.36 on; before that a webhook gives the gate."""

import pytest

from simulator.cluster import queue_policy
from testbed.control_plane.control_plane import ControlPlane
from tests.unit.deploy import manifests

_KINDS = "/apis/admissionregistration.k8s.io/v1"


def require(plane: ControlPlane) -> None:
    """Skip, saying why, where the API server does not serve the policy's kind."""
    if "mutatingadmissionpolicies" not in plane.kubectl("get", f"--raw={_KINDS}").stdout:
        pytest.skip("MutatingAdmissionPolicy is not served as v1; test_queue_webhook.py tries the webhook in its stead")


def apply(plane: ControlPlane) -> None:
    """Let new pods be gated by the policy, and wait until they are, or skip."""
    require(plane)
    plane.apply(manifests.DEPLOY / "options" / "queue" / "gate.yaml")
    queue_policy.wait_until(plane, gates=True)
