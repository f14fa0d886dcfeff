"""What slices of one container cost apart: the same jobs, placed in two ways."""

from benchmarks.several_slices import Scene, run

SMALL = Scene(nodes=2, gpus_per_node=4, several=0.5)


def test_apart_and_packed_are_told_apart() -> None:
    """Of the same jobs more have all slices on different GPUs where that is the rule; a run repeats itself."""
    apart, packed = run(SMALL, 0, packed=False), run(SMALL, 0, packed=True)
    assert apart == run(SMALL, 0, packed=False)
    assert apart.apart > packed.apart
    assert 0 < min(apart.acceptance, packed.acceptance) <= max(apart.acceptance, packed.acceptance) <= 1
