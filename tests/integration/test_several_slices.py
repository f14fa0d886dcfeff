"""Two slices for one container in the demo: kube-scheduler's stand-in, the extender and the agents together."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.placement import policy
from config import logs
from simulator import demo as demos
from simulator.demo import DemoOptions


def _pod(name: str, *, value: str = "", containers: int = 1, number: int = 2) -> dict[str, Any]:
    """A pod whose containers ask for so many 3g.40gb each."""
    limits = {"nvidia.com/mig-3g.40gb": number}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"migsched.io/slices": value} if value else {}},
        "spec": {
            "schedulerName": "migsched",
            "containers": [
                {"name": f"c{index}", "image": "x", "resources": {"limits": limits}} for index in range(containers)
            ],
        },
    }


async def _gpus(folder: Path, by: str, *pods: dict[str, Any]) -> dict[str, int]:
    """On one node with two empty H100s: on how many GPUs each pod's slices are."""
    logs.configure("json", "error")
    (folder / "pods.yaml").write_text(yaml.safe_dump_all(pods))
    options = DemoOptions(nodes=1, gpus=2, model="h100-80gb", policy=by, examples=folder, extender_port=0, api_port=0)
    async with demos.start(options) as running:
        await asyncio.wait_for(running.settled(), 60)
        shown = running.picture().document()["pods"]
    assert [pod["phase"] for pod in shown] == ["Running"] * len(pods)
    return {pod["name"]: len({slice_["gpu"] for slice_ in pod["slices"]}) for pod in shown}


@pytest.mark.parametrize("by", policy.POLICIES)
async def test_one_process_sees_both_slices_under_every_policy(tmp_path: Path, by: str) -> None:
    """A container's two slices come to lie on two GPUs, although each policy but one would pack them."""
    assert list((await _gpus(tmp_path, by, _pod("tensor-parallel"))).values()) == [2]


async def test_packed_slices_are_packed(tmp_path: Path) -> None:
    """With the annotation they lie on one GPU, and so does what two containers ask for."""
    packed = await _gpus(tmp_path, "mfi", _pod("packed", value="pack"), _pod("pair", containers=2, number=1))
    assert list(packed.values()) == [1, 1]


async def test_the_last_room_is_used_although_it_is_on_one_gpu(tmp_path: Path) -> None:
    """Where only one GPU is left, a pod that would rather be apart runs there all the same."""
    assert sorted((await _gpus(tmp_path, "mfi", _pod("a", value="pack"), _pod("b"))).values()) == [1, 1]
