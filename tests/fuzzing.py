"""How long the fuzzers run, and how they damage text: `make fuzz FACTOR=20 SEED=3` draws more, and others."""

import os
import random

from hypothesis import settings

_FULL = 100  # examples of the profile `ci`
FACTOR = int(os.environ.get("MIGSCHED_FUZZ_FACTOR", "1"))
SEED = int(os.environ.get("MIGSCHED_FUZZ_SEED", "11"))


def budget(draws: int) -> int:
    """So many draws by the profile `ci`; by `dev` a share of them, as of its examples."""
    return FACTOR * draws * min(settings().max_examples, _FULL) // _FULL


def damaged(text: bytes, at: random.Random, *, ends: tuple[bytes, ...] = ()) -> bytes:
    """The text, cut, doubled, with bytes changed, with an end of the given ones, or replaced by noise; or as it is."""
    way = at.randrange(7)
    cut = at.randrange(len(text) + 1)
    if way == 0:
        return text[:cut]
    if way == 1:
        return text[:cut] + text[max(0, cut - at.randrange(1, 50)) :]
    if way == 2 and text:
        spoiled = bytearray(text)
        for _ in range(at.randrange(1, 6)):
            spoiled[at.randrange(len(spoiled))] = at.randrange(256)
        return bytes(spoiled)
    if way == 3 and at.random() < 0.3:
        return at.randbytes(at.randrange(200))
    if way == 4:
        return text + at.choice((text, *ends))
    return text
