"""kube-scheduler's configuration names every profile, and is what its generator writes."""

from pathlib import Path

import pytest

from allocator import errors
from allocator.mig import gpu_models, profile
from scheduler import kube_scheduler_config
from tests.unit.deploy import manifests

CONFIG = manifests.one(manifests.KUBE_SCHEDULER_CONFIG, "KubeSchedulerConfiguration")
(EXTENDER,) = CONFIG["extenders"]


def test_managed_resources_are_all_published_profiles() -> None:
    """A pod asking for a profile by any published name reaches the extender, and one asking for none does not."""
    known = {profile.resource_name(name) for name in gpu_models.published_names()}
    listed = [entry["name"] for entry in EXTENDER["managedResources"]]
    assert set(listed) == known
    assert len(listed) == len(known)


def test_kube_scheduler_keeps_counting_slices() -> None:
    """No resource is hidden from kube-scheduler: the kubelet refuses what the node does not advertise."""
    assert not any(entry.get("ignoredByScheduler") for entry in EXTENDER["managedResources"])


def test_every_name_spells_a_profile() -> None:
    """Each listed name is read back as the profile it came from."""
    for name in kube_scheduler_config.managed_resources():
        assert profile.resource_name(profile.profile_name(name)) == name


def test_the_file_is_what_the_generator_writes(tmp_path: Path) -> None:
    """Generating the file anew changes nothing, comments included."""
    copy = tmp_path / "config.yaml"
    text = manifests.KUBE_SCHEDULER_CONFIG.read_text(encoding="utf-8")
    copy.write_text(text, encoding="utf-8")
    kube_scheduler_config.main(copy)
    assert copy.read_text(encoding="utf-8") == text


def test_a_stale_list_is_replaced() -> None:
    """Names that no catalogue has are dropped and missing ones come back; what stands before the list stays."""
    text = manifests.KUBE_SCHEDULER_CONFIG.read_text(encoding="utf-8")
    head, key, _ = text.partition("  managedResources:\n")
    stale = f"{head}{key}  - name: nvidia.com/mig-9g.99gb\n"
    assert kube_scheduler_config.with_managed_resources(stale) == text


@pytest.mark.parametrize("text", ["", "extenders: []\n", "managedResources:\nmanagedResources:\n"])
def test_a_file_without_the_key_is_refused(text: str) -> None:
    """A text that does not have the key exactly once is refused with the fix, not half rewritten."""
    with pytest.raises(errors.SettingsError, match="managedResources"):
        kube_scheduler_config.with_managed_resources(text)


def test_a_dead_extender_places_no_pod_blind() -> None:
    """MIG pods wait while the extender is down, and it binds them itself, so none gets a node without a placement."""
    assert EXTENDER["ignorable"] is False
    assert EXTENDER["bindVerb"] == "bind"


def test_no_node_is_left_unasked() -> None:
    """The only profile looks at all nodes, however many there are."""
    (only,) = CONFIG["profiles"]
    assert (only["schedulerName"], only["percentageOfNodesToScore"]) == ("migsched", 100)
