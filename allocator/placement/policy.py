"""Policy: how good a placement is, as tables over the states of a geometry.

A policy gives every legal step of the automaton a loss; the best placement in a state, and what it costs, are then
looked up. The scheduler, the simulator and the benchmarks choose a policy by name from `POLICIES`. Lower is better;
what happens among equals is the policy's `order`. What each rule does, and how well: docs/policies.md.

A policy is a value and never changes. What has a memory keeps it elsewhere: a policy whose losses follow the demand
has `weigh`, which makes the policy for a demand (`demand` estimates one), and a policy that goes round the GPUs says
so by its `order`; the cursor belongs to the code that places, and so do the ends of what runs.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.mig.geometry import Geometry
from allocator.placement import halves

Losses = npt.NDArray[np.float64]
Weights = tuple[tuple[str, float], ...]  # (profile, share of the demand); empty: every profile alike

_TIE_FULLER = 1e-4  # per free memory slice left: far below any difference of scores, which are multiples of 1/200
_MOST_TABLES = 16  # policies, with those that a demand makes, whose tables are kept per geometry
_TIE_START = 1e-6  # per memory slice of start


class Order(enum.Enum):
    """Which GPU goes first among those that fit. On one GPU it is always the least loss, then the policy's start."""

    TIGHTEST = "least loss, then the fullest, then by start, then the first"
    LOSS = "least loss, then the first"
    FIRST = "the first"
    CYCLIC = "the next after the one that was chosen last"
    ENDS = "least loss, then the one whose last end the slice puts off least, then as the tightest"


@dataclass(frozen=True, slots=True)
class Policy:
    """A named rule: `loss(geometry)` gives a loss in [-1, 1] per (state, placement), shape states × placements.

    What illegal steps hold does not matter. Of equal starts the lowest is taken; profiles with one of the compute
    sizes `high` take the highest. `ranks(geometry)`, where there is one, says instead which of equal starts is taken
    in each state, the least first, shape states × placements, whole numbers from 0. `weigh`, where there is one, makes
    the policy that fits a demand.
    """

    name: str
    summary: str
    loss: Callable[[Geometry], Losses]
    order: Order = Order.LOSS
    high: frozenset[int] = frozenset()
    ranks: Callable[[Geometry], Losses] | None = None
    weigh: Callable[[Weights], "Policy"] | None = field(default=None, compare=False)

    def fixed(self) -> "Policy":
        """The same policy as it is now, which follows no demand."""
        return replace(self, weigh=None)


@dataclass(frozen=True, slots=True)
class Tables:
    """A policy compiled for a geometry.

    `step_loss` (states × placements): the loss of each step, inf where illegal. `loss` (states × profiles): the
    loss of the best placement of a profile, inf where none is legal; `choice`: its placement index, -1 where none.
    Within 1e-5 they are the policy's losses, plus 1e-4 per slice left free where the order is TIGHTEST, or ENDS, which
    is the same where no ends are known. FIRST and CYCLIC do not compare losses: their best placements cost 0.
    """

    step_loss: Losses
    loss: Losses
    choice: npt.NDArray[np.int16]


def find(name: str) -> Policy:
    """The policy of that name. Raises SettingsError listing those there are."""
    try:
        return POLICIES[name]
    except KeyError:
        raise errors.SettingsError("policy", name, "use one of " + ", ".join(POLICIES)) from None


def tables(policy: Policy, geometry: Geometry) -> Tables:
    """The policy's tables for a geometry, built once as long as there is the geometry."""
    return geometry.keep(_tables, policy, most=_MOST_TABLES)


