"""OtherProfiles: profiles to ask for instead, with no less memory, that fit now. Called by `remedy.planner`."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Profile
from allocator.planning.capacity.types import ProfileSwap
from allocator.planning.remedy.cluster import RemedyCluster
from allocator.planning.remedy.types import ProfileRemedy

MAX_TRIED = 200  # combinations of other profiles; a pod asks for few distinct ones

_Swap = tuple[str, str]  # profile asked for, profile instead


def closest(
    cluster: RemedyCluster, catalogues: Iterable[Catalogue], counts: Mapping[str, int]
) -> tuple[ProfileRemedy | None, bool]:
    """The swap of profiles, all slices of one for another, that fits now and wastes least memory; and whether it is
    certain, where there is none, that no swap fits, of some of the slices neither.
    """
    offered: dict[str, Profile] = {}
    for catalogue in catalogues:
        for profile in catalogue.profiles:
            offered.setdefault(profile.name, profile)
    menus = [_menu(name, offered) for name in counts]
    ways = sorted(itertools.islice(itertools.product(*menus), 10 * MAX_TRIED), key=lambda way: _waste(way, counts))
    certain = len(ways) <= MAX_TRIED and set(counts.values()) == {1}
    for way in ways[:MAX_TRIED]:
        swaps = [(name, other) for name, (other, _) in zip(counts, way, strict=True) if other != name]
        if not swaps:
            continue
        asked: Counter[str] = Counter()
        for name, (other, _) in zip(counts, way, strict=True):
            asked[other] += counts[name]
        node, is_certain = cluster.fits(asked)
        certain = certain and is_certain
        if node:
            return ProfileRemedy(node=node, swaps=_swaps(swaps, counts)), True
    return None, certain


def _swaps(swaps: Sequence[_Swap], counts: Mapping[str, int]) -> list[ProfileSwap]:
    return [ProfileSwap(from_=name, to=other, count=counts[name]) for name, other in swaps]


def _menu(name: str, offered: Mapping[str, Profile]) -> list[tuple[str, int]]:
    """A profile itself and all that serve in its place, each with how much it wastes."""
    profile = offered.get(name) or _known(name)
    menu = [(name, 0)]
    if profile is not None:
        others = (other for other in offered.values() if other.plain and other.name != name)
        menu += [(other.name, _more(profile, other)) for other in others if _more(profile, other) >= 0]
    return menu


def _known(name: str) -> Profile | None:
    """A profile that no GPU of the cluster has, from the table."""
    for model in gpu_models.known():
        for profile in gpu_models.find(model).profiles:
            if profile.name == name:
                return profile
    return None


def _more(profile: Profile, other: Profile) -> int:
    """How much more memory another profile has, in MiB: as published, or where it is not, by the GB in their names.

    Memory slices of two models are of different sizes and say nothing.
    """
    if profile.memory_mib and other.memory_mib:
        return other.memory_mib - profile.memory_mib
    return (other.named_gb - profile.named_gb) << 10


def _waste(way: Sequence[tuple[str, int]], counts: Mapping[str, int]) -> tuple[int, int, tuple[str, ...]]:
    """By memory, then by how many profiles differ, then by name."""
    wasted = sum(more * number for (_, more), number in zip(way, counts.values(), strict=True))
    changed = sum(other != name for name, (other, _) in zip(counts, way, strict=True))
    return wasted, changed, tuple(other for other, _ in way)
