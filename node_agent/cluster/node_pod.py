"""NodePod: a pod with the paths of the host that it mounts, which only the node's agent reads. Decoded by `kube`."""

import msgspec

from allocator.mig import profile
from kubeclient.objects import Pod, PodSpec

_DIGITS = 6  # no node has a million GPUs


class HostPath(msgspec.Struct, frozen=True):
    """A path of the host."""

    path: str = ""


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    """A volume, where it is a path of the host."""

    host_path: HostPath | None = None


class NodePodSpec(PodSpec, frozen=True, rename="camel"):
    """What the agent reads of a pod's spec."""

    volumes: tuple[Volume, ...] | None = None


class NodePod(Pod, frozen=True):
    """A pod of the agent's own node."""

    spec: NodePodSpec = NodePodSpec()

    @property
    def started(self) -> bool:
        """Whether the kubelet has admitted it (it sets `start_time` then): it has all devices that it will ever get."""
        return self.status.start_time is not None and not self.is_over

    @property
    def whole_gpus(self) -> tuple[tuple[str, int], ...]:
        """How many GPUs containers ask for as a whole, by name; 0 for what is no plain number, which the API server
        does not admit.
        """
        containers = (*self.spec.containers, *(self.spec.init_containers or ()))
        asked = ((container.name, container.resources) for container in containers if container.resources is not None)
        named = ((name, {**(one.requests or {}), **(one.limits or {})}) for name, one in asked)
        return tuple((name, _number(one[profile.WHOLE_GPU])) for name, one in named if profile.WHOLE_GPU in one)

    @property
    def host_paths(self) -> frozenset[str]:
        """The host's paths that it mounts, without a slash at the end."""
        paths = (volume.host_path.path for volume in self.spec.volumes or () if volume.host_path is not None)
        return frozenset(path.rstrip("/") or "/" for path in paths)


def _number(quantity: str | int) -> int:
    text = str(quantity)
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else 0
