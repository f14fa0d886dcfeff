"""NumaAlignment: which NUMA node the kubelet's Topology Manager is told of for each device. Pure; used by allocation.

Where a policy other than `none` is set, the kubelet chooses a container's NUMA node first, from CPUs and from how many
free devices it counts at each, and offers the agent only devices there. It counts every placement, those too that
what is on the GPU leaves no room for; so it would choose a node whose GPUs are full, and the pod would fail. Devices
without a NUMA node do not count. Hence where GPUs lie at several nodes, a place that cannot be had now has none.
"""

from functools import cached_property

from allocator.mig.profile import GpuPlacement, Placement
from node_agent.slices import observed
from node_agent.slices.observation import Observation


class NumaAlignment:
    """The NUMA nodes of one observation."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        gpus = observation.view.gpus.values()
        self._nodes = {gpu.uuid: gpu.info.numa_node for gpu in gpus if gpu.info.numa_node is not None}
        self._differ = len(set(self._nodes.values())) > 1
        self._addable: dict[str, frozenset[Placement]] = {}

    def of_gpu(self, gpu: str) -> int | None:
        """For a GPU that is given away whole."""
        return self._nodes.get(gpu)

    def of_slice(self, place: GpuPlacement) -> int | None:
        """For a place: what a container has keeps its node."""
        if not self._differ or place in self._observation.held:
            return self._nodes.get(place.gpu)
        if place.gpu not in self._addable:
            self._addable[place.gpu] = self._addable_on(place.gpu)
        return self._nodes.get(place.gpu) if place.placement in self._addable[place.gpu] else None

    def _addable_on(self, uuid: str) -> frozenset[Placement]:
        gpu = self._observation.view.gpus[uuid]
        in_service = uuid not in self._observation.out_of_service
        geometry = observed.compiled(gpu) if gpu.cuttable and in_service else None
        if geometry is None:
            return frozenset()
        return observed.addable(geometry, self._taken.get(uuid, frozenset()))

    @cached_property
    def _taken(self) -> dict[str, frozenset[Placement]]:
        taken: dict[str, set[Placement]] = {}
        for place in self._observation.taken:
            taken.setdefault(place.gpu, set()).add(place.placement)
        return {gpu: frozenset(placements) for gpu, placements in taken.items()}
