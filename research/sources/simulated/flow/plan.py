"""What a market of planted flow must be like to explain and predict as asked: its constants.

Flow is a sum of autoregressions and white noise; the price answers what is *new* in it, so that
flow explains moves without predicting them. A planted edge adds a drift by the slow state `g`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.errors import UserError

Array = NDArray[np.floating]

STEP_MS = 100
SECOND = 1000 // STEP_MS
"""Steps."""
SIGNS = ((0.66, 0.0), (0.25, 0.945), (0.09, 0.988))
"""Share of variance and memory a step of what makes takers' signs: autocorrelations of .20, .20,
.16, .12, .03 at lags of 1, 2, 5, 10, 50 orders, as measured on the BTC perpetual."""
COMMON = 0.4
"""Share of those in the flow of all orders; the rest is white."""
EDGE_SHARE = 0.03
"""Share of the state `g` in the variance of flow, where an edge is planted."""
FLOW_LOTS = 200
"""Standard deviation of a step's flow."""
GRID = 1 / 6
"""Variance, in square ticks, that a mid on the grid adds to its change: 1/12 at either end."""


@dataclass(frozen=True)
class Plan:
    """How flow moves the price, in ticks and in units of a step's standard deviation of flow.

    Attributes
    ----------
    shares, memories : np.ndarray, shape (4,)
        Variance and memory a step of the parts of flow; the last is the state `g`.
    answer : float
        Ticks by one standard deviation of new flow.
    noise : float
        Standard deviation, in ticks a step, of what flow does not explain.
    drift : float
        Ticks a step by one standard deviation of `g`.
    slope : float
        Ticks by one lot of flow in the regression on seconds.
    """

    shares: Array
    memories: Array
    answer: float
    noise: float
    drift: float
    slope: float

    def ahead(self, steps: int) -> float:
        """Return the ticks expected over the next `steps` by one standard deviation of `g`."""
        return self.drift * _sum(self.memories[-1], steps)


def plan(*, r_squared: float, sigma: float, ic: float, horizon: int, half_life: float) -> Plan:
    """Find the constants of a market.

    Parameters
    ----------
    r_squared : float
        Of the mid's change on flow, over one second.
    sigma : float
        Standard deviation of the mid's change over one second, ticks.
    ic : float
        Pearson correlation of the best forecast with the mid's change over `horizon`.
    horizon : int
        Steps.
    half_life : float
        Of the state `g`, steps.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        If no market has this `r_squared` and `ic`.

    Notes
    -----
    With u the new part of flow F, ``move_k = answer u_k + noise w_k + drift g_(k-1)``. The sums of
    autoregressions over a second and over `horizon` have closed variances and covariances; the
    three constants are solved one after the other until they no longer change.

    Examples
    --------
    >>> made = plan(r_squared=0.38, sigma=5.0, ic=0.0, horizon=600, half_life=600)
    >>> made.drift, round(made.slope * FLOW_LOTS, 2)
    (0.0, 0.68)
    """
    share = EDGE_SHARE if ic else 0.0
    memory = 0.5 ** (1 / half_life)
    mix = [(COMMON * part, phi) for part, phi in SIGNS[1:]]
    parts = [(1 - sum(part for part, _ in mix), 0.0), *mix]
    shares = np.array([*((1 - share) * part for part, _ in parts), share])
    memories = np.array([*(phi for _, phi in parts), memory])
    new = float(shares @ (1 - memories**2))
    spread = math.sqrt(sum(s * _variance(m, SECOND) for s, m in zip(shares, memories)))
    together = sum(s * (1 - m**2) * _reach(m, SECOND) for s, m in zip(shares, memories))
    wanted, drift = math.sqrt(r_squared) * sigma * spread, 0.0
    for _ in range(200):
        lead = drift * math.sqrt(share) * _lead(memory, SECOND)
        answer = (wanted - lead) / together
        known = _known(answer, drift, share, memory, new, SECOND)
        noise = (sigma**2 - GRID - known) / SECOND
        if noise < 0:
            most = (sigma**2 - GRID) * together**2 / (SECOND * new * (sigma * spread) ** 2)
            _refuse("r_squared", f"at most {most:.2f} at this ic and sigma_bps", r_squared)
        drift = _drift(ic, answer, noise, share, memory, new, horizon)
    slope = wanted / spread**2 / FLOW_LOTS
    return Plan(shares, memories, answer, math.sqrt(noise), drift, slope)


def _drift(
    ic: float, answer: float, noise: float, share: float, memory: float, new: float, horizon: int
) -> float:
    """Solve ``ic = drift S / s.d. of the move over horizon`` for `drift`."""
    if not ic:
        return 0.0
    plain = GRID + horizon * noise + _known(answer, 0.0, share, memory, new, horizon)
    cross = _known(answer, 1.0, share, memory, new, horizon) - plain + GRID + horizon * noise
    square = _variance(memory, horizon)
    cross -= square
    lead = _sum(memory, horizon) ** 2 - ic**2 * square
    if lead <= 0:
        _refuse("ic", "smaller at this horizon and half_life", ic)
    return (ic**2 * cross + math.sqrt((ic**2 * cross) ** 2 + 4 * lead * ic**2 * plain)) / (2 * lead)


def _known(
    answer: float, drift: float, share: float, memory: float, new: float, steps: int
) -> float:
    """Variance over `steps` of what flow and drift do to the price, in square ticks."""
    both = 2 * answer * drift * math.sqrt(share) * (1 - memory**2)
    late = _reach(memory, steps - 1)
    return steps * answer**2 * new + drift**2 * _variance(memory, steps) + both * late


def _variance(memory: float, steps: int) -> float:
    """Variance of the sum of `steps` values of an autoregression of unit variance."""
    return 2 * _reach(memory, steps) - steps


def _reach(memory: float, steps: int) -> float:
    lags = np.arange(steps)
    return float((steps - lags) @ memory**lags)


def _lead(memory: float, steps: int) -> float:
    """Covariance of the sum of the values with that of the values a step earlier."""
    lags = np.subtract.outer(np.arange(steps), np.arange(steps))
    return float((memory ** np.abs(lags + 1)).sum())


def _sum(memory: float, steps: int) -> float:
    return (1 - memory**steps) / (1 - memory)


def _refuse(name: str, law: str, found: float) -> None:
    raise UserError(f"simulated flow: {name} must be {law}, found {found}.")
