"""Catalogues as the driver tells them, drivers of all ages and moods included."""

import dataclasses
from typing import Any

import pytest

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Engines
from node_agent.gpu import device
from node_agent.gpu.nvml import catalogue
from node_agent.gpu.nvml.driver import Driver, ProfileInfo
from simulator.gpu.driver import SimulatedDriver, simulate
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.mode import ModeMachine
from simulator.nvml.library import FakeLibrary

NAMELESS = frozenset({"nvmlDeviceGetGpuInstanceProfileInfoV"})


def read(driver: SimulatedDriver, binding: Driver | None = None) -> Catalogue:
    """The catalogue of a driver's first GPU."""
    binding = binding or Driver(FakeLibrary(driver))
    binding.init()
    handle = binding.handle(0)
    return catalogue.read(binding, handle, binding.product(handle), binding.pci(handle)[1], binding.memory_mib(handle))


def names(model: str) -> tuple[str, ...]:
    return tuple(profile.name for profile in gpu_models.find(model).profiles)


@pytest.mark.parametrize("model", ["a100-40gb", "a100-80gb", "a30-24gb", "h100-80gb", "h200-141gb"])
def test_names_are_computed_where_the_driver_tells_none(model: str) -> None:
    """On a driver that tells no names they are computed, and come out as NVIDIA prints them."""
    gpu = simulate(model).by_index()[0]
    assert tuple(p.name for p in read(SimulatedDriver([gpu], missing=NAMELESS)).profiles) == names(model)


def test_computed_names_round_half_up() -> None:
    """70.5 GB are called 71, as Go rounds, not 70, as Python does."""
    info = ProfileInfo(9, 3, 2, 60, 3, 3, 0, 3, 0, memory_mib=71424, name=None)
    assert catalogue.computed_name(2, info, 143771) == "3g.71gb"


@pytest.mark.parametrize(
    ("enum", "name"), [(7, "1g.24gb+me"), (10, "1g.24gb+gfx"), (13, "1g.24gb-me"), (15, "1g.24gb+me.all")]
)
def test_computed_names_tell_the_variant(enum: int, name: str) -> None:
    """Variants of one size are told apart by their enumerator."""
    info = ProfileInfo(14, 1, 4, 46, 1, 1, 1, 1, 0, memory_mib=24192, name=None)
    assert catalogue.computed_name(enum, info, 97887) == name


def test_a_name_that_spells_no_profile_is_replaced() -> None:
    """A name that could never be asked for by a pod is replaced by the computed one."""
    binding = Driver(FakeLibrary(simulate("a100-40gb")))
    plain = binding.profile

    def renamed(handle: Any, enum_index: int) -> ProfileInfo:
        return dataclasses.replace(plain(handle, enum_index), name="small one")

    binding.profile = renamed  # type: ignore[method-assign]
    assert tuple(p.name for p in read(simulate("a100-40gb"), binding).profiles) == names("a100-40gb")


def test_names_drift_with_the_driver() -> None:
    """A board whose driver calls its profiles otherwise is reported as its driver does."""
    known = gpu_models.find("gb200-186gb")
    renamed = tuple(dataclasses.replace(p, name="1g.24gb" if p.name == "1g.23gb" else p.name) for p in known.profiles)
    gpu = SimulatedGpu(dataclasses.replace(known, profiles=renamed), "GPU-0")
    told = read(SimulatedDriver([gpu]))
    assert told.profile("1g.24gb").profile_id == known.profile("1g.23gb").profile_id


def test_profiles_beyond_the_compiled_count_are_found() -> None:
    """A profile with an enumerator that this pynvml does not know is found all the same."""
    known = gpu_models.find("a100-40gb")
    new = dataclasses.replace(known.profile("3g.20gb"), name="3g.20gb+gfx", profile_id=77, enum_index=0x11)
    gpu = SimulatedGpu(dataclasses.replace(known, profiles=(*known.profiles, new)), "GPU-0", branch=610)
    assert read(SimulatedDriver([gpu], version="610.10")).profile("3g.20gb+gfx").profile_id == 77


def test_unknown_board_gets_a_name_of_its_own() -> None:
    """A board that our table does not know is named after its product, and its live catalogue is used."""
    stranger = dataclasses.replace(gpu_models.find("h100-80gb"), model="h900-800gb", pci_ids=("0x999910DE",))
    told = read(SimulatedDriver([SimulatedGpu(stranger, "GPU-0")]))
    assert told.model == "h900-800gb"
    assert told.profiles == gpu_models.find("h100-80gb").profiles
    assert not told.toggle_needs_reset
    assert catalogue.from_table(0x999910DE) is None


def test_engine_totals_are_the_most_that_one_profile_can_take() -> None:
    """Totals of media engines, which NVML does not tell, come out as published."""
    assert read(simulate("a30-24gb")).engine_totals == Engines(dec=4, enc=0, jpeg=1, ofa=1)
    assert read(simulate("rtx-pro-6000-blackwell-96gb")).engine_totals == Engines(dec=4, enc=4, jpeg=4, ofa=1)


def test_ampere_with_mig_off_lists_nothing() -> None:
    """A GPU that lists no profile now is not supported, for the caller to fall back on the table."""
    with pytest.raises(device.NotSupportedError, match="lists no GPU instance profiles"):
        read(simulate("a100-40gb", mig=False))
    table = catalogue.from_table(0x20B010DE)
    assert table is not None
    assert table.model == "a100-40gb"


def test_contradicting_placements_are_refused() -> None:
    """A driver that lists two sizes for one profile is not believed, and the profile is named."""
    binding = Driver(FakeLibrary(simulate("a100-40gb")))
    binding.placements = lambda *_: ((0, 1), (2, 2))  # type: ignore[method-assign]
    with pytest.raises(errors.CatalogueError, match=r"1g\.5gb"):
        read(simulate("a100-40gb"), binding)


def test_needing_a_reset_is_guessed_from_the_table() -> None:
    """Where the driver does not tell whether a mode change needs a reset, the table does, and else it is assumed."""
    for model, pci_ids, expected in (("h100-80gb", None, False), ("h100-80gb", ("0x999910DE",), True)):
        known = gpu_models.find(model)
        board = dataclasses.replace(known, pci_ids=pci_ids or known.pci_ids)
        mode = ModeMachine(enabled=True, needs_reset=False)
        driver = SimulatedDriver(
            [SimulatedGpu(board, "GPU-0", mode=mode)], missing=frozenset({"nvmlDeviceGetFieldValues"})
        )
        assert read(driver).toggle_needs_reset is expected


def test_engine_totals_never_forbid_what_the_driver_allows() -> None:
    """Where small profiles together take more engines than the whole GPU lists, the larger number counts."""
    known = gpu_models.find("a100-80gb")
    small = dataclasses.replace(known.profile("1g.10gb"), engines=Engines(dec=1))
    board = dataclasses.replace(known, profiles=(small, *known.profiles[1:]), engine_totals=None)
    told = read(SimulatedDriver([SimulatedGpu(board, "GPU-0")]))
    assert told.engine_totals == Engines(dec=7, enc=0, jpeg=1, ofa=1)
