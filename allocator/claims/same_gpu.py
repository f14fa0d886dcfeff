"""Same GPU: in words, which slices of one container lie on one GPU. Said by the agent's Event and by explanations."""

from collections import Counter
from collections.abc import Iterable

_NAMED = 3  # pairs of container and GPU; more are counted

_RULE = "a CUDA process sees at most one slice of a GPU"


def sentence(slices: Iterable[tuple[str, str]]) -> str:
    """What is to be said of slices, each given by its container and its GPU's UUID; empty if all are apart.

    Slices of which it is not known whose they are (an empty container) do not count.
    """
    numbers = Counter((container, gpu) for container, gpu in slices if container)
    together = [pair for pair, number in sorted(numbers.items()) if number > 1]
    if not together:
        return ""
    named = [f"container {c} has {numbers[c, gpu]} slices on GPU {gpu}" for c, gpu in together[:_NAMED]]
    more = f" and {len(together) - _NAMED} more" if len(together) > _NAMED else ""
    return f"{', '.join(named)}{more}: {_RULE}"
