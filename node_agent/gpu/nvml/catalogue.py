"""Catalogue discovery: what the driver says a GPU can be cut into. Used by devices.

The table of known models is asked only where the driver does not answer (Ampere with MIG mode off) and for the
model's name. Profiles are found by asking for one enumerator after the other, because drivers know more of them than
the headers they were compiled with.
"""

import math
import re

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Engines, Profile
from node_agent.gpu import device
from node_agent.gpu.nvml.driver import Driver, Handle, ProfileInfo

_MOST_ENUMS = 64  # NVML knows 18 today; past the last one it says so
_PROFILE_NAME = re.compile(r"[1-9][0-9]?g\.[0-9]{1,4}gb(?:[+-][a-z]+(?:\.[a-z]+)*)?", re.ASCII)
# What the enumerator says beyond the size, for drivers that tell no names.
_SUFFIXES = {7: "+me", 8: "+me", 10: "+gfx", 11: "+gfx", 12: "+gfx", 13: "-me", 14: "-me", 15: "+me.all", 16: "+me.all"}
_SUFFIXES[17] = "+gfx"


def from_table(pci_device_id: int) -> Catalogue | None:
    """The catalogue of the board with this PCI device id out of our table, None if we know no such board."""
    try:
        return gpu_models.by_pci_id(f"0x{pci_device_id:08X}")
    except errors.CatalogueError:
        return None


def read(driver: Driver, handle: Handle, product: str, pci_device_id: int, memory_mib: int) -> Catalogue:
    """The live catalogue of a GPU, profiles in the order of our table: by size, then by id.

    Raises NotSupportedError if it lists no profile (not capable, or Ampere with MIG mode off), CatalogueError if what
    it lists cannot be, and the errors of the calls.
    """
    profiles = [_profile(driver, handle, enum, info, memory_mib) for enum, info in _infos(driver, handle)]
    if not profiles:
        raise device.NotSupportedError(f"{product} lists no GPU instance profiles now")
    known = from_table(pci_device_id)
    needs_reset = driver.toggle_needs_reset(handle)
    if needs_reset is None:
        needs_reset = known.toggle_needs_reset if known else True
    return Catalogue(
        model=known.model if known else _slug(product),
        memory_slices=max(start + profile.memory_slices for profile in profiles for start in profile.starts),
        compute_slices=max(profile.compute_slices for profile in profiles),
        profiles=tuple(
            sorted(profiles, key=lambda profile: (profile.compute_slices, profile.memory_slices, profile.profile_id))
        ),
        engine_totals=_engine_totals(profiles),
        total_memory_mib=memory_mib or None,
        toggle_needs_reset=needs_reset,
        pci_ids=(f"0x{pci_device_id:08X}",),
    )


def _infos(driver: Driver, handle: Handle) -> list[tuple[int, ProfileInfo]]:
    """Every profile with its enumerator: absent ones are skipped, the first unknown one ends the list."""
    infos = []
    for enum in range(_MOST_ENUMS):
        try:
            infos.append((enum, driver.profile(handle, enum)))
        except device.NotSupportedError:
            continue
        except device.InvalidArgumentError:
            break
    return infos


def _profile(driver: Driver, handle: Handle, enum: int, info: ProfileInfo, memory_mib: int) -> Profile:
    places = driver.placements(handle, info.profile_id)
    sizes = {size for _, size in places}
    name = info.name if info.name and _PROFILE_NAME.fullmatch(info.name) else computed_name(enum, info, memory_mib)
    if len(sizes) != 1:
        raise errors.CatalogueError(f"placements of {name}", places, "the driver must list one size per profile")
    return Profile(
        name=name,
        profile_id=info.profile_id,
        enum_index=enum,
        compute_slices=info.compute_slices,
        memory_slices=sizes.pop(),
        max_instances=info.max_instances,
        starts=tuple(sorted(start for start, _ in places)),
        memory_mib=info.memory_mib,
        engines=Engines(info.dec, info.enc, info.jpeg, info.ofa),
        sm=info.sm,
        copy_engines=info.copy_engines,
    )


def computed_name(enum: int, info: ProfileInfo, memory_mib: int) -> str:
    """The name by NVIDIA's own formula: eighths of the memory, rounded up, of whole GiB, rounded half up."""
    eighths = math.ceil(info.memory_mib * 8 / memory_mib) if memory_mib else 8
    gigabytes = math.floor(eighths * math.ceil(memory_mib / 1024) / 8 + 0.5)
    return f"{info.compute_slices}g.{gigabytes}gb{_SUFFIXES.get(enum, '')}"


def _engine_totals(profiles: list[Profile]) -> Engines:
    """The chip's media engines, which NVML does not tell: as many as the most that one profile can take in all.

    That is right for every published model, because the profile of the whole GPU lists them all.
    """
    most = [0, 0, 0, 0]
    for profile in profiles:
        for index, count in enumerate(profile.engines.values() if profile.engines else ()):
            most[index] = max(most[index], count * profile.max_instances)
    return Engines(*most)


def _slug(product: str) -> str:
    """`NVIDIA H100 80GB HBM3` → `h100-80gb-hbm3`: a model name for a board that our table does not know."""
    return re.sub(r"[^a-z0-9]+", "-", product.lower().removeprefix("nvidia ")).strip("-") or "unknown"
