"""Values that deploy/chart refuses: by its schema, by what goes together, and by the cluster's version."""

import copy
from typing import Any

import pytest

from tests.e2e.helm import Document, Helm

pytestmark = pytest.mark.e2e

LOCK = {"apiLock": {"enabled": True}}
SERVICE_CA = {"admission": "webhook", "webhook": {"certificate": "service-ca"}}


BAD_VALUES: dict[str, Any] = {  # by the place that the refusal has to name
    "/mode": {"mode": "queues"},
    "/image/pullPolicy": {"image": {"pullPolicy": "always"}},
    "/image/agentDigest": {"image": {"agentDigest": "sha256:abc"}},
    "/image/repository": {"image": {"repository": "Registry.example.com/migsched"}},
    "/imagePullSecrets/0": {"imagePullSecrets": ["registry"]},
    "/commonLabels/team": {"commonLabels": {"team": 1}},
    "/scheduler/replicas": {"scheduler": {"replicas": 0}},
    "/scheduler/settings": {"scheduler": {"settings": {"queue_oder": "fair"}}},
    "/scheduler/settings/queue_events": {"scheduler": {"settings": {"queue_events": "yes"}}},
    "/scheduler/resources/limits/memory": {"scheduler": {"resources": {"limits": {"memory": "2GB"}}}},
    "/scheduler/resources/requests": {"scheduler": {"resources": {"requests": {"gpu": 1}}}},
    "/scheduler/tolerations/0/operator": {"scheduler": {"tolerations": [{"operator": "exists"}]}},
    "/scheduler/affinity": {"scheduler": {"affinity": {"nodeafinity": {}}}},
    "/queue/admission": {"queue": {"admission": "map"}},
    "/queue/webhook/certificate": {"queue": {"webhook": {"certificate": "none"}}},
    "/queue/webhook/caBundle": {"queue": {"webhook": {"caBundle": "-----BEGIN"}}},
    "/extender/unnamedPods": {"extender": {"unnamedPods": "refuse"}},
    "/kubeScheduler/percentageOfNodesToScore": {"kubeScheduler": {"percentageOfNodesToScore": 101}},
    "/kubeScheduler/extraManagedResources/0": {"kubeScheduler": {"extraManagedResources": ["nvidia.com/gpu"]}},
    "/standalone/clientFiles": {"standalone": {"clientFiles": "etc"}},
    "/agent/namespace/name": {"agent": {"namespace": {"name": "Agents"}}},
    "/agent/hostDriver": {"agent": {"hostDriver": "yes"}},
    "/agent/settings": {"agent": {"settings": {"driver_root": "/"}}},
    "/agent": {"agent": {"hostdriver": True}},
    "/simulate/gpus": {"simulate": {"gpus": 0}},
    "/crds": {"crds": {"enabled": True}},
    "/apiLock": {"apiLock": {"enable": True}},
    "/apiLock/tlsSecret": {"apiLock": {"tlsSecret": "A"}},
    "/networkPolicy/from/0": {"networkPolicy": {"from": [{}]}},
    "/priorityClasses/value": {"priorityClasses": {"value": 2000000000}},
    "/monitoring/serviceMonitor/interval": {"monitoring": {"serviceMonitor": {"interval": "30"}}},
    "/openshift/route/termination": {"openshift": {"route": {"termination": "passthrough"}}},
    "": {"replicas": 3},
}


def test_a_bad_value_is_named(helm: Helm) -> None:
    """The schema refuses each bad value, unknown keys at any level included, and names its place."""
    together: Document = {}
    for values in BAD_VALUES.values():
        merge(together, values)
    told = helm.refusal(together)
    for place in BAD_VALUES:
        assert f"- at '{place}': " in told, place


def merge(into: Document, values: Document) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "scheduler.replicas: must be 1": {"mode": "extender", "scheduler": {"replicas": 2}},
    "queue.admission: says nothing": {"mode": "extender", "queue": {"admission": "policy"}},
    "agent.namespace.name: must differ": {"agent": {"namespace": {"name": "migsched-system"}}},
    "simulate.enabled: needs agent.enabled": {"simulate": {"enabled": True}, "agent": {"enabled": False}},
    "simulate.enabled: simulated GPUs": {"simulate": {"enabled": True}, "agent": {"hostDriver": True}},
    "openshift.route.host: is needed": {"openshift": {"route": {"enabled": True}}},
    "queue.moves: needs mode: queue": {"mode": "extender", "queue": {"moves": True}},
    "queue.webhook.certificate: service-ca needs": {"queue": SERVICE_CA},
    "tokenSecret: is needed with apiLock": {**LOCK, "monitoring": {"serviceMonitor": {"enabled": True}}},
    "tokenSecret: a token would be sent": {"monitoring": {"serviceMonitor": {"enabled": True, "tokenSecret": "a"}}},
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_values_that_do_not_go_together_are_refused(helm: Helm, said: str) -> None:
    """The refusal names the value, and what to do."""
    assert said in helm.refusal(CONTRADICTIONS[said])


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("queue.admission: policy needs", {"queue": {"admission": "policy"}}),
        ("extender.unnamedPods: mutate needs", {"mode": "extender", "extender": {"unnamedPods": "mutate"}}),
    ],
)
def test_a_policy_that_the_cluster_does_not_serve_is_refused(helm: Helm, said: str, values: Document) -> None:
    """Before Kubernetes 1.36 nothing is installed that the API server would refuse half-way."""
    assert said in helm.refusal(values, "--kube-version=1.35.0")
