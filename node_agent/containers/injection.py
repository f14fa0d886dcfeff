"""Injection: what containers get for the ids they were given: UUIDs to see, device nodes, the driver's files. Used by
reconciler and allocation.
"""

from collections.abc import Iterable, Sequence

from allocator.mig.profile import GpuPlacement
from node_agent.containers import visibility
from node_agent.containers.cdi import Edits
from node_agent.containers.driver_files import DriverFiles, DriverFilesError
from node_agent.containers.driver_root import DriverRoot
from node_agent.gpu import device
from node_agent.gpu.device import DeviceNode
from node_agent.slices import device_ids, observed
from node_agent.slices.observation import Observation
from node_agent.slices.states import RecordState

_CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


class Injection:
    """What containers get. `real_nodes`: containers get device nodes from here; of simulated GPUs there are none.

    `files` is where the driver's files are known; None where somebody else brings them, or there are none.
    """

    def __init__(self, devices: device.MigDevices, *, real_nodes: bool, files: DriverFiles | None = None) -> None:
        self._devices = devices
        self._real_nodes = real_nodes
        self._files = files
        self._root = files.root if files is not None else DriverRoot()

    def wanted(self, observation: Observation) -> dict[str, Edits | None]:
        """The specifications there should be, by name: one for every grant. None where it cannot be said again just
        now, because the slices do not stand, the GPU does not answer, or it is not known with which others a container
        sees them: what is written stays.
        """
        shares = visibility.Shares(observation)
        specifications: dict[str, Edits | None] = {}
        for ids in observation.grants:
            granted = [place for place in map(observation.place, ids) if place is not None]
            specifications[device_ids.set_name(ids)] = None
            if len(granted) != len(ids) or not all(stands(observation, place) for place in granted):
                continue
            visible = shares.seen_with(granted)
            if visible is not None and all(stands(observation, place) for place in visible.places):
                try:
                    edits = self.for_slices(observation, visible.places, visible.gpus)
                    specifications[device_ids.set_name(ids)] = edits
                except (device.DeviceError, DriverFilesError):
                    continue
        return specifications

    def whole_gpus(self, observation: Observation) -> dict[str, Edits]:
        """What the names of whole GPUs mean, by UUID; those without a node are left out. Empty where GPUs are not given
        by name, and while the driver's files are not known.
        """
        if self._files is None:
            return {}
        try:
            by_uuid = {uuid: self.for_gpus(observation, [uuid]) for uuid in sorted(observation.view.gpus)}
        except DriverFilesError:
            return {}
        return {uuid: edits for uuid, edits in by_uuid.items() if edits.nodes}

    def for_slices(self, observation: Observation, places: Sequence[GpuPlacement], beside: Sequence[str] = ()) -> Edits:
        """What a container with these slices gets. `beside` are its whole GPUs (UUIDs), whose nodes come by their own
        names.

        Raises DeviceError if the driver does not tell the device nodes, DriverFilesError if its files are not known.
        """
        uuids: list[str] = []
        nodes: list[DeviceNode] = []
        for place in places:
            record = observation.records[place]
            uuids.append(record.mig_uuid)
            if self._real_nodes and record.gi_id is not None:
                nodes += self._of_gpu(observation, place.gpu)
                nodes += self._devices.device_nodes(place.gpu, record.gi_id)
        return self._edits([*uuids, *beside], nodes)

    def for_gpus(self, observation: Observation, uuids: Iterable[str]) -> Edits:
        """What a container with whole GPUs gets. Raises DriverFilesError if the driver's files are not known."""
        visible = tuple(uuids)
        nodes = [node for uuid in visible for node in self._of_gpu(observation, uuid)] if self._real_nodes else []
        return self._edits(visible, nodes)

    def _edits(self, uuids: Iterable[str], nodes: Iterable[DeviceNode]) -> Edits:
        common = self._files.current() if self._files is not None else None
        return Edits(tuple(uuids), tuple(dict.fromkeys(nodes)), common, self._root)

    def _of_gpu(self, observation: Observation, gpu: str) -> list[DeviceNode]:
        """The nodes that every user of a GPU needs, as far as this host has them and the common edits do not."""
        minor = observation.view.gpus[gpu].info.minor
        own = () if minor is None else (f"/dev/nvidia{minor}",)
        paths = own if self._files is not None else (*_CONTROL, *own)
        dev = self._root.dev
        return [DeviceNode(path, minor or 0) for path in paths if (dev / path.removeprefix("/")).exists()]


def stands(observation: Observation, place: GpuPlacement) -> bool:
    """Whether a container's slice is there, whole, and the recorded one."""
    record = observation.records.get(place)
    instance = observation.view.instance(place)
    return (
        record is not None
        and record.state is RecordState.ALLOCATED
        and instance is not None
        and instance.whole
        and observed.is_it(record, instance)
    )
