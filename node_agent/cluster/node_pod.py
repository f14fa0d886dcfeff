"""NodePod: a pod with what only the agent of its node reads of it: when the kubelet acknowledged it, and which paths of
the host it mounts. Decoded by `kube`; the scheduler, which holds all pods of a cluster, does without.
"""

import msgspec

from kubeclient.objects import Pod, PodSpec, PodStatus


class HostPath(msgspec.Struct, frozen=True):
    """A path of the host."""

    path: str = ""


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    """A volume, where it is a path of the host."""

    host_path: HostPath | None = None


class NodePodSpec(PodSpec, frozen=True, rename="camel"):
    """What the agent reads of a pod's spec."""

    volumes: tuple[Volume, ...] | None = None


class NodePodStatus(PodStatus, frozen=True, rename="camel"):
    """What the agent reads of a pod's status. The kubelet sets `start_time` after it admitted or rejected the pod."""

    start_time: str | None = None


class NodePod(Pod, frozen=True):
    """A pod of the agent's own node."""

    spec: NodePodSpec = NodePodSpec()
    status: NodePodStatus = NodePodStatus()

    @property
    def started(self) -> bool:
        """Whether the kubelet has admitted it: then its containers have all devices that they will ever get."""
        return self.status.start_time is not None and not self.is_over

    @property
    def host_paths(self) -> frozenset[str]:
        """The host's paths that it mounts, without a slash at the end."""
        paths = (volume.host_path.path for volume in self.spec.volumes or () if volume.host_path is not None)
        return frozenset(path.rstrip("/") or "/" for path in paths)
