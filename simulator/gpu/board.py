"""Board: what one GPU model answers about itself. Used by gpu and by both faces of the simulated driver.

A driver always answers with numbers, while our table of models says None where no value is published. So the
gaps are filled here by the pattern that the published models of the same family show; tests take care never to rely
on a filled value. What a driver knows also depends on its version: profiles were added over the years.
"""

import dataclasses
import re

from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Engines, Profile

_PRODUCTS = {
    "a30-24gb": "NVIDIA A30",
    "a100-40gb": "NVIDIA A100-SXM4-40GB",
    "a100-80gb": "NVIDIA A100-SXM4-80GB",
    "h100-80gb": "NVIDIA H100 80GB HBM3",
    "h100-94gb": "NVIDIA H100 NVL",
    "h100-96gb-gh200": "NVIDIA GH200 480GB",
    "gh200-144gb": "NVIDIA GH200 144G HBM3e",
    "h200-141gb": "NVIDIA H200",
    "b200-180gb": "NVIDIA B200",
    "gb200-186gb": "NVIDIA GB200",
    "b300-269gb": "NVIDIA B300 SXM6 AC",
    "gb300-278gb": "NVIDIA GB300",
    "rtx-pro-6000-blackwell-96gb": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
}
_SM_PER_SLICE = 16
_GB = re.compile(r"\.(\d+)gb")

# (from driver branch on, enumerators of nvmlDeviceGetGpuInstanceProfileInfo that it knows)
_KNOWN_ENUMS = ((610, 0x12), (575, 0x11), (525, 0xA), (470, 8), (0, 6))
_REV1_ENUMS = frozenset({7, 8})


@dataclasses.dataclass(frozen=True, slots=True)
class Board:
    """A GPU model as a driver of one branch describes it. `catalogue` has no unknown numbers."""

    catalogue: Catalogue
    product: str
    pci_device_id: int
    memory_mib: int
    toggle_needs_reset: bool

    def by_profile_id(self, profile_id: int) -> Profile | None:
        """The profile with this id, None if the board has none."""
        return next((p for p in self.catalogue.profiles if p.profile_id == profile_id), None)

    def by_enum(self, enum_index: int) -> Profile | None:
        """The profile with this enumerator, None if the board has none."""
        return next((p for p in self.catalogue.profiles if p.enum_index == enum_index), None)


def board(catalogue: Catalogue, branch: int = 610) -> Board:
    """The board of a catalogue as a driver of a branch (450, 525, 580, …) knows it."""
    enums = known_enums(branch)
    profiles = tuple(
        _filled(p, catalogue)
        for p in catalogue.profiles
        if p.enum_index < enums and not (branch < 525 and p.enum_index == 8)
    )
    return Board(
        catalogue=dataclasses.replace(catalogue, profiles=profiles),
        product=_PRODUCTS.get(catalogue.model, f"NVIDIA {catalogue.model.upper()}"),
        pci_device_id=int(catalogue.pci_ids[0], 16) if catalogue.pci_ids else 0x20B010DE,
        memory_mib=catalogue.total_memory_mib or max(_nominal_gb(p) for p in catalogue.profiles) * 1024,
        toggle_needs_reset=catalogue.toggle_needs_reset,
    )


def known_enums(branch: int) -> int:
    """How many profile enumerators a driver of this branch knows; it calls any further one an invalid argument."""
    return next(count for since, count in _KNOWN_ENUMS if branch >= since)


def _filled(profile: Profile, catalogue: Catalogue) -> Profile:
    """The profile with the unpublished numbers put in: Hopper's pattern, NVIDIA's rounding of names."""
    whole = profile.compute_slices == catalogue.compute_slices
    media = Engines(
        dec=profile.compute_slices, jpeg=profile.compute_slices, ofa=int(whole or profile.enum_index in _REV1_ENUMS)
    )
    return dataclasses.replace(
        profile,
        memory_mib=profile.memory_mib or _nominal_gb(profile) * 1024 - 512,
        engines=profile.engines or media,
        sm=profile.sm or profile.compute_slices * _SM_PER_SLICE,
        copy_engines=profile.copy_engines or profile.compute_slices,
    )


def _nominal_gb(profile: Profile) -> int:
    match = _GB.search(profile.name)
    return int(match[1]) if match else 1
