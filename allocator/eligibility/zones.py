"""Zones: Kubernetes' well-known labels by which a node and a volume say in which zone and region they are."""

ZONES = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
