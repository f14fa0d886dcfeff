"""Generated workloads and their mixes: what a seed fixes, what a load means, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from allocator import errors
from allocator.mig import geometry, gpu_models
from replay import mix
from replay.generated import Generated
from replay.job import Job

CATALOGUE = gpu_models.find("a100-40gb")


def jobs(workload: Generated, seed: int = 0, gpus: int = 100) -> list[Job]:
    """The jobs of one seed."""
    return list(workload.jobs(geometry.compiled(CATALOGUE.restricted(workload.profiles)), gpus, seed))


def test_a_seed_fixes_the_jobs() -> None:
    """The same seed gives the same jobs, another seed others."""
    workload = Generated(mix.shares("uniform", CATALOGUE))
    assert jobs(workload, 3) == jobs(workload, 3)
    assert jobs(workload, 3) != jobs(workload, 4)


def test_the_load_is_in_memory_slices() -> None:
    """On average the jobs that run would take the load times the memory slices there are."""
    for name in mix.NAMED:
        workload = Generated(mix.shares(name, CATALOGUE), load=0.5, lifetime_s=10.0, horizon=400.0)
        known = geometry.compiled(CATALOGUE.restricted(workload.profiles))
        sizes = [p.memory_slices for p in known.catalogue.profiles]
        slice_seconds = sum(sizes[job.profiles[0]] * job.duration_s for job in jobs(workload))
        assert slice_seconds / 4000.0 == pytest.approx(0.5 * 100 * 8, rel=0.02)


def test_the_mix_is_what_was_asked_for() -> None:
    """Jobs ask for the profiles in the shares of the mix, each for one."""
    workload = Generated({"1g.5gb": 0.7, "7g.40gb": 0.3}, horizon=200.0)
    kinds = [job.profiles for job in jobs(workload)]
    assert set(kinds) == {(0,), (1,)}
    assert kinds.count((0,)) / len(kinds) == pytest.approx(0.7, abs=0.01)


def test_arrivals_are_poisson_and_lifetimes_exponential() -> None:
    """Gaps and lifetimes have the mean and the standard deviation of an exponential distribution, in order of time."""
    found = jobs(Generated(mix.shares("uniform", CATALOGUE), lifetime_s=10.0, horizon=400.0))
    arrivals = np.array([job.arrival_s for job in found])
    for values in (np.diff(arrivals), np.array([job.duration_s for job in found])):
        assert values.min() >= 0
        assert values.std() == pytest.approx(values.mean(), rel=0.03)
    assert arrivals[-1] <= 4000.0


def test_expected_lifetimes_are_as_wrong_as_asked() -> None:
    """Without an error the expected duration is the true one; with one it is off by that in the logarithm."""
    exact, rough = (Generated({"1g.5gb": 1.0}, lifetime_error=error) for error in (0.0, 0.8))
    assert all(job.expected_s == job.duration_s for job in jobs(exact))
    off = [np.log(job.expected_s / job.duration_s) for job in jobs(rough)]
    assert np.std(off) == pytest.approx(0.8, rel=0.05)
    assert [job.duration_s for job in jobs(exact)] == [job.duration_s for job in jobs(rough)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"load": 0.0},
        {"load": -1.0},
        {"load": float("nan")},
        {"lifetime_s": 0.0},
        {"warmup": -1.0},
        {"horizon": 8.0},
        {"horizon": float("inf")},
        {"lifetime_error": -0.1},
    ],
)
def test_impossible_workloads_are_refused(wrong: dict[str, float]) -> None:
    """Loads, times and errors that are not valid are refused by name."""
    with pytest.raises(errors.SettingsError):
        Generated({"1g.5gb": 1.0}, **wrong)


@pytest.mark.parametrize("name", mix.NAMED)
@pytest.mark.parametrize("model", gpu_models.known())
def test_named_mixes_mean_the_same_on_every_model(name: str, model: str) -> None:
    """On every GPU a named mix has the plain profile of least memory per compute size, in the mix's proportions."""
    catalogue = gpu_models.find(model)
    found = mix.shares(name, catalogue)
    assert sum(found.values()) == pytest.approx(1.0)
    whole = sum(share for size, share in mix.NAMED[name].items() if _smallest(catalogue.model, size))
    for size, share in mix.NAMED[name].items():
        smallest = _smallest(catalogue.model, size)
        if smallest:
            assert found[smallest] == pytest.approx(share / whole)
    assert len(found) == sum(bool(_smallest(catalogue.model, size)) for size in mix.NAMED[name])


def _smallest(model: str, size: int) -> str:
    plain = [p for p in gpu_models.find(model).profiles if p.plain and p.compute_slices == size]
    return min(plain, key=lambda p: p.memory_slices).name if plain else ""


def test_a_mix_file_is_yaml_or_json(tmp_path: Path) -> None:
    """A file of profiles and weights is a mix, weights normalised and zeros left out."""
    for text in ("1g.5gb: 3\n7g.40gb: 1\n3g.20gb: 0\n", '{"1g.5gb": 3, "7g.40gb": 1, "3g.20gb": 0}'):
        file = tmp_path / "mix.yaml"
        file.write_text(text)
        assert mix.shares(str(file), CATALOGUE) == {"1g.5gb": 0.75, "7g.40gb": 0.25}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        "1g.5gb: -1",
        "1g.5gb: .nan",
        "1g.5gb: many",
        "1g.5gb: true",
        "9g.99gb: 1",
        "1g.5gb: 0",
        "1g.5gb: 1e400",
        "1g.5gb: " + "9" * 400,
        "1g.5gb: 1\n1g.5gb: 2",
        "a: [",
        "[" * 3000,
        "\0",
    ],
)
def test_a_bad_mix_file_is_refused(tmp_path: Path, text: str) -> None:
    """A file that is no mix of profiles that the GPU offers is refused with what would do."""
    file = tmp_path / "mix.yaml"
    file.write_text(text)
    with pytest.raises(errors.SettingsError) as caught:
        mix.shares(str(file), CATALOGUE)
    assert "mix" in caught.value.field


def test_an_unknown_mix_is_answered_with_those_there_are() -> None:
    """A name that is neither a mix nor a file is refused with the names there are."""
    with pytest.raises(errors.SettingsError) as caught:
        mix.shares("skewed", CATALOGUE)
    assert all(name in caught.value.fix for name in mix.NAMED)
