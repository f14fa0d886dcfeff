"""The agent's gauges show what is on each memory slice of each GPU."""

from dataclasses import replace

from allocator.claims.report import Illness, MigMode, NodeReport
from node_agent.metrics import Metrics
from tests.builders import node


def shown(report: NodeReport) -> dict[str, list[int]]:
    """What is on the memory slices, by GPU."""
    metrics = Metrics()
    metrics.show(report)
    (family,) = (family for family in metrics.registry.collect() if family.name == "migsched_agent_memory_slice_state")
    by_gpu: dict[str, list[int]] = {}
    for sample in sorted(family.samples, key=lambda sample: int(sample.labels["memory_slice"])):
        by_gpu.setdefault(sample.labels["gpu_uuid"], []).append(int(sample.value))
    return by_gpu


def test_each_memory_slice_says_what_is_on_it() -> None:
    """Nothing is 0, an idle slice 1, a pod's 2, a foreign one 3, on each memory slice that it takes."""
    built = node().gpu().allocated("3g.20gb", 4, pod="a").idle("1g.5gb", 0).foreign("1g.5gb", 1)
    assert shown(built.report()) == {"n1-gpu-0": [1, 3, 0, 0, 2, 2, 2, 2]}


def test_what_is_ill_is_told_apart() -> None:
    """An ill slice is 4, and so is all of a GPU that takes no work; a GPU that cannot be cut shows nothing."""
    ill = node().gpu().allocated("1g.5gb", 0, pod="a").report()
    (gpu,) = ill.gpus
    (slice_,) = gpu.slices
    gpu = replace(gpu, slices=(replace(slice_, illness=Illness("now", "XID")),))
    assert shown(replace(ill, gpus=(gpu,))) == {"n1-gpu-0": [4, 0, 0, 0, 0, 0, 0, 0]}
    assert shown(node().gpu("a30-24gb", healthy=False).report()) == {"n1-gpu-0": [4, 4, 4, 4]}
    assert shown(node().gpu(None).gpu(mig_mode=MigMode.DISABLED).report()) == {}
