"""Real Triton as ordinary pods that name no scheduler: each answers inferences on the slice that the MigNode shows."""

import pytest

from tests.e2e.real_node.consumers import SECONDS, Consumers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # a machine under load starts servers slowly


def test_triton_answers_from_its_own_slice_as_it_is_scaled(consumers: Consumers) -> None:
    """The example with 1, 7 and 2 replicas: every server answers with the slice that is its pod's, all on one GPU."""
    consumers.apply_triton(replicas=1)
    first = _answers(consumers, 1)
    consumers.scale("triton-1g", 7)
    seven = _answers(consumers, 7)
    assert first.items() <= seven.items(), "the first keeps its slice"
    assert len(set(seven.values())) == 7
    assert len({gpu for _slice, gpu in consumers.slices().values()}) == 1
    consumers.scale("triton-1g", 2)
    two = _answers(consumers, 2)
    assert two.items() < seven.items(), "two of the seven go on as they were"
    states = sorted(state for state, _pod in consumers.stack.reported().values())
    assert states.count("allocated") == 2, "five were given back"
    consumers.clear()


def _answers(consumers: Consumers, count: int) -> dict[str, str]:
    """The slice that each pod answers with through the Service's endpoints, once there are so many of both."""
    consumers.stack.eventually(
        lambda: len(consumers.endpoints("triton-1g")) == count and len(consumers.slices()) == count,
        f"{count} servers are ready and have a slice",
        SECONDS,
    )
    answers = [consumers.ask_triton(address) for address in consumers.endpoints("triton-1g")]
    served = {answer["POD"]: answer["SLICE"] for answer in answers}
    assert served == {pod: uuid for pod, (uuid, _gpu) in consumers.slices().items()}
    return served
