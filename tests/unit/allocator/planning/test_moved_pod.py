"""What capacity says of a pod that is asked about: where it could go, and which waiting pods could start then."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from allocator import errors
from allocator.claims.snapshot_file import PodFacts, Saved, WaitingFacts
from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from tests import plain_answers
from tests.clusters import ClusterBuilder, cluster

A100 = gpu_models.find("a100-40gb")
PROFILES = [profile.name for profile in A100.profiles if "+" not in profile.name]


def moved(saved: Saved, pod: str = "default/it", **options: Any) -> dict[str, Any]:
    """The part of the answer about the move."""
    answer: dict[str, Any] = plain_answers.capacity({"profiles": [], "move": pod}, saved, **options)["move"]
    return answer


def waits(saved: Saved, *profiles: str, name: str = "w", gates: Sequence[str] = (), scheduler: str = "") -> Saved:
    """The same with a pod that waits for a slice of each of these."""
    asked = tuple((profile, profiles.count(profile)) for profile in dict.fromkeys(profiles))
    facts = PodFacts(waiting=WaitingFacts(f"default/{name}", asked, gates=tuple(gates), scheduler=scheduler))
    return replace(saved, pods={**saved.pods, f"uid-{name}": facts})


def two_nodes() -> ClusterBuilder:
    """A pod in the middle of the first GPU; on the second one there is room for it."""
    there = cluster().node("n0").gpu().pod("it", "1g.5gb@2", movable=True)
    return there.node("n1").gpu().pod("other", "3g.20gb@4", movable=True)


@dataclass(frozen=True)
class Question:
    """A cluster of nodes with one GPU each, its slices by GPU, which one is asked about, and what a pod waits for."""

    saved: Saved
    taken: list[list[Placement]]
    gpu: int
    placement: Placement
    wanted: str

    @property
    def pod(self) -> str:
        """The pod that has the slice."""
        return f"default/{_name(self.gpu, self.placement)}"


def _name(gpu: int, placement: Placement) -> str:
    return f"p{gpu}-{placement.start}"


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Of any cluster in which a pod holds a slice."""
    built, taken = cluster(), []
    for number in range(draw(st.integers(1, 3))):
        built, on_gpu = built.node(f"n{number}").gpu(), list[Placement]()
        for name, start in draw(st.lists(st.tuples(st.sampled_from(PROFILES), st.integers(0, 6)), max_size=5)):
            if fits_at(on_gpu, name, start):
                on_gpu.append(A100.placement(name, start))
                built = built.pod(_name(number, on_gpu[-1]), f"{name}@{start}", movable=draw(st.booleans()))
        taken.append(on_gpu)
    every = [(number, placement) for number, on_gpu in enumerate(taken) for placement in on_gpu]
    assume(every)
    gpu, placement = draw(st.sampled_from(every))
    return Question(built.saved(), taken, gpu, placement, draw(st.sampled_from(PROFILES)))


def fits_at(taken: Sequence[Placement], profile: str, start: int) -> bool:
    """Whether a GPU with these slices takes another one there."""
    try:
        geometry.compiled(A100).state_of([*taken, A100.placement(profile, start)])
    except errors.MigschedError:
        return False
    return True


def fits(gpus: Sequence[Sequence[Placement]], profiles: Sequence[str]) -> bool:
    """Whether slices find places on these GPUs, tried one by one."""
    if not profiles:
        return True
    first, *others = profiles
    return any(
        fits([*gpus[:number], [*taken, A100.placement(first, start)], *gpus[number + 1 :]], others)
        for number, taken in enumerate(gpus)
        for start in range(8)
        if fits_at(taken, first, start)
    )


@given(asked=questions())
def test_it_is_what_trying_all_places_finds(asked: Question) -> None:
    """A waiting pod starts if, and only if, it fits nowhere now and together with the moved pod it does."""
    answer = moved(waits(asked.saved, asked.wanted), asked.pod)
    without = [
        [one for one in gpu if number != asked.gpu or one != asked.placement] for number, gpu in enumerate(asked.taken)
    ]
    already = fits(asked.taken, [asked.wanted])
    starts = not already and fits(without, [asked.placement.profile, asked.wanted])
    assert (answer["already"], len(answer["starts"]), answer["not"]) == (already, starts, not (already or starts))
    assert (answer["undecided"], answer["not_looked_at"], answer["held"]) == (0, 0, 0)
    assert bool(answer["room"]["now"]) == fits(asked.taken, [asked.placement.profile])
    by_gpu = {gpu.uuid: slices for gpu, slices in zip(asked.saved.snapshot.gpus(), without, strict=True)}
    for place in [answer["starts"][0][one]["slices"][0] for one in ("place", "moved")] if starts else []:
        assert fits_at(by_gpu[place["gpu"]], place["profile"], place["start"])
        by_gpu[place["gpu"]].append(A100.placement(place["profile"], place["start"]))


