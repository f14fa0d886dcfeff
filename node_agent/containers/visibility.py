"""Visibility: what a container sees that asks for slices of several profiles, or for slices and whole GPUs. Pure; used
by injection and allocation.

The kubelet asks for each resource by itself and does not say for which container, and of several CDI devices the last
variable wins. So every CDI name of slices that a container gets must mean all that it has; the names of whole GPUs
bring no variable. Whose a name is, PodResources tells only after the kubelet was answered. Until then a name that may
belong to such a container is left without a specification: the runtime refuses a container whose device it does not
know, and the kubelet tries again. A guess could show one container the slice of another.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from allocator.mig.profile import WHOLE_GPU, GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.slices.observation import Observation

_Container = tuple[str, str]  # UID of the pod, name


@dataclass(frozen=True, slots=True)
class Visible:
    """What a container sees: its slices, and its whole GPUs by UUID."""

    places: tuple[GpuPlacement, ...]
    gpus: tuple[str, ...] = ()


class Shares:
    """Which container has what, by what the journal and the node's pods say at one moment."""

    def __init__(self, observation: Observation) -> None:
        self._records = observation.records
        self._pods = observation.pods or {}
        self._had: dict[_Container, list[GpuPlacement]] = defaultdict(list)
        for place, record in observation.held.items():
            if record.owner is not None:
                self._had[record.owner.uid, record.owner.container].append(place)

    def seen_with(self, places: Sequence[GpuPlacement]) -> Visible | None:
        """All that is visible to the container that was allocated `places` in one go; None while its owner is unknown.

        Containers that PodResources never lists, ordinary init containers, see what they were given in one go.
        """
        owners = {self._records[place].owner for place in places}
        owner = next(iter(owners)) if len(owners) == 1 else None
        if owner is None:
            profiles = {place.placement.profile for place in places}
            lacked = any(self._lacks(pod, profiles) for pod in self._pods.values())
            return None if lacked else Visible(tuple(sorted(places)))
        mine = self._had[owner.uid, owner.container]
        pod = self._pods.get(owner.uid)
        wanted = pod.mixed.get(owner.container) if pod is not None else None
        if wanted and wanted - self._has(mine):
            return None
        return Visible(tuple(sorted(mine)), self._beside(mine))

    def _lacks(self, pod: PodView, profiles: set[str]) -> bool:
        """Whether a container of the pod asks for several kinds and is not known to have all of one of these."""
        if not pod.waits:
            return False
        for container, wanted in pod.mixed.items():
            has = self._has(self._had[pod.uid, container])
            if any(wanted[profile] > has[profile] for profile in profiles):
                return True
        return False

    def _has(self, mine: Sequence[GpuPlacement]) -> Counter[str]:
        """How many slices of each profile, and whole GPUs."""
        number = Counter(place.placement.profile for place in mine)
        number[WHOLE_GPU] = len(self._beside(mine))
        return number

    def _beside(self, mine: Sequence[GpuPlacement]) -> tuple[str, ...]:
        return tuple(sorted({gpu for place in mine for gpu in self._records[place].beside}))
