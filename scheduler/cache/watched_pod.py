"""WatchedPod: a pod as the watch brings it, with what it says about the nodes where it may run, still as text.

Most pods of a cluster ask for no slices, and most others come from a few templates. So these parts stay raw until
`pod_constraints` reads them, once per template. They hold the text that they came in: they are not to be kept.
"""

import msgspec

from kubeclient.objects import Container, Pod, PodSpec

NOTHING = msgspec.Raw(b"null")


class WatchedContainer(Container, frozen=True, rename="camel"):
    """A container, with its ports."""

    ports: msgspec.Raw = NOTHING


class SchedulingGroup(msgspec.Struct, frozen=True, rename="camel"):
    """The PodGroup (scheduling.k8s.io) that a pod belongs to."""

    pod_group_name: str | None = None


class WatchedSpec(PodSpec, frozen=True, rename="camel"):
    """A pod's spec. `left_out` is set where the pod is too large for all its containers to be looked at; `measured` are
    then these containers with their resources alone, if those are few.
    """

    containers: tuple[WatchedContainer, ...] = ()
    init_containers: tuple[WatchedContainer, ...] | None = None
    node_selector: msgspec.Raw = NOTHING
    affinity: msgspec.Raw = NOTHING
    tolerations: msgspec.Raw = NOTHING
    topology_spread_constraints: msgspec.Raw = NOTHING
    volumes: msgspec.Raw = NOTHING
    resource_claims: msgspec.Raw = NOTHING
    resources: msgspec.Raw = NOTHING
    overhead: msgspec.Raw = NOTHING
    preemption_policy: str = ""
    scheduling_group: SchedulingGroup | None = None
    left_out: bool = False
    measured: tuple[WatchedContainer, ...] | None = None
    measured_init: tuple[WatchedContainer, ...] = ()


class WatchedPod(Pod, frozen=True):
    """A v1.Pod, in part."""

    spec: WatchedSpec = WatchedSpec()
