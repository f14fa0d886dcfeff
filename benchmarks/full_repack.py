"""Full repack: what a policy could accept if moving were free, as the ceiling beside the policies' rows.

A job is accepted exactly if it and all that run could be packed again on empty GPUs. That is decided exactly for the
five sizes 1g, 2g, 3g, 4g and 7g of a GPU with seven compute and eight memory slices, by counting: a GPU holds one 7g;
or a 4g and a 3g (a of them), or two 3g (b), or a 4g and three slices (c), or a 3g and four (d), or seven (e), where
a 2g takes two of the slices, and three, four and seven slices have room for one, two and three 2g. Called by
`policies`.
"""

import heapq
from collections.abc import Iterable

import numpy as np

from replay.job import Job

SIZES = (1, 2, 3, 4, 7)  # compute slices, in the order of a multiset here

Multiset = tuple[int, int, int, int, int]


def fits(counts: Multiset, gpus: int) -> bool:
    """Whether these slices fit on so many empty GPUs. Exact."""
    ones, twos, threes, fours, sevens = counts
    rest = gpus - sevens
    if rest < 0 or ones + 2 * twos + 3 * threes + 4 * fours > 7 * rest:
        return False
    a = np.arange(min(threes, fours) + 1)[:, None]
    b = np.arange(threes // 2 + 1)[None, :]
    c = fours - a
    d = threes - a - 2 * b
    e = rest - a - b - c - d
    good = (d >= 0) & (e >= 0) & (3 * c + 4 * d + 7 * e >= 2 * twos + ones) & (c + 2 * d + 3 * e >= twos)
    return bool(good.any())


def gpc_acceptance(jobs: Iterable[Job], gpus: int, window_s: tuple[float, float]) -> float:
    """Share of the compute slices asked for in the window that is accepted; jobs' profiles are indices into SIZES."""
    running = [0] * len(SIZES)
    ends: list[tuple[float, int]] = []
    offered = accepted = 0
    for job in jobs:
        while ends and ends[0][0] <= job.arrival_s:
            running[heapq.heappop(ends)[1]] -= 1
        kind = job.profiles[0]
        counts = window_s[0] <= job.arrival_s <= window_s[1]
        offered += SIZES[kind] * counts
        running[kind] += 1
        ones, twos, threes, fours, sevens = running
        if fits((ones, twos, threes, fours, sevens), gpus):
            heapq.heappush(ends, (job.arrival_s + job.duration_s, kind))
            accepted += SIZES[kind] * counts
        else:
            running[kind] -= 1
    return accepted / offered
