r"""Intervals that keep their coverage whatever the market does, although labels come late.

Adaptive conformal inference: an interval reaches as far as the forecasts' own past errors say, at a
level :math:`\alpha_t` that moves after every label that became known:

.. math:: \alpha \leftarrow \alpha + \gamma\, (\alpha^* - \mathrm{err}), \qquad
          \mathrm{err} = 1\{\text{the label lay outside}\}

so that over time the share of labels outside is :math:`\alpha^*` for *any* data [1]_. A label over
h bars tells about a forecast made h bars ago, so its news is h bars late; the interval that it is
held against is the one that was given then.

.. [1] Gibbs, I. and Candès, E. (2021). Adaptive Conformal Inference Under Distribution Shift.
   NeurIPS 34.
.. [2] Gibbs, I. and Candès, E. (2024). Conformal Inference for Online Prediction with Arbitrary
   Distribution Shifts. JMLR 25.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from research.errors import UserError
from research.steps import compiled

_SEEN, _ASKED, _CLOSED = 0, 1, 2
ASK, LABEL, VOID = 0.0, 1.0, 2.0
"""Kinds of events: an interval is asked for; the oldest open one's label came, or never will."""


class Rules(NamedTuple):
    """What does not change.

    Attributes
    ----------
    alpha : float
        Share of labels that may lie outside.
    gammas : np.ndarray, shape (n_experts,)
        How far each expert's level moves after a label.
    rate, share : float
        How fast weight moves to experts that did well, and the part of it that is spread evenly.
    """

    alpha: float
    gammas: np.ndarray
    rate: float
    share: float


class State(NamedTuple):
    """What is remembered; arrays are updated in place.

    Attributes
    ----------
    levels, weights : np.ndarray, shape (n_experts,)
        Each expert's :math:`\\alpha_t`, and how much it counts.
    ordered, arrived : np.ndarray, shape (window,)
        The newest scores, sorted and as they came; no more are real than ever came.
    open_levels, open_reach : np.ndarray, shape (most_open, n_experts + 1)
        Level and reach of each expert, and of all together, in intervals whose label is open.
    counts : np.ndarray of int64, shape (3,)
        Scores that came, intervals asked for, intervals whose label came or never will.
    """

    levels: np.ndarray
    weights: np.ndarray
    ordered: np.ndarray
    arrived: np.ndarray
    open_levels: np.ndarray
    open_reach: np.ndarray
    counts: np.ndarray


def begin(
    *,
    coverage: float = 0.9,
    gammas: tuple[float, ...] = (0.01,),
    window: int = 1000,
    most_open: int = 1000,
) -> tuple[State, Rules]:
    """Return state and rules before the first event.

    Parameters
    ----------
    coverage : float
        Share of labels to lie inside, above 0 and below 1.
    gammas : tuple of float
        One: adaptive conformal inference. Several: experts that are mixed by how well their
        levels fitted [2]_, for those who do not know how fast the market changes.
    window : int
        Newest scores that an interval is taken from; at least 10.
    most_open : int
        Intervals that may wait for their label at once; more than the bars of a horizon.

    Returns
    -------
    State, Rules

    Raises
    ------
    UserError
        If a number is out of range.
    """
    if not 0 < coverage < 1:
        raise UserError(f"conformal: coverage must lie between 0 and 1, found {coverage}.")
    if not gammas or not all(0 < gamma < 1 for gamma in gammas):
        raise UserError(f"conformal: gammas must lie between 0 and 1, found {gammas}.")
    if window < 10 or most_open < 1:
        raise UserError(
            "conformal: window must be at least 10 and most_open at least 1, found "
            f"{window} and {most_open}."
        )
    k, alpha = len(gammas), 1 - coverage
    # the published choices for stretches of `window` labels over which regret is small
    least = (1 - alpha) ** 2 * alpha**3 + (1 - alpha) ** 3 * alpha**2
    rate = math.sqrt(3 / window) * math.sqrt((math.log(k * window) + 2) / least)
    state = State(
        levels=np.full(k, alpha),
        weights=np.full(k, 1 / k),
        ordered=np.full(window, np.inf),
        arrived=np.zeros(window),
        open_levels=np.zeros((most_open, k)),
        open_reach=np.zeros((most_open, k + 1)),
        counts=np.zeros(3, np.int64),
    )
    return state, Rules(alpha, np.array(gammas), rate, 1 / (2 * window))


