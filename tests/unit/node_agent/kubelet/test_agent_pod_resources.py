"""PodResources over a kept connection: it outlasts questions, and a kubelet that starts anew is found again."""

from pathlib import Path

import pytest

from node_agent.kubelet.channel import KubeletError
from node_agent.kubelet.pod_resources import PodResources
from node_agent.slices.ownership import Holder
from simulator.cluster.device_manager import DeviceManager

ONE = "nvidia.com/mig-1g.5gb"


async def test_a_restarted_kubelet_is_asked_again(tmp_path: Path) -> None:
    """While it is away every question is an error; the next one after its start is answered, by the new one."""
    kubelet = DeviceManager(tmp_path)
    asked = PodResources(kubelet.pod_resources)
    with pytest.raises(KubeletError, match="does not exist"):
        await asked.list()
    for number in range(3):
        await kubelet.start()
        kubelet.held = {("default", f"pod-{number}", "main", ONE): ["id"]}
        for _ in range(2):
            assert (await asked.list()).holders == {(ONE, "id"): Holder("default", f"pod-{number}", "main")}
        await kubelet.stop()
        with pytest.raises(KubeletError):
            await asked.list()
    await asked.close()


async def test_a_listing_is_as_old_as_its_question(tmp_path: Path) -> None:
    """What happened while the kubelet answered is not taken for known."""
    kubelet = DeviceManager(tmp_path)
    await kubelet.start()
    times = iter([5.0, 9.0])
    asked = PodResources(kubelet.pod_resources, clock=lambda: next(times))
    assert (await asked.list()).asked_at == 5.0
    await asked.close()
    await kubelet.stop()