def test_it_says_where_both_go() -> None:
    """The pod goes to the other node and the waiting one takes its GPU; of pods that are alike all are named."""
    saved = waits(waits(two_nodes().saved(), "7g.40gb", name="a"), "7g.40gb", name="b")
    answer = moved(saved)
    (start,) = answer["starts"]
    assert start["pods"] == ["default/a", "default/b"]
    assert start["profiles"] == {"7g.40gb": 1}
    assert (start["place"]["node"], start["moved"]["node"]) == ("n0", "n1")
    assert (answer["pod"], answer["node"], answer["kept"]) == ("default/it", "n0", "")
    assert answer["room"]["nodes"] == {"n0": 6, "n1": 4}
    assert moved(saved, "uid-it") == answer


def test_what_forbids_the_move_is_said_and_the_question_is_still_answered() -> None:
    """A pod that may not be moved, and one whose budget forbids it, have the same answer beside the reason."""
    free = moved(waits(two_nodes().saved(), "7g.40gb"))
    kept = cluster().node("n0").gpu().pod("it", "1g.5gb@2", kept="it has no owner").node("n1").gpu()
    answers = [
        moved(waits(kept.pod("other", "3g.20gb@4", movable=True).saved(), "7g.40gb")),
        moved(waits(two_nodes().budget(0, "it").saved(), "7g.40gb")),
        moved(waits(two_nodes().budget(1, "it").saved(), "7g.40gb")),
    ]
    assert all(answer["starts"] == free["starts"] for answer in answers)
    assert answers[0]["kept"] == "it has no owner"
    assert "budget-0" in answers[1]["kept"]
    assert answers[2]["kept"] == ""


def test_pods_that_wait_for_something_else_are_counted_apart() -> None:
    """Another scheduler's pods and those with gates of others are held; our own gate opens for room."""
    saved = waits(two_nodes().saved(), "7g.40gb", name="ours", gates=["migsched.io/place"], scheduler="of-cluster")
    saved = waits(saved, "7g.40gb", name="gated", gates=["kueue.x-k8s.io/admission"])
    saved = waits(saved, "7g.40gb", name="others", scheduler="default-scheduler")
    saved = waits(saved, "9g.99gb", name="unknown")
    answer = moved(saved)
    assert [start["pods"] for start in answer["starts"]] == [["default/ours"]]
    assert (answer["held"], answer["not"]) == (2, 1)


def test_many_kinds_are_not_all_looked_at() -> None:
    """Beyond a bound kinds are counted as not looked at, never as ones that could not start."""
    saved = two_nodes().saved()
    for number in range(60):
        saved = waits(saved, *["1g.5gb"] * (number % 7 + 1), *["2g.10gb"] * (number // 7 + 1), name=f"w{number:02}")
    answer = moved(saved)
    counted = ("already", "not", "undecided", "not_looked_at", "held")
    assert sum(answer[name] for name in counted) + sum(len(start["pods"]) for start in answer["starts"]) == 60
    assert answer["not_looked_at"] >= 10


@pytest.mark.parametrize(
    ("saved", "pod", "said"),
    [
        (two_nodes().saved(), "default/nobody", "no known pod"),
        (cluster().node("n0").gpu().pod("it", "1g.5gb@2", terminating=True).saved(), "default/it", "is ending"),
        (cluster().node("n0").gpu().pod("it", "1g.5gb@2", state="reserved", priority=1).saved(), "default/it", "cut"),
    ],
)
def test_what_cannot_move_is_named(saved: Saved, pod: str, said: str) -> None:
    """A pod that is not there, ends, or whose slices are not cut is refused by field and value."""
    with pytest.raises(errors.InputError, match=said) as caught:
        moved(saved, pod)
    assert "move" in str(caught.value)
    assert pod in str(caught.value)
