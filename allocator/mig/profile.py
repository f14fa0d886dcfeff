"""Profile, Placement, GpuPlacement: the sizes a GPU can be cut into, where on it a slice lies, and on which GPU.

Used by every other module. Positions are memory slices ("placement units" of NVML), never compute slices:
a 3g slice of a seven-slice GPU has three compute slices but covers four memory slices.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from allocator import errors

RESOURCE_PREFIX = "nvidia.com/mig-"
WHOLE_GPU = "nvidia.com/gpu"  # the resource of a GPU that is given as a whole
_NAME = re.compile(r"(?P<size>[1-9][0-9]?g\.[0-9]{1,4}gb)(?P<attribute>[+-][a-z]+(?:\.[a-z]+)*)?", re.ASCII)
_RESOURCE = re.compile(r"(?P<size>[1-9][0-9]?g\.[0-9]{1,4}gb)(?P<attribute>[.-][a-z]+(?:\.[a-z]+)*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Engines:
    """Media engines a slice takes from the GPU's total: decoders, encoders, JPEG and optical-flow engines."""

    dec: int = 0
    enc: int = 0
    jpeg: int = 0
    ofa: int = 0

    def values(self) -> tuple[int, int, int, int]:
        """The four counts in a fixed order."""
        return (self.dec, self.enc, self.jpeg, self.ofa)


@dataclass(frozen=True, slots=True)
class Profile:
    """One size of slice on one GPU model, as NVML describes a GPU instance profile.

    `profile_id` is the id that `nvidia-smi mig -lgip` prints and every NVML call but the look-up takes;
    `enum_index` is the `NVML_GPU_INSTANCE_PROFILE_*` number that the look-up takes. `starts` are memory slices.
    `memory_mib`, `sm` and `copy_engines` are None where they are not published.
    """

    name: str
    profile_id: int
    enum_index: int
    compute_slices: int
    memory_slices: int
    max_instances: int
    starts: tuple[int, ...]
    memory_mib: int | None = None
    engines: Engines | None = None
    sm: int | None = None
    copy_engines: int | None = None

    @property
    def resource(self) -> str:
        """The extended resource a pod names to ask for this profile."""
        return resource_name(self.name)

    @property
    def named_gb(self) -> int:
        """The GB of memory that its name says: rounded, and less or more than it has."""
        return int(self.name.partition(".")[2].partition("gb")[0])

    @property
    def plain(self) -> bool:
        """True for a profile without an attribute suffix such as `+me`."""
        return "+" not in self.name and not self.name.endswith("-me")


@dataclass(frozen=True, slots=True, order=True)
class Placement:
    """A profile at a start: `size` memory slices from `start` on one GPU."""

    profile: str
    start: int
    size: int
    mask: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", ((1 << self.size) - 1) << self.start)

    def overlaps(self, other: "Placement") -> bool:
        """Whether the two cover a common memory slice."""
        return bool(self.mask & other.mask)

    def __str__(self) -> str:
        return f"{self.profile}@{self.start}"


@dataclass(frozen=True, slots=True, order=True)
class GpuPlacement:
    """A placement on one GPU, named by its UUID."""

    gpu: str
    placement: Placement

    def __str__(self) -> str:
        return f"{self.placement} on {self.gpu}"

    def overlaps(self, other: "GpuPlacement") -> bool:
        """Whether both would take a memory slice of the same GPU."""
        return self.gpu == other.gpu and self.placement.overlaps(other.placement)


@lru_cache(maxsize=1024)  # an agent names some four hundred places in each step
def resource_name(profile: str) -> str:
    """`1g.5gb+me` → `nvidia.com/mig-1g.5gb.me`, the name NVIDIA's device plugin gives in its mixed strategy."""
    return RESOURCE_PREFIX + profile.replace("+", ".")


def is_mig_resource(resource: str) -> bool:
    """Whether a resource name is one of ours to judge, well-formed or not."""
    return resource.startswith(RESOURCE_PREFIX)


def profile_name(resource: str) -> str:
    """`nvidia.com/mig-1g.5gb.me` → `1g.5gb+me`.

    Raises RequestError for a name under our prefix that does not spell a profile.
    """
    match = _RESOURCE.fullmatch(resource.removeprefix(RESOURCE_PREFIX))
    if match is None or not is_mig_resource(resource):
        raise errors.RequestError(
            "resource name", resource, f"write {RESOURCE_PREFIX}<profile>, such as {RESOURCE_PREFIX}1g.5gb"
        )
    attribute = match["attribute"] or ""
    if attribute.startswith("."):
        attribute = "+" + attribute[1:]
    return str(match["size"] + attribute)


def checked_name(name: str, field_name: str = "profile") -> str:
    """The name itself if it spells a profile; CatalogueError naming `field_name` if it does not."""
    if _NAME.fullmatch(name) is None:
        raise errors.CatalogueError(field_name, name, "write a profile name such as 1g.5gb, 3g.20gb or 1g.5gb+me")
    return name
