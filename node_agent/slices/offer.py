"""DeviceOffer: what the kubelet is told of one device beside its id. Made by allocation, sent by kubelet.plugin."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceOffer:
    """Whether a device is well, and the NUMA node of its GPU for the kubelet's Topology Manager; None if not known."""

    healthy: bool = True
    numa_node: int | None = None
