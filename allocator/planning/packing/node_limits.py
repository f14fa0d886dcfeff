"""Node limits: what a node's CPU, memory, ephemeral storage and pods leave for pods, as rows of a program.

Amounts in bytes are large, and a program is exact only up to a size: a row is divided by what its weights share, and
beyond that rounded in the pods' favour. So what it proves impossible is; what it finds, `kept` checks exactly.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import gcd

from allocator.eligibility.amounts import NO_LIMIT, NOTHING, Amounts
from allocator.eligibility.quantity import MOST
from allocator.planning.packing.program import Program

Spare = Mapping[int, Amounts]
"""What is left on each node beside everything that stands there; a node that is not named has no limit."""

_LARGEST = 10**6  # a weight; 10,000 pods of it stay far below what the solver reckons exactly


def binding(spare: Amounts, asked: Collection[Amounts], pods: int) -> Amounts:
    """The limits that any `pods` of those pods could exceed; the others do not matter, and are without limit."""
    most = [max((amounts.each[number] for amounts in asked), default=0) for number in range(4)]
    limits = [MOST if not each or pods * each <= left else left for each, left in zip(most, spare.each, strict=True)]
    return Amounts(*limits)


def rows(program: Program, spare: Amounts, terms: Sequence[tuple[int, Amounts]]) -> None:
    """Rows that say: columns, each weighed by amounts, take no more than is spare. Negative weights give back.

    Of what a node has too little of already, pods may still ask nothing.
    """
    for number, left in enumerate(spare.each):
        weights = [(column, amounts.each[number]) for column, amounts in terms if amounts.each[number]]
        if left >= MOST or not weights:
            continue
        share = gcd(*(weight for _, weight in weights))
        high, scaled = max(0, left) // share, [(column, weight // share) for column, weight in weights]
        largest = max(abs(weight) for _, weight in scaled)
        if largest > _LARGEST:
            unit = -(-largest // _LARGEST)
            high, scaled = high // unit, [(column, weight // unit) for column, weight in scaled]
        program.row(scaled, high=high)


def kept(spare: Spare, hosted: Iterable[tuple[int, Amounts]]) -> bool:
    """Whether nodes have what pods that come (node and amounts) ask for, exactly. Negative amounts are of who goes."""
    taken: dict[int, Amounts] = {}
    for node, amounts in hosted:
        taken[node] = taken.get(node, NOTHING) + amounts
    return all(amounts.fits(spare.get(node, NO_LIMIT)) for node, amounts in taken.items())
