"""NodeKubelet: what the kubelet of one simulated node does with devices: admits pods, remembers, creates containers.

The plugins are asked over their sockets, by the device manager. Pods are admitted one after the other; a container can
be created once every CDI name that its plugins gave it means something, as containerd has it.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec

from kubeclient.objects import Pod
from node_agent.kubelet import checkpoint
from simulator.cluster import pod_devices
from simulator.cluster.device_manager import AllocateRefusedError, DeviceManager


class NodeKubelet:
    """One node's. Under `root` lie its sockets and its checkpoint, in `cdi` the files that CDI names stand for."""

    def __init__(self, root: Path, cdi: Path) -> None:
        self.manager = DeviceManager(root)
        self._cdi = cdi
        self._admitting = asyncio.Lock()
        self.registered = asyncio.Event()
        self._names: dict[str, list[str]] = {}  # UID → CDI names of what its containers have

    @property
    def _checkpoint(self) -> Path:
        return self.manager.plugins / checkpoint.FILE

    async def start(self) -> None:
        """Begin, with what the checkpoint of an earlier start says."""
        if self._checkpoint.exists():
            self.manager.pods.restore(self._checkpoint.read_bytes())
        await self.manager.start()

    async def stop(self) -> None:
        """End; what containers have is in the checkpoint."""
        await self.manager.stop()

    async def until_registered(self, resources: Iterable[str]) -> None:
        """Until plugins have announced devices of all these resources. Pods are admitted from then on."""
        await self.manager.until(*set(resources), deadline_s=None)
        self.registered.set()

    async def admit(self, pod: Pod) -> str:
        """Give a pod's containers what they ask for. Returns why not, in the kubelet's words, or nothing.

        What no plugin has announced is left out, as the kubelet does with resources that it does not know.
        """
        await self.registered.wait()
        async with self._admitting:
            try:
                await self._give(pod)
            except AllocateRefusedError as error:
                self.release(pod.metadata.uid)
                return f"Pod was rejected: Allocate failed due to {error}, which is unexpected"
        return ""

    async def _give(self, pod: Pod) -> None:
        uid, pods = pod.metadata.uid, self.manager.pods
        pods.admit(pod)
        for need in pod_devices.needs(pod, self.manager.endpoints):
            if pods.has(uid, need):
                continue
            ids, names = await self.manager.give(need.resource, need.number, reuse=pods.reusable(uid, need))
            if uid not in pods.pods:  # it was deleted meanwhile, and has nothing any more
                return
            pods.give(uid, need, ids)
            self._names.setdefault(uid, []).extend(names)
            self._checkpoint.write_bytes(pods.checkpoint())

    def is_ready(self, uid: str) -> bool:
        """Whether the containers of an admitted pod can be created."""
        names = self._names.get(uid)
        return not names or set(names) <= self._resolvable()

    def _resolvable(self) -> set[str]:
        """The CDI names that mean something now."""
        names = set()
        for path in self._cdi.glob("*.json"):
            try:
                spec = msgspec.json.decode(path.read_bytes())
            except FileNotFoundError:  # dropped meanwhile
                continue
            names |= {f"{spec['kind']}={device['name']}" for device in spec["devices"]}
        return names

    def release(self, uid: str) -> None:
        """A pod's containers have ended. The checkpoint keeps it until something else is given away."""
        self.manager.pods.release(uid)
        self._names.pop(uid, None)

    def retain(self, living: Iterable[str]) -> None:
        """Only these pods are left."""
        for uid in self.manager.pods.pods.keys() - set(living):
            self.release(uid)