@compiled
def reach_at(ordered: np.ndarray, real: int, level: float) -> float:
    """Say how far an interval must reach so that `level` of the scores lie outside."""
    if level <= 0.0:
        return np.inf
    if level >= 1.0:
        return -np.inf
    place = int(np.ceil((real + 1) * (1.0 - level)))
    return np.inf if place > real else ordered[max(place, 1) - 1]


@compiled
def learn(state: State, score: float, rules: Rules) -> float:
    """Move levels and weights by one label; return 1 where it lay outside its interval."""
    window, k = len(state.ordered), len(state.levels)
    real = min(state.counts[_SEEN], window)
    spot = state.counts[_CLOSED] % len(state.open_reach)
    fitting = 1.0 - np.searchsorted(state.ordered[:real], score) / max(real, 1)
    total = 0.0
    for j in range(k):
        level, outside = state.open_levels[spot, j], score > state.open_reach[spot, j]
        state.levels[j] += rules.gammas[j] * (rules.alpha - (1.0 if outside else 0.0))
        loss = rules.alpha * (fitting - level) - min(0.0, fitting - level)
        state.weights[j] *= np.exp(-rules.rate * loss)
        total += state.weights[j]
    for j in range(k):
        state.weights[j] = (1 - rules.share) * state.weights[j] / total + rules.share / k
    return 1.0 if score > state.open_reach[spot, k] else 0.0


@compiled
def remember(state: State, score: float) -> None:
    """Put a score among the newest, and the oldest out where there are enough."""
    window = len(state.ordered)
    real, spot = min(state.counts[_SEEN], window), state.counts[_SEEN] % window
    if real == window:
        gone = np.searchsorted(state.ordered, state.arrived[spot])
        state.ordered[gone : window - 1] = state.ordered[gone + 1 :].copy()
        real -= 1
    place = np.searchsorted(state.ordered[:real], score)
    state.ordered[place + 1 : real + 1] = state.ordered[place:real].copy()
    state.ordered[place], state.arrived[spot] = score, score
    state.counts[_SEEN] += 1


@compiled
def answer(state: State) -> tuple[float, float]:
    """Note an open interval; return its reach and its level."""
    spot = state.counts[_ASKED] % len(state.open_reach)
    real, level = min(state.counts[_SEEN], len(state.ordered)), 0.0
    for j in range(len(state.levels)):
        state.open_levels[spot, j] = state.levels[j]
        state.open_reach[spot, j] = reach_at(state.ordered, real, state.levels[j])
        level += state.weights[j] * state.levels[j]
    state.open_reach[spot, -1] = reach_at(state.ordered, real, level)
    state.counts[_ASKED] += 1
    return state.open_reach[spot, -1], level


@compiled
def step(
    state: State, event: tuple[float, float], rules: Rules
) -> tuple[State, tuple[float, float, float]]:
    """Take one event: an interval is asked for, or a label came.

    Parameters
    ----------
    state : State
    event : tuple of float
        Kind (`ASK`, `LABEL` or `VOID`) and, for a label, its score: how far it lies outside the
        forecast, in units of the scale. Labels come in the order of their forecasts.
    rules : Rules

    Returns
    -------
    State
    tuple of float
        For `ASK`: reach in units of the scale (infinite: no bound yet), level, 0. For `LABEL`:
        the reach it was held against, its level now, and 1 where it lay outside. For `VOID`, and
        for more than may be open at once, NaN.
    """
    kind, score = event
    unheard = (np.nan, np.nan, np.nan)
    open_now = state.counts[_ASKED] - state.counts[_CLOSED]
    if kind == ASK:
        if open_now == len(state.open_reach):
            return state, unheard
        reach, level = answer(state)
        return state, (reach, level, 0.0)
    if open_now == 0:
        return state, unheard
    said = unheard
    if kind == LABEL:
        reach = state.open_reach[state.counts[_CLOSED] % len(state.open_reach), -1]
        outside = learn(state, score, rules)
        remember(state, score)
        said = (reach, (state.weights * state.levels).sum(), outside)
    state.counts[_CLOSED] += 1
    return state, said
