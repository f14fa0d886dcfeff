"""The shipped examples in another GPU model's profile names."""

import pytest

from allocator.mig import gpu_models
from simulator.workloads import translation
from tests.unit.simulator.cluster.memory_cluster import pod


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("a100-40gb", ["1g.5gb", "1g.5gb.me", "1g.10gb", "2g.10gb", "3g.20gb", "7g.40gb"]),
        ("h100-80gb", ["1g.10gb", "1g.10gb.me", "1g.20gb", "2g.20gb", "3g.40gb", "7g.80gb"]),
        ("a30-24gb", ["1g.6gb", "1g.6gb.me", "1g.6gb", "2g.12gb", "3g.20gb", "4g.24gb"]),
        (
            "rtx-pro-6000-blackwell-96gb",
            ["1g.24gb", "1g.24gb.me", "1g.24gb", "2g.48gb", "3g.20gb", "4g.96gb"],
        ),
    ],
)
def test_examples_speak_of_the_models_profiles(model: str, expected: list[str]) -> None:
    """Each profile becomes the model's of the same compute size, the whole GPU the whole; others stay as they are."""
    profiles = ["1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "7g.40gb"]
    translated = []
    for profile in profiles:
        document = pod("p", profile)
        translation.translate([document], gpu_models.find(model))
        (resource,) = document["spec"]["containers"][0]["resources"]["limits"]
        translated.append(resource.removeprefix("nvidia.com/mig-"))
    assert translated == expected


def test_other_resources_stay() -> None:
    """What is no slice is left alone, in limits and requests alike."""
    document = pod("p", "1g.5gb")
    document["spec"]["containers"][0]["resources"] |= {"requests": {"cpu": "1", "nvidia.com/mig-1g.5gb": "1"}}
    translation.translate([document], gpu_models.find("h100-80gb"))
    resources = document["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "1", "nvidia.com/mig-1g.10gb": "1"}
    assert resources["limits"] == {"nvidia.com/mig-1g.10gb": "1"}
