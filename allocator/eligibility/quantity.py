"""A Kubernetes quantity ("250m", "4Gi", "1e3") as a whole number of billionths. Used by `amounts`.

The rule is that of Kubernetes' API documentation ("Quantity"): what is finer than a billionth is rounded up. Text from
a cluster may say anything, so what is no quantity, negative or beyond what Kubernetes can count gives None.
"""

import re

NANO = 10**9  # billionths in one
MOST = (2**63 - 1) * NANO  # Kubernetes counts in 64 bits
_MAX_CHARACTERS = 64

_QUANTITY = re.compile(
    r"\+?(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?", re.ASCII
)
_NANO_PER = {  # a suffix's unit in billionths
    "n": 1,
    "u": 10**3,
    "m": 10**6,
    "": NANO,
    **{suffix: NANO * 10 ** (3 * (power + 1)) for power, suffix in enumerate("kMGTPE")},
    **{suffix + "i": NANO * 2 ** (10 * (power + 1)) for power, suffix in enumerate("KMGTPE")},
}


def parse(text: str | int) -> int | None:
    """A quantity in billionths, rounded up; None if it cannot be read."""
    if isinstance(text, int):
        return text * NANO if 0 <= text <= MOST // NANO else None
    if len(text) > _MAX_CHARACTERS:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None or not (match["whole"] or match["part"]):
        return None
    digits, places = match["whole"] + (match["part"] or ""), len(match["part"] or "")
    suffix = match["suffix"] or ""
    unit = _NANO_PER.get(suffix)
    if unit is None:  # an exponent
        exponent = int(suffix[1:])
        unit, places = NANO * 10 ** max(0, exponent), places + max(0, -exponent)
    number = -(-int(digits) * unit // 10**places)
    return number if number <= MOST else None
