"""Instances: the instances that are on a GPU, read through GPU instances. Used by devices and cutting.

Never through MIG devices: a GPU instance without a compute instance has none. Instances can vanish while they are
read, by another's hand; such a one is left out.
"""

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Profile
from node_agent.gpu import device
from node_agent.gpu.nvml.driver import ComputeProfileInfo, Driver, Handle, InstanceInfo

_COMPUTE_ENUMS = 16  # NVML knows 9 today
_SPECIAL = frozenset({7, 8})  # 1_SLICE_REV1 and 7_SLICE_NVL: second kinds of a full-size compute instance
ComputeProfiles = tuple[ComputeProfileInfo, ...]
_GONE = (device.StaleHandleError, device.InvalidArgumentError)


class Instances:
    """Reads one GPU. Keeps the compute profiles of each GPU instance profile, which do not change.

    `compute_profiles` are those that are known already, by the id of the GPU instance profile.
    """

    def __init__(
        self,
        driver: Driver,
        handle: Handle,
        catalogue: Catalogue,
        compute_profiles: Mapping[int, ComputeProfiles] = MappingProxyType({}),
    ) -> None:
        self._driver = driver
        self._handle = handle
        self._catalogue = catalogue
        self._compute_profiles = dict(compute_profiles)

    def read(self) -> tuple[device.GpuInstance, ...]:
        """Every GPU instance, by id; none while MIG mode is off."""
        handles: list[tuple[Profile, Handle]] = []
        for profile in self._catalogue.profiles:
            with suppress(device.NotSupportedError):  # Ampere with MIG mode off
                listed = self._driver.gpu_instances(self._handle, profile.profile_id, profile.max_instances)
                handles += [(profile, handle) for handle in listed]
        uuids = self.mig_uuids() if handles else {}
        instances = []
        for profile, handle in handles:
            with suppress(*_GONE):
                instances.append(self.describe(profile, handle, uuids))
        return tuple(sorted(instances, key=lambda instance: instance.gi_id))

    def describe(self, profile: Profile, instance: Handle, uuids: dict[tuple[int, int], str]) -> device.GpuInstance:
        """A GPU instance with its compute instances. `uuids` are those of `mig_uuids`."""
        info = self._driver.gpu_instance_info(instance)
        parts = [part for _, part in self.compute_instances(profile.profile_id, instance)]
        return device.GpuInstance(
            gi_id=info.number,
            profile=profile.name,
            profile_id=info.profile_id,
            start=info.start,
            size=info.size,
            compute_slices=profile.compute_slices,
            compute_instances=tuple(
                device.ComputeInstance(
                    part.number, part.profile_id, part.start, part.size, uuids.get((info.number, part.number))
                )
                for part in sorted(parts, key=lambda part: part.number)
            ),
        )

    def compute_instances(self, profile_id: int, instance: Handle) -> list[tuple[Handle, InstanceInfo]]:
        """The compute instances in a GPU instance, of whatever profile."""
        instances = []
        for kind in self.compute_profiles(profile_id, instance):
            for handle in self._driver.compute_instances(instance, kind.profile_id, kind.max_instances):
                with suppress(*_GONE):
                    instances.append((handle, self._driver.compute_instance_info(handle)))
        return instances

    def compute_profiles(self, profile_id: int, instance: Handle) -> ComputeProfiles:
        """Into what GPU instances of a profile can be split."""
        if profile_id not in self._compute_profiles:
            profiles = []
            for enum in range(_COMPUTE_ENUMS):
                try:
                    profiles.append(self._driver.compute_profile(instance, enum))
                except device.NotSupportedError:
                    continue
                except device.InvalidArgumentError:
                    break
            if not profiles:  # the instance vanished: do not remember that
                return ()
            self._compute_profiles[profile_id] = tuple(profiles)
        return self._compute_profiles[profile_id]

    def full_compute_profile(self, profile: Profile, instance: Handle) -> ComputeProfileInfo:
        """The compute profile that takes all of a GPU instance.

        Of several that span all its compute slices, the one with the most multiprocessors: in a double-memory 1g
        instance of Hopper only the second kind, 1_SLICE_REV1, has them all. Of equal ones the plain kind.
        Raises NotSupportedError if the driver lists none.
        """
        whole = [
            kind
            for kind in self.compute_profiles(profile.profile_id, instance)
            if kind.compute_slices == profile.compute_slices
        ]
        if not whole:
            raise device.NotSupportedError(f"{profile.name} lists no full-size compute instance profile")
        return max(whole, key=lambda kind: (kind.sm, kind.enum_index not in _SPECIAL))

    def mig_uuids(self) -> dict[tuple[int, int], str]:
        """MIG UUID by GPU instance id and compute instance id.

        By walking the MIG devices: the handle in a compute instance's info is the parent GPU's. Slow on a busy GPU.
        """
        uuids = {}
        for gi_id, ci_id, handle in self._driver.mig_devices(self._handle):
            with suppress(*_GONE):
                uuids[gi_id, ci_id] = self._driver.uuid(handle)
        return uuids
