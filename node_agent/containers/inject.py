"""Inject: the ways in which a container can get its GPUs. Chosen by settings; docs/containers.md says which for which.

`cdi` and `runtime` go by CDI names, whose meaning the agent rewrites after a reboot; what `mounts` and `env` send in
Allocate's answer the kubelet repeats as it was.
"""

from enum import StrEnum


class Inject(StrEnum):
    """How a container gets its devices and the driver's files."""

    CDI = "cdi"  # everything, by a complete CDI specification
    RUNTIME = "runtime"  # a variable, by a CDI specification; NVIDIA's container runtime does the rest
    MOUNTS = "mounts"  # a device list as volume mounts, for NVIDIA's runtime where it refuses the variable
    ENV = "env"  # a variable and device nodes, where the container runtime knows no CDI

    @property
    def by_name(self) -> bool:
        """Whether slices are handed out by CDI names."""
        return self in (Inject.CDI, Inject.RUNTIME)

    @property
    def brings_nodes(self) -> bool:
        """Whether the agent brings the device nodes; elsewhere NVIDIA's runtime does."""
        return self in (Inject.CDI, Inject.ENV)
