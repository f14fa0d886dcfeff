"""A stranded share is brought down by restarts that are legal in their order, within budgets, and gain something."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import errors
from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from allocator.placement import room
from tests import plain_answers
from tests.clusters import ClusterBuilder, cluster

MODEL = "a100-40gb"
CATALOGUE = gpu_models.find(MODEL)
SLICES = [f"{name}@{start}" for name in ("1g.5gb", "2g.10gb", "3g.20gb") for start in CATALOGUE.profile(name).starts]


def placement(text: str) -> Placement:
    """As `3g.20gb@4` says."""
    profile, _, start = text.partition("@")
    return CATALOGUE.placement(profile, int(start))


def stranded_share(gpus: dict[str, list[Placement]], demanded: frozenset[str]) -> float:
    """The part of the free slices that no demanded profile can use, by hand."""
    kind = geometry.compiled(CATALOGUE)
    states = [kind.state_of(slices) for slices in gpus.values()]
    free = sum(map(kind.free_slices, states))
    return sum(room.stranded_slices(kind, state, demanded) for state in states) / free if free else 0.0


def fleet(gpus: list[list[str]], stays: int) -> tuple[ClusterBuilder, dict[str, list[Placement]]]:
    """Pods of one slice each, as far as they fit together, on a node per GPU; each `stays`-th is not movable."""
    built, number = cluster(), 0
    there: dict[str, list[Placement]] = {}
    for index, slices in enumerate(gpus):
        built = built.node(f"n{index}").gpu(MODEL)
        gpu = built.nodes[-1].gpus[0].uuid
        there[gpu] = []
        for text in slices:
            try:
                geometry.compiled(CATALOGUE).state_of([*there[gpu], placement(text)])
            except errors.GeometryError:
                continue
            number += 1
            movable = not stays or number % stays != 0
            built = built.pod(f"p{number}", text, movable=movable, service=f"Deployment/d{number % 2}")
            there[gpu].append(placement(text))
    return built, there


def test_a_slice_that_strands_room_moves_within_its_gpu() -> None:
    """A 2g in the middle of a half keeps a 3g away: it goes to the other end, and nothing is stranded."""
    built, _ = fleet([["3g.20gb@0"], ["2g.10gb@4"]], 0)
    answer = plain_answers.repack({"stranded_share": 0}, built.saved())
    assert (answer["possible"], answer["optimal"], len(answer["moves"])) == (True, False, 1)
    assert answer["after"]["stranded_memory_slices"] == 0


@given(
    gpus=st.lists(st.lists(st.sampled_from(SLICES), max_size=5), min_size=1, max_size=3),
    stays=st.integers(0, 3),
    share=st.sampled_from((0.0, 0.1, 0.3)),
    budgets=st.fixed_dictionaries({"moves": st.integers(0, 5)}, optional={"pods_per_service": st.integers(0, 2)}),
)
def test_restarts_are_legal_and_lessen_the_share(
    gpus: list[list[str]], stays: int, share: float, budgets: dict[str, int]
) -> None:
    """Carried out one by one they are legal, move who may be moved, keep the budgets, and end where the answer says."""
    built, there = fleet(gpus, stays)
    saved = built.saved()
    demanded = frozenset(place.profile for slices in there.values() for place in slices)
    answer = plain_answers.repack({"stranded_share": share, "budgets": budgets}, saved)
    before = now = stranded_share(there, demanded or frozenset(geometry.compiled(CATALOGUE).profiles))
    services: dict[str, int] = {}
    for move in answer["moves"]:
        (slice_,) = move["slices"]
        start, end = slice_["from"], slice_["to"]
        assert saved.pods[move["uid"]].movable
        services[move["service"]] = services.get(move["service"], 0) + 1
        there[start["gpu"]].remove(CATALOGUE.placement(start["profile"], start["start"]))
        there[end["gpu"]].append(CATALOGUE.placement(end["profile"], end["start"]))
        after = stranded_share(there, demanded)
        assert after < now, "a restart that gains nothing"
        now = after
    assert len(answer["moves"]) <= budgets["moves"]
    assert all(number <= budgets.get("pods_per_service", 5) for number in services.values())
    assert answer["possible"] is (True if now <= share else None)
    assert bool(answer["moves"]) is (now < before)
    if answer["after"] is not None:
        figures = answer["after"]
        assert figures["stranded_memory_slices"] == pytest.approx(now * figures["free_memory_slices"])


@pytest.mark.parametrize("more", [{"requests": [{"profiles": {"1g.5gb": 1}}]}, {"empty": {"gpus": 1}}])
def test_a_share_is_asked_for_alone(more: dict[str, Any]) -> None:
    """Beside requests or GPUs to empty it is refused."""
    with pytest.raises(errors.InputError, match="goes alone"):
        plain_answers.repack({"stranded_share": 0.1, **more}, cluster().node("n").gpu().saved())
