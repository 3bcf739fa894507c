"""Is an information coefficient above chance, where labels overlap and forecasts persist?

One number of a whole sample, three ways to its surety: errors that know the overlap, and the same
forecasts laid beside every other stretch of the same market.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import units
from research.errors import UserError
from research.scores.blocks import scored

_DAY = timedelta(days=1)
_FEWEST_SHIFTS = 19


@dataclass(frozen=True, slots=True)
class ICTest:
    """A rank correlation over the whole sample, and how likely chance makes it.

    Attributes
    ----------
    ic : float
        Rank correlation of forecast and return, all symbols and times together.
    t : float
        Hansen and Hodrick's: it over an error that counts all overlap in full. Where that error
        is not above zero, as `t_newey_west`.
    t_newey_west : float
        With weights that fall to 0 over twice the horizon; for safety against longer memory.
    t_naive : float
        As if rows were independent; shown for what it would have claimed.
    p_value : float
        Two-sided, of `t`.
    p_shift : float or None
        Two-sided: share of shifts of the forecasts in time, by a day or more, that give a
        correlation as far from zero. It keeps whatever memory forecasts and returns have, and is
        right but for the seams (ends and gaps are joined) where both are stationary and the
        sample is long beside their memory. None where fewer than 19 shifts are possible.
    shifts : int
        How many there are, those under which at least half as many rows meet a return.
    n_rows, n_times : int
        Rows scored, and moments at which they lie.
    """

    ic: float
    t: float
    t_newey_west: float
    t_naive: float
    p_value: float
    p_shift: float | None
    shifts: int
    n_rows: int
    n_times: int

    def __str__(self) -> str:
        shifted = "unknown" if self.p_shift is None else f"{self.p_shift:.3f}"
        return (
            f"IC {self.ic:+.4f}, t {self.t:+.2f} (p {self.p_value:.3f}; Newey-West "
            f"{self.t_newey_west:+.2f}; naive {self.t_naive:+.2f}), p {shifted} of "
            f"{self.shifts:,} shifts; {self.n_rows:,} rows"
        )


def ic_test(forecasts: Any, *, horizon: timedelta, interval: timedelta) -> ICTest:
    r"""Test the rank correlation of forecasts and overlapping returns.

    .. math:: t = \frac{\sum_\tau g_\tau}{\sqrt{\hat\gamma_0 + 2 \sum_{k<h} \hat\gamma_k}}, \qquad
              g_\tau = \sum_s u_{s\tau} v_{s\tau}

    with u and v the standardised ranks of forecast and return, summed over the symbols of one
    moment, which share their news, and :math:`\hat\gamma_k` sums of products of g's residuals k
    bars apart; h bars are the horizon.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time`, `forecast` and `y`; rows with null are left out.
    horizon : timedelta
        Length of the label.
    interval : timedelta
        Length of a bar.

    Returns
    -------
    ICTest

    Raises
    ------
    UserError
        If fewer than two rows are known, or forecasts or returns are all the same.

    Notes
    -----
    `ic` scores day by day and draws whole days for its interval; this ranks the whole sample at
    once, so a day's own mean lifts nothing. On returns over ten bars and a forecast of AR(.95)
    without skill, 5 % by `t` and by `p_shift` are 5 %, by `t_naive` one half.

    A shift moves the forecasts of all symbols along the moments that hold any row, the same number
    of moments for all, and wraps round: a gap is stepped over as the end is. Under some shifts
    symbols that were not there all the time meet fewer returns; each sum is held against the root
    of the rows that meet, and shifts under which less than half of them meet are left out.

    References
    ----------
    .. [1] Hansen, L. and Hodrick, R. (1980). Forward Exchange Rates as Optimal Predictors of
       Future Spot Rates. Journal of Political Economy 88(5).
    .. [2] Newey, W. and West, K. (1987). A Simple, Positive Semi-Definite, Heteroskedasticity and
       Autocorrelation Consistent Covariance Matrix. Econometrica 55(3).

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> start, end = (datetime(2025, 1, d, tzinfo=UTC) for d in (1, 9))
    >>> times = pl.datetime_range(start, end, "1h", closed="right", eager=True)
    >>> noise = np.random.default_rng(0).normal(size=len(times))
    >>> table = pl.DataFrame({"symbol": "A", "time": times, "forecast": noise, "y": noise})
    >>> hour = timedelta(hours=1)
    >>> found = ic_test(table, horizon=hour, interval=hour)
    >>> round(found.ic, 6), found.p_shift < 0.01
    (1.0, True)
    """
    rows = scored(forecasts, ("forecast", "y"), "forecasts")
    horizon, interval = units.duration(horizon), units.duration(interval)
    bars = max(math.ceil(horizon / interval), 1)
    u, v = _ranks(rows["forecast"], "forecasts"), _ranks(rows["y"], "returns")
    place = (rows["time"].to_physical().to_numpy() - rows["time"].to_physical().min()) // (
        interval // timedelta(microseconds=1)
    )
    ic = float(np.mean(u * v))
    # what the ranks' own spread adds, so that a perfect correlation has no error
    felt = u * v - ic * (u * u + v * v) / 2
    sums = np.bincount(place, felt)
    error = _error(sums, bars - 1, flat=True) or _error(sums, 2 * bars, flat=False)
    shifts, p_shift = _shifted(rows["symbol"], place, u, v, max(_DAY // interval, 2 * bars))
    n = rows.height
    t = _over(ic * n, error)
    return ICTest(
        ic=ic,
        t=t,
        t_newey_west=_over(ic * n, _error(sums, 2 * bars, flat=False)),
        t_naive=_over(ic * n, float(np.sqrt(felt @ felt))),
        p_value=_two_sided(t),
        p_shift=p_shift,
        shifts=shifts,
        n_rows=n,
        n_times=len(np.unique(place)),
    )


def _ranks(values: pl.Series, what: str) -> np.ndarray:
    ranks = values.rank("average").to_numpy()
    away = ranks - ranks.mean()
    spread = float(np.sqrt(np.mean(away**2)))
    if spread == 0:
        raise UserError(f"ic_test: all {what} are {values[0]:g}, so there is no order to test.")
    return np.asarray(away / spread)


def _error(sums: np.ndarray, lags: int, *, flat: bool) -> float:
    """Root of the long-run sum of squares; 0 where it is not above zero."""
    total = float((sums * sums).sum())
    for k in range(1, min(lags, len(sums) - 1) + 1):
        weight = 1.0 if flat else 1 - k / (lags + 1)
        # not `@`: its threads wait for each other on long samples when the machine is busy
        total += 2 * weight * float((sums[k:] * sums[:-k]).sum())
    return math.sqrt(max(total, 0.0))


def _over(value: float, error: float) -> float:
    if abs(value) * 1e-9 >= error:  # a perfect correlation leaves rounding alone
        return math.copysign(1e9, value) if value else 0.0
    return value / error


def _two_sided(t: float) -> float:
    return math.erfc(abs(t) / math.sqrt(2))


def _shifted(
    symbol: pl.Series, place: np.ndarray, u: np.ndarray, v: np.ndarray, least: int
) -> tuple[int, float | None]:
    """Count the shifts of `least` bars or more, and those with a correlation as far from zero.

    Every shift at once: the circular cross-correlation is a product of Fourier transforms. Along
    the clock a gap would leave shifts under which nothing meets: zeros that pass for chance.
    """
    moments, at = np.unique(place, return_inverse=True)
    size, fewest = len(moments), _fewest(moments, least)
    both, met = np.zeros(size), np.zeros(size)
    code = symbol.rle_id().to_numpy()
    for k in range(int(code.max()) + 1):
        mine = code == k
        here, x, y = np.zeros((3, size))
        here[at[mine]], x[at[mine]], y[at[mine]] = 1.0, u[mine], v[mine]
        both += _circular(x, y)
        met += np.rint(_circular(here, here))
    allowed = np.arange(fewest, size - fewest + 1)
    allowed = allowed[met[allowed] >= met[0] / 2]
    if len(allowed) < _FEWEST_SHIFTS:
        return len(allowed), None
    far = np.abs(both[allowed]) / np.sqrt(met[allowed]) >= abs(both[0]) / np.sqrt(met[0]) - 1e-9
    return len(allowed), float((1 + far.sum()) / (1 + len(allowed)))


def _fewest(moments: np.ndarray, least: int) -> int:
    """Return how many moments a shift must have to move each of them by `least` bars or more.

    >>> _fewest(np.array([0, 6, 12, 18]), 12)
    2
    """
    return int((np.searchsorted(moments, moments + least) - np.arange(len(moments))).max())


def _circular(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.fft import irfft, rfft

    return np.asarray(irfft(np.conj(rfft(x)) * rfft(y), len(x)))
