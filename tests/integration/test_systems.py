"""deploy/examples/systems placed together on one node of simulated GPUs, with the demo's controllers and queue."""

import asyncio
from collections import Counter
from pathlib import Path

from config import logs
from simulator import demo as demos
from simulator.demo import DemoOptions

SYSTEMS = Path(__file__).parents[2] / "deploy" / "examples" / "systems"


async def test_the_pods_of_all_systems_get_slices() -> None:
    """Every pod runs, each with the slices that it asked for, on eight GPUs."""
    logs.configure("json", "error")
    options = DemoOptions(nodes=1, gpus=8, model="a100-40gb", examples=SYSTEMS, extender_port=0, api_port=0)
    async with demos.start(options) as running:
        await asyncio.wait_for(running.settled(), 60)
        pods = running.picture().document()["pods"]
    assert {pod["phase"] for pod in pods} == {"Running"}
    assert Counter(cut["profile"] for pod in pods for cut in pod["slices"]) == Counter(
        {"1g.5gb": 3, "2g.10gb": 5, "3g.20gb": 3}
    )