def _tables(geometry: Geometry, policy: Policy) -> Tables:
    raw_loss = policy.loss(geometry)
    if policy.order in (Order.TIGHTEST, Order.ENDS):
        raw_loss = raw_loss + _TIE_FULLER * _after(geometry, _free(geometry))
    ranks = _start_ranks(geometry, policy.high) if policy.ranks is None else policy.ranks(geometry)
    step_loss = np.where(geometry.step >= 0, raw_loss + _TIE_START * ranks, np.inf)
    loss = np.full((geometry.states, len(geometry.profiles)), np.inf)
    choice = np.full((geometry.states, len(geometry.profiles)), -1, dtype=np.int16)
    for p, name in enumerate(geometry.profiles):
        columns = np.array(geometry.placements_of(name))
        best = columns[step_loss[:, columns].argmin(axis=1)]
        fits = np.flatnonzero((geometry.step[:, columns] >= 0).any(axis=1))
        choice[fits, p] = best[fits]
        least = step_loss[fits, best[fits]]
        loss[fits, p] = _between_gpus(policy.order, least, raw_loss[fits, best[fits]])
        steps = np.ix_(fits, columns)
        step_loss[steps] = loss[fits, p][:, None] + (step_loss[steps] - least[:, None])
    for array in (step_loss, loss, choice):
        array.flags.writeable = False
    return Tables(step_loss, loss, choice)


def _between_gpus(order: Order, with_start: Losses, without: Losses) -> Losses:
    """What the best placements cost when GPUs are compared: equal there means that the first GPU goes first."""
    if order in (Order.TIGHTEST, Order.ENDS):
        return with_start
    return without if order is Order.LOSS else np.zeros_like(without)


def fragmentation(geometry: Geometry) -> Losses:
    """How much of a GPU's possibilities each state has lost, in [0, 1]: 0 empty, 1 nothing fits any more.

    The ungated, memory-weighted form of the score of arXiv 2511.18906: every legal placement of every plain profile
    counts with its memory slices, once it can no longer be made, be it for want of memory or of anything else that
    slices share (media engines). Profiles with attributes (`+me`) are left out: they lie where plain ones lie.
    """
    weights = _sizes(geometry)
    lost: Losses = (_blocked(geometry) @ weights) / weights.sum()
    return lost


def fgd(weights: Weights) -> Policy:
    """Fragmentation gradient descent for a demand: least growth of the free slices that the demand cannot use.

    Raises SettingsError for a weight that is not a number of at least 0, or if all are 0.
    """
    for name, weight in weights:
        if not 0.0 <= weight < float("inf"):
            raise errors.SettingsError(f"weight of {name}", weight, "must be a number, 0 or more")
    if weights and not any(weight for _, weight in weights):
        raise errors.SettingsError("weights", weights, "give at least one profile a weight above 0")
    return Policy("fgd", _FGD, _Fgd(weights), weigh=fgd)


def _free(geometry: Geometry) -> Losses:
    """Free memory slices per state."""
    return np.array([geometry.free_slices(s) for s in range(geometry.states)], dtype=np.float64)


def _start_ranks(geometry: Geometry, high: frozenset[int]) -> Losses:
    """A rank of each placement by its start, ascending, or descending for profiles of the compute sizes `high`."""
    compute = {p.name: p.compute_slices for p in geometry.catalogue.profiles}
    last = geometry.catalogue.memory_slices
    return np.array(
        [last - p.start if compute[p.profile] in high else p.start for p in geometry.placements], dtype=np.float64
    )


def _after(geometry: Geometry, of_state: Losses) -> Losses:
    """A figure of the state each step leads to; illegal steps repeat state 0's."""
    figures: Losses = of_state[np.where(geometry.step >= 0, geometry.step, 0)]
    return figures


def _growth(geometry: Geometry, of_state: Losses) -> Losses:
    """How much a figure of the state grows with each step."""
    growth: Losses = _after(geometry, of_state) - of_state[:, None]
    return growth


def _sizes(geometry: Geometry) -> Losses:
    """Memory slices of each placement; 0 for profiles with attributes, unless the GPU has no others."""
    plain = {p.name: p.plain for p in geometry.catalogue.profiles}
    if not any(plain.values()):
        plain = dict.fromkeys(plain, True)
    return np.array([p.size if plain[p.profile] else 0 for p in geometry.placements], dtype=np.float64)


