"""The built-in catalogues against the published values in tests/data/mig_profiles.json."""

from typing import Any

import pytest

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.profile import Engines
from tests import oracles

# By NVIDIA, in the configurations of its MIG manager, for boards whose names drifted.
SHIPPED = """
1g.24gb 2g.47gb 3g.95gb 4g.95gb 7g.189gb 1g.24gb+gfx 1g.24gb+me.all 1g.24gb-me 2g.48gb+me.all 4g.96gb+gfx
"""
# RTX PRO 4500, RTX PRO 5000 by R580 and by R610, Thor.
OF_GUIDES = """
1g.16gb 1g.16gb+gfx 1g.16gb+me.all 1g.16gb-me 2g.32gb 2g.32gb+gfx
1g.12gb 1g.12gb+me 1g.12gb+gfx 1g.12gb-me 2g.24gb-me 4g.48gb 4g.48gb+gfx
1g.24gb+me 2g.48gb 2g.48gb+gfx 1g.0gb+me 3g.0gb+gfx
"""
OF_NEW_DRIVERS = "1g.31gb 1g.31gb+me 3g.126gb 4g.126gb 7g.251gb"  # GB300 from R610 on
UNPLACED = tuple(m for m, row in oracles.PUBLISHED.items() if any(p["placements"] is None for p in row["profiles"]))


def _engines(values: dict[str, Any] | None) -> Engines | None:
    if values is None or any(values[e] is None for e in oracles.ENGINES):
        return None
    return Engines(*(values[e] for e in oracles.ENGINES))


def test_exactly_the_models_with_published_placements_are_known() -> None:
    """Every model whose placements are published is known, and no other."""
    assert set(gpu_models.known()) == set(oracles.PUBLISHED) - set(UNPLACED)


@pytest.mark.parametrize("model", gpu_models.known())
def test_the_board_is_as_published(model: str) -> None:
    """Slices, memory, engines, PCI ids and the need of a reset equal the published values."""
    catalogue, row = gpu_models.find(model), oracles.PUBLISHED[model]
    assert catalogue.model == model
    assert catalogue.memory_slices == row["memory_slices"]
    assert catalogue.compute_slices == row["compute_slices"]
    assert catalogue.total_memory_mib == row["total_memory_mib"]
    assert catalogue.toggle_needs_reset == row["mig_toggle_needs_reset"]
    assert catalogue.engine_totals == _engines(row["max_engines"])
    assert list(catalogue.pci_ids) == row["pci_ids"]


@pytest.mark.parametrize("model", gpu_models.known())
def test_every_profile_is_as_published(model: str) -> None:
    """Names, ids, sizes, counts, placements, memory and engines of every profile equal the published values."""
    catalogue, rows = gpu_models.find(model), oracles.PUBLISHED[model]["profiles"]
    assert {p.name for p in catalogue.profiles} == {row["name"] for row in rows}
    for row in rows:
        profile = catalogue.profile(row["name"])
        assert profile.profile_id == row["id"]
        assert profile.enum_index == row["nvml_profile"]
        assert profile.compute_slices == row["compute_slices"]
        assert profile.memory_slices == row["memory_slices"]
        assert profile.max_instances == row["instances"]
        assert [[start, profile.memory_slices] for start in profile.starts] == row["placements"]
        assert profile.memory_mib == row["memory_mib"]
        assert profile.engines == _engines(row["attributes"])
        assert profile.sm == row["attributes"]["sm"]
        assert profile.copy_engines == row["attributes"]["ce"]


@pytest.mark.parametrize("model", gpu_models.known())
def test_profile_ids_are_distinct(model: str) -> None:
    """No two profiles of a model share a profile id or an enum index, which the driver keys on."""
    profiles = gpu_models.find(model).profiles
    assert len({p.profile_id for p in profiles}) == len({p.enum_index for p in profiles}) == len(profiles)


@pytest.mark.parametrize("spelling", ["A100-40GB", " a100-40gb ", "a100-40gb"])
def test_models_are_found_in_any_case(spelling: str) -> None:
    """A model's name may be written in any case, with blanks around it."""
    assert gpu_models.find(spelling).model == "a100-40gb"


@pytest.mark.parametrize("model", UNPLACED)
def test_models_without_published_placements_are_refused(model: str) -> None:
    """Nothing is planned on a guess: such a model needs its live catalogue, and the error says so."""
    with pytest.raises(errors.CatalogueError, match="placements are not published; use the catalogue that the live"):
        gpu_models.find(model)


@pytest.mark.parametrize("model", ["", "a100", "v100-16gb", "a100-40gb;"])
def test_an_unknown_model_is_answered_with_those_there_are(model: str) -> None:
    """An unknown model is refused with the names of all known ones."""
    with pytest.raises(errors.CatalogueError) as caught:
        gpu_models.find(model)
    assert caught.value.fix == "use one of " + ", ".join(gpu_models.known())


@pytest.mark.parametrize("model", gpu_models.known())
def test_boards_are_found_by_pci_id(model: str) -> None:
    """Every published PCI id leads to its model, in upper and lower case."""
    for pci_id in oracles.PUBLISHED[model]["pci_ids"]:
        assert gpu_models.by_pci_id(pci_id).model == model
        assert gpu_models.by_pci_id(pci_id.lower()).model == model


@pytest.mark.parametrize("pci_id", ["", "0x0", "0x20B0", "nonsense"])
def test_an_unknown_pci_id_is_refused(pci_id: str) -> None:
    """A board that nobody knows must tell its catalogue itself."""
    with pytest.raises(errors.CatalogueError, match="not a board with a known catalogue; report it live"):
        gpu_models.by_pci_id(pci_id)


@pytest.mark.parametrize("name", f"{SHIPPED} {OF_GUIDES} {OF_NEW_DRIVERS}".split())
def test_a_published_name_is_known_without_its_placements(name: str) -> None:
    """A profile is known by every name that NVIDIA's configurations, guides and drivers give it."""
    assert name in gpu_models.published_names()


@pytest.mark.parametrize("model", gpu_models.known())
def test_every_profile_of_a_known_model_is_a_published_name(model: str) -> None:
    """The names include those of every catalogue."""
    assert {p.name for p in gpu_models.find(model).profiles} <= gpu_models.published_names()


def test_of_contradicting_listings_the_smaller_memory_is_taken() -> None:
    """What is planned on B200, A100-80GB, H100 NVL and RTX PRO 6000 fits with every driver that was seen."""
    smallest = {
        ("b200-180gb", "1g.23gb"): 20992,  # 20.50 GiB; another driver 22.00
        ("a100-80gb", "1g.10gb"): 9728,  # 9.50 GiB; another driver 9.62
        ("h100-94gb", "7g.94gb"): 94848,  # 92.62 GiB; another driver 93.12
        ("rtx-pro-6000-blackwell-96gb", "1g.24gb"): 23680,  # 23.12 GiB; another driver 23.62
    }
    assert {key: gpu_models.find(key[0]).profile(key[1]).memory_mib for key in smallest} == smallest
