"""Catalogue: the profiles of one GPU model with their legal placements.

Made from live NVML data by the node agent's report, or from the table in `gpu_models`. Everything else is derived
from it, so it is checked here, once: a catalogue that contradicts itself never reaches the scheduler's tables.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from allocator import errors
from allocator.mig.profile import Engines, Placement, Profile, checked_name

MAX_MEMORY_SLICES = 32  # today's boards have 4, 8 or 12; a mask must stay a machine word
MAX_PROFILES = 64  # NVML's enumeration has 18; a hostile report must not make us build huge tables
MAX_PLACEMENTS = 256  # of all profiles; today's boards have 30 at most


@dataclass(frozen=True)
class Catalogue:
    """What one GPU model can be cut into.

    `engine_totals` is None where the chip's media engines are not known; then they limit nothing here and the
    driver alone decides. The last two are facts of the board, not of what it can be cut into, and no part of equality.

    Raises CatalogueError, naming the field, when the data contradicts itself.
    """

    model: str
    memory_slices: int
    compute_slices: int
    profiles: tuple[Profile, ...]
    engine_totals: Engines | None = None
    total_memory_mib: int | None = None
    toggle_needs_reset: bool = field(default=False, compare=False)
    pci_ids: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        where = f"catalogue of {self.model}"
        if not 1 <= self.memory_slices <= MAX_MEMORY_SLICES:
            raise errors.CatalogueError(f"{where}: memory slices", self.memory_slices, f"must be 1…{MAX_MEMORY_SLICES}")
        if not 1 <= self.compute_slices <= MAX_MEMORY_SLICES:
            raise errors.CatalogueError(
                f"{where}: compute slices", self.compute_slices, f"must be 1…{MAX_MEMORY_SLICES}"
            )
        if not 1 <= len(self.profiles) <= MAX_PROFILES:
            raise errors.CatalogueError(f"{where}: number of profiles", len(self.profiles), f"must be 1…{MAX_PROFILES}")
        names = [p.name for p in self.profiles]
        if len(set(names)) != len(names):
            raise errors.CatalogueError(f"{where}: profile names", names, "must be distinct")
        for profile in self.profiles:
            self._check_profile(profile, where)
        placements = sum(len(profile.starts) for profile in self.profiles)
        if placements > MAX_PLACEMENTS:
            raise errors.CatalogueError(f"{where}: number of starts", placements, f"at most {MAX_PLACEMENTS}")

    def _check_profile(self, profile: Profile, where: str) -> None:
        checked_name(profile.name, f"{where}: profile name")
        at = f"{where}: {profile.name}"
        if not 1 <= profile.memory_slices <= self.memory_slices:
            raise errors.CatalogueError(
                f"{at}: memory slices", profile.memory_slices, f"must be 1…{self.memory_slices}"
            )
        if not 1 <= profile.compute_slices <= self.compute_slices:
            raise errors.CatalogueError(
                f"{at}: compute slices", profile.compute_slices, f"must be 1…{self.compute_slices}"
            )
        if profile.max_instances < 1:
            raise errors.CatalogueError(f"{at}: instances", profile.max_instances, "must be at least 1")
        if not profile.starts or len(set(profile.starts)) != len(profile.starts):
            raise errors.CatalogueError(f"{at}: starts", profile.starts, "must be distinct and at least one")
        for start in profile.starts:
            if not 0 <= start <= self.memory_slices - profile.memory_slices:
                raise errors.CatalogueError(
                    f"{at}: start", start, f"must leave room for {profile.memory_slices} of {self.memory_slices}"
                )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # asked for at every table look-up, and slow to compute
        return hash((self.model, self.memory_slices, self.compute_slices, self.profiles, self.engine_totals))

    @cached_property
    def by_name(self) -> Mapping[str, Profile]:
        """Profiles by name."""
        return {p.name: p for p in self.profiles}

    def profile(self, name: str) -> Profile:
        """The profile of that name. Raises CatalogueError listing those there are."""
        try:
            return self.by_name[name]
        except KeyError:
            raise errors.CatalogueError(
                f"profile on {self.model}", name, "use one of " + ", ".join(self.by_name)
            ) from None

    def placement(self, profile: str, start: int) -> Placement:
        """The placement of a profile at a start. Raises CatalogueError if the catalogue does not list it."""
        listed = self.profile(profile)
        if start not in listed.starts:
            raise errors.CatalogueError(
                f"start of {profile} on {self.model}", start, "use one of " + ", ".join(map(str, listed.starts))
            )
        return Placement(profile, start, listed.memory_slices)

    def placements(self) -> Iterator[Placement]:
        """Every legal placement, profiles in catalogue order, starts as listed."""
        for profile in self.profiles:
            for start in profile.starts:
                yield Placement(profile.name, start, profile.memory_slices)

    def restricted(self, names: frozenset[str]) -> "Catalogue":
        """The same GPU with only the named profiles: what a study over fewer profiles plans with."""
        for name in names:
            self.profile(name)
        return Catalogue(
            model=self.model,
            memory_slices=self.memory_slices,
            compute_slices=self.compute_slices,
            profiles=tuple(p for p in self.profiles if p.name in names),
            engine_totals=self.engine_totals,
            total_memory_mib=self.total_memory_mib,
            toggle_needs_reset=self.toggle_needs_reset,
            pci_ids=self.pci_ids,
        )