def _blocked(geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Whether a placement can no longer be made, states × placements."""
    blocked: npt.NDArray[np.bool_] = geometry.step < 0
    return blocked


def _mfi(geometry: Geometry) -> Losses:
    return _growth(geometry, fragmentation(geometry))


def _mfi_gated(geometry: Geometry) -> Losses:
    """As `_mfi`, but a profile larger than the free memory no longer counts as lost, as arXiv 2511.18906 writes it."""
    weights = _sizes(geometry)
    open_gate = _free(geometry)[:, None] >= weights[None, :]
    return _growth(geometry, (_blocked(geometry) & open_gate) @ weights / weights.sum())


@dataclass(frozen=True, slots=True)
class _Fgd:
    """Loss of the free memory slices that no free placement of a profile covers, each profile by its weight.

    The rule of Weng et al. (USENIX ATC 2023) carried over to slices: there a workload's share of a GPU can lie
    anywhere, here only at legal starts.
    """

    weights: Weights

    def __call__(self, geometry: Geometry) -> Losses:
        shares = dict(self.weights) if self.weights else {p.name: 1.0 for p in geometry.catalogue.profiles if p.plain}
        here = np.array([shares.get(name, 0.0) for name in geometry.profiles])
        if not here.any():
            return np.zeros(geometry.step.shape)
        lost = _useless(geometry) @ (here / here.sum())
        return _growth(geometry, lost / geometry.catalogue.memory_slices)


def _useless(geometry: Geometry) -> Losses:
    """Free memory slices that no legal placement of a profile covers, states × profiles."""
    slices = range(geometry.catalogue.memory_slices)
    covers = np.array([[p.mask >> i & 1 for i in slices] for p in geometry.placements], dtype=np.int64)
    legal = geometry.step >= 0
    losses = np.empty((geometry.states, len(geometry.profiles)))
    for p, name in enumerate(geometry.profiles):
        columns = np.array(geometry.placements_of(name))
        covered = (legal[:, columns].astype(np.int64) @ covers[columns]) > 0
        losses[:, p] = _free(geometry) - covered.sum(axis=1)
    return losses


def _best_fit(geometry: Geometry) -> Losses:
    return _after(geometry, _free(geometry)) / geometry.catalogue.memory_slices


def _worst_fit(geometry: Geometry) -> Losses:
    losses: Losses = 1.0 - _best_fit(geometry)
    return losses


def _no_matter(geometry: Geometry) -> Losses:
    return np.zeros(geometry.step.shape)


_FGD = "least growth of the free slices that the demand cannot use"

POLICIES: Mapping[str, Policy] = {
    p.name: p
    for p in (
        Policy("mfi", "least loss of possibilities, memory-weighted (the default)", _mfi, Order.TIGHTEST),
        Policy("mfi-lifetime", "mfi, and of equal GPUs the one whose last end is put off least", _mfi, Order.ENDS),
        Policy("mfi-gated", "the same, profiles larger than the free memory left out", _mfi_gated),
        fgd(()),
        Policy("best-fit", "the fullest GPU that still fits, lowest start", _best_fit),
        Policy("hami", "best fit, 1g and 3g at the highest start, as HAMi 2.10", _best_fit, high=frozenset({1, 3})),
        Policy(
            "hami-2855", "best fit, starts by halves of the card, as HAMi's main branch", _best_fit, ranks=halves.ranks
        ),
        Policy("first-fit", "the first GPU that fits, lowest start", _no_matter, Order.FIRST),
        Policy("round-robin", "the next GPU that fits, lowest start", _no_matter, Order.CYCLIC),
        Policy("worst-fit", "the emptiest GPU, lowest start", _worst_fit),
    )
}

DEFAULT = POLICIES["mfi"]
