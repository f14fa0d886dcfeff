"""The shipped examples for another cluster: in the profile names of another GPU model, as `3g.20gb` of an A100 is
`3g.40gb` on an H100, and for a scheduler that pods have to name.

Called by the demo.
"""

import copy
from collections.abc import Sequence
from typing import Any

from allocator.mig import gpu_models, profile
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Profile
from scheduler.kube_scheduler_config import SCHEDULER_NAME

EXAMPLES_MODEL = "a100-40gb"  # the GPU whose profiles the shipped examples name


def translate(pods: Sequence[dict[str, Any]], catalogue: Catalogue) -> None:
    """Name the shipped examples' profiles as another GPU model does; a profile without a counterpart stays as it is."""
    names = {
        written.resource: like.resource
        for written in gpu_models.find(EXAMPLES_MODEL).profiles
        if (like := _like(written, catalogue)) is not None
    }
    for pod in pods:
        for container in pod["spec"]["containers"]:
            resources = container.get("resources") or {}
            for what in ("limits", "requests"):
                amounts = copy.copy(resources.get(what) or {})
                if any(profile.is_mig_resource(name) for name in amounts):
                    resources[what] = {names.get(name, name): amount for name, amount in amounts.items()}


def like(name: str, catalogue: Catalogue) -> Profile | None:
    """The profile of another GPU model that is like one of the examples' own; None where there is none."""
    return _like(gpu_models.find(EXAMPLES_MODEL).profile(name), catalogue)


def name_scheduler(pods: Sequence[dict[str, Any]]) -> None:
    """Have pods name the kube-scheduler that asks our extender, as they must where there is no queue."""
    for pod in pods:
        pod["spec"]["schedulerName"] = SCHEDULER_NAME


def _like(profile: Profile, catalogue: Catalogue) -> Profile | None:
    """The profile with as many compute slices and the nearest share of memory; the whole GPU for the whole GPU."""
    own = gpu_models.find(EXAMPLES_MODEL)
    if profile.compute_slices == own.compute_slices:
        return next(p for p in catalogue.profiles if p.plain and p.compute_slices == catalogue.compute_slices)
    same = [p for p in catalogue.profiles if p.plain == profile.plain and p.compute_slices == profile.compute_slices]
    share = profile.memory_slices / own.memory_slices
    return min(same, key=lambda p: abs(p.memory_slices / catalogue.memory_slices - share), default=None)
