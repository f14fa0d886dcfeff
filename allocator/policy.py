"""Policy: how good a placement is, as tables over the states of a geometry.

A policy gives every legal step of the automaton a loss; the best placement in a state, and what it costs, are then
looked up. The scheduler, the simulator and the benchmarks choose a policy by name from `POLICIES`. Lower is better,
ties go to the fuller GPU and then to the lower start unless the policy says otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.geometry import Geometry

Losses = npt.NDArray[np.float64]

_TIE_FULLER = 1e-4  # per free memory slice left: far below any difference of scores, which are multiples of 1/200
_TIE_START = 1e-6  # per memory slice of start


@dataclass(frozen=True, slots=True)
class Policy:
    """A named rule: `score(geometry)` gives a loss in [0, 1] per (state, placement), shape states × placements.

    `prefers` breaks ties inside a GPU (same shape, or zeros); what illegal steps hold does not matter.
    """

    name: str
    summary: str
    score: Callable[[Geometry], Losses]
    prefers_fuller: bool = True


@dataclass(frozen=True, slots=True)
class Tables:
    """A policy compiled for a geometry.

    `step_loss` (states × placements): the loss of each step, inf where illegal. `loss` (states × profiles): the
    loss of the best placement of a profile, inf where none is legal; `choice`: its placement index, -1 where none.
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


@lru_cache(maxsize=512)
def tables(policy: Policy, geometry: Geometry) -> Tables:
    """The policy's tables for a geometry, built once."""
    starts = np.array([p.start for p in geometry.placements], dtype=np.float64)
    after = np.where(geometry.step >= 0, geometry.step, 0)
    step_loss = policy.score(geometry) + _TIE_START * starts
    if policy.prefers_fuller:
        step_loss = step_loss + _TIE_FULLER * _free(geometry)[after]
    step_loss = np.where(geometry.step >= 0, step_loss, np.inf)
    loss = np.full((geometry.states, len(geometry.profiles)), np.inf)
    choice = np.full((geometry.states, len(geometry.profiles)), -1, dtype=np.int16)
    for p, name in enumerate(geometry.profiles):
        columns = np.array(geometry.placements_of(name))
        best = step_loss[:, columns].argmin(axis=1)
        loss[:, p] = step_loss[np.arange(geometry.states), columns[best]]
        choice[:, p] = np.where(np.isfinite(loss[:, p]), columns[best], -1)
    for array in (step_loss, loss, choice):
        array.flags.writeable = False
    return Tables(step_loss, loss, choice)


def fragmentation(geometry: Geometry) -> Losses:
    """How much of a GPU's possibilities each state has lost, in [0, 1]: 0 empty, 1 nothing fits any more.

    The ungated, memory-weighted form of the score of arXiv 2511.18906: every legal placement of every plain profile
    counts with its memory slices, once it can no longer be made. Profiles with attributes (`+me`) are left out:
    they lie where plain ones lie.
    """
    weights = np.array(
        [p.size if geometry.catalogue.profile(p.profile).plain else 0 for p in geometry.placements],
        dtype=np.float64,
    )
    blocked = (geometry.masks[:, None] & np.array([p.mask for p in geometry.placements])[None, :]) != 0
    lost: Losses = (blocked @ weights) / weights.sum()
    return lost


def _free(geometry: Geometry) -> Losses:
    return np.array([geometry.free_slices(s) for s in range(geometry.states)], dtype=np.float64)


def _after(geometry: Geometry, of_state: Losses) -> Losses:
    """A figure of the state each step leads to; illegal steps repeat state 0's."""
    figures: Losses = of_state[np.where(geometry.step >= 0, geometry.step, 0)]
    return figures


def _mfi(geometry: Geometry) -> Losses:
    lost = fragmentation(geometry)
    losses: Losses = _after(geometry, lost) - lost[:, None]
    return losses


def _best_fit(geometry: Geometry) -> Losses:
    return _after(geometry, _free(geometry)) / geometry.catalogue.memory_slices


def _worst_fit(geometry: Geometry) -> Losses:
    losses: Losses = 1.0 - _best_fit(geometry)
    return losses


def _first_fit(geometry: Geometry) -> Losses:
    return np.zeros(geometry.step.shape)


def _hami(geometry: Geometry) -> Losses:
    """Best fit; one- and three-slice profiles at the highest free start, as HAMi 2.10 does."""
    high = np.array(
        [
            2 * _TIE_START * (geometry.catalogue.memory_slices - p.start) if p.profile[0] in "13" else 0.0
            for p in geometry.placements
        ]
    )
    losses: Losses = _best_fit(geometry) + high
    return losses


POLICIES: Mapping[str, Policy] = {
    p.name: p
    for p in (
        Policy("mfi", "least loss of possibilities, memory-weighted (the default)", _mfi),
        Policy("best-fit", "the fullest GPU that still fits, lowest start", _best_fit),
        Policy("worst-fit", "the emptiest GPU, lowest start", _worst_fit, prefers_fuller=False),
        Policy("first-fit", "the first GPU that fits, lowest start", _first_fit, prefers_fuller=False),
        Policy("hami", "best fit, 1g and 3g at the highest start", _hami),
    )
}

DEFAULT = POLICIES["mfi"]
