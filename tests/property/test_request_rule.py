"""What a pod asks for, against a simulation of how the kubelet starts its containers."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import errors, request
from allocator.request import ContainerRequest

PROFILES = ("1g.5gb", "1g.5gb+me", "3g.20gb")


@st.composite
def _containers(draw: st.DrawFn, prefix: str, *, init: bool) -> list[ContainerRequest]:
    return [
        ContainerRequest(
            f"{prefix}{i}",
            {
                "cpu": "500m",
                **{
                    f"nvidia.com/mig-{name.replace('+', '.')}": draw(st.just(n) | st.just(str(n)))
                    for name in PROFILES
                    if (n := draw(st.integers(0, 3))) or draw(st.booleans())
                },
            },
            restartable=init and draw(st.booleans()),
        )
        for i in range(draw(st.integers(0, 4)))
    ]


def _asked(container: ContainerRequest) -> Counter[str]:
    resources = {name: f"nvidia.com/mig-{name.replace('+', '.')}" for name in PROFILES}
    return Counter({name: int(container.resources.get(resource, 0)) for name, resource in resources.items()})


def _peak_while_starting(containers: Sequence[ContainerRequest], init: Sequence[ContainerRequest]) -> Counter[str]:
    """The most slices of each profile in use at one moment, when a pod starts as the kubelet starts it.

    Init containers run one after the other; a restartable one keeps running; then all containers run together.
    """
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in init:
        peak |= running + _asked(container)
        if container.restartable:
            running += _asked(container)
    for container in containers:
        running += _asked(container)
    return peak | running


@given(_containers("main", init=False), _containers("init", init=True))
def test_the_request_is_the_peak_of_the_pods_start(
    containers: list[ContainerRequest], init: list[ContainerRequest]
) -> None:
    """Per profile a pod asks for exactly the most that its containers use at one moment of its start."""
    assert dict(request.of_containers(containers, init).counts) == dict(_peak_while_starting(containers, init))


@given(_containers("main", init=False), _containers("init", init=True))
def test_what_keeps_running_gets_its_own_slices(
    containers: list[ContainerRequest], init: list[ContainerRequest]
) -> None:
    """Ordinary containers and sidecars get what they ask for; an init container only what exceeds that in sum."""
    read = request.of_containers(containers, init)
    per_container = Counter((slot.container, slot.profile) for slot in read.slots)
    lasting = [*containers, *(container for container in init if container.restartable)]
    for container in lasting:
        for name, number in _asked(container).items():
            assert per_container[container.name, name] == number
    steady = sum((_asked(container) for container in lasting), Counter())
    passing = {container.name for container in init if not container.restartable}
    for name in PROFILES:
        extra = sum(n for (owner, profile), n in per_container.items() if owner in passing and profile == name)
        assert extra == max(0, _peak_while_starting(containers, init)[name] - steady[name])


@given(_containers("main", init=False), _containers("init", init=True), st.data())
def test_the_order_of_ordinary_containers_does_not_matter(
    containers: list[ContainerRequest], init: list[ContainerRequest], data: st.DataObject
) -> None:
    """Ordinary containers run together, so shuffling them asks for the same."""
    shuffled = data.draw(st.permutations(containers))
    assert request.of_containers(shuffled, init).counts == request.of_containers(containers, init).counts


@given(
    st.text(max_size=12) | st.integers() | st.floats().map(str) | st.from_regex(r"\A[+-]?[0-9.]+[eEkKmMGi]*[0-9]?\Z")
)
def test_any_quantity_is_a_number_of_slices_or_refused(quantity: str | int) -> None:
    """Whatever stands where a quantity should, the answer is a whole number of slices or a RequestError."""
    refused = None
    slots: tuple[request.SliceRequest, ...] = ()
    try:
        slots = request.of_containers([ContainerRequest("main", {"nvidia.com/mig-1g.5gb": quantity})]).slots
    except errors.RequestError as error:
        refused = error
    assert refused is None or (refused.field, refused.value) == ("container main: nvidia.com/mig-1g.5gb", quantity)
    assert slots == (request.SliceRequest("main", "1g.5gb"),) * len(slots)
    assert len(slots) <= request.MAX_SLICES_PER_POD


@given(st.text(max_size=20))
def test_any_resource_under_our_prefix_is_a_profile_or_refused(suffix: str) -> None:
    """A resource under our prefix asks for a profile of that spelling, or is refused; it is never passed over."""
    container = ContainerRequest("main", {"nvidia.com/mig-" + suffix: 1})
    try:
        read = request.of_containers([container])
    except errors.RequestError:
        return
    assert [slot.profile.replace("+", ".") for slot in read.slots] == [suffix]


def test_a_sidecar_counts_beside_the_init_containers_after_it() -> None:
    """An init container shares the GPU with the sidecars before it, not with those after it."""
    init = [
        ContainerRequest("first", {"nvidia.com/mig-1g.5gb": 3}),
        ContainerRequest("proxy", {"nvidia.com/mig-1g.5gb": 2}, restartable=True),
        ContainerRequest("second", {"nvidia.com/mig-1g.5gb": 3}),
    ]
    read = request.of_containers([ContainerRequest("main", {"nvidia.com/mig-1g.5gb": 1})], init)
    assert Counter(slot.container for slot in read.slots) == {"proxy": 2, "main": 1, "second": 2}


@pytest.mark.parametrize("init", [False, True])
def test_the_limit_holds_for_the_pod_as_a_whole(init: bool) -> None:
    """Containers that ask for little each may not ask for more than a pod's limit together."""
    half = [ContainerRequest(f"c{i}", {"nvidia.com/mig-1g.5gb": 65}, restartable=init) for i in range(2)]
    with pytest.raises(errors.RequestError, match="slices of one pod: 130: ask for at most 128"):
        request.of_containers([] if init else half, half if init else [])
