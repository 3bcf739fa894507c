r"""How sure a Sharpe ratio is: its error, PSR, DSR over many trials, and how long one must look.

Everything is *per period*: hours or days, never minutes, and never a year's ratio beside a number
of bars. `annual / sqrt(periods a year)` turns a year's ratio into one per period.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.performance import panels


@dataclass(frozen=True, slots=True)
class Sample:
    r"""A Sharpe ratio per period, and what its error depends on.

    Attributes
    ----------
    sharpe : float
        Mean over standard deviation of a period's return.
    n : float
        Periods; fewer than were seen where they are not independent.
    skew : float
        Of the returns; 0 for a normal one.
    kurtosis : float
        Raw, not excess: 3 for a normal one.

    Raises
    ------
    UserError
        If there are no two periods, or no returns have such a skew and kurtosis.

    Examples
    --------
    >>> round(Sample(sharpe=0.1, n=365).error, 4)
    0.0525
    """

    sharpe: float
    n: float
    skew: float = 0.0
    kurtosis: float = 3.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.sharpe, self.n, self.skew, self.kurtosis))):
            raise UserError(f"sharpe: every moment must be a number, found {self}.")
        if self.n < 2:
            raise UserError(f"sharpe: needs 2 or more periods, found {self.n:g}.")
        if self.kurtosis < 1 + self.skew**2 - 1e-9:
            raise UserError(
                f"sharpe: no returns have kurtosis {self.kurtosis:g} with skew {self.skew:g}. "
                "Kurtosis is raw here: 3 for normal returns, so add 3 to an excess."
            )

    @property
    def spread(self) -> float:
        """Standard deviation that the ratio of a single period adds to the estimate."""
        fat = (self.kurtosis - 1) / 4 * self.sharpe**2
        return math.sqrt(max(1 - self.skew * self.sharpe + fat, 0.0))

    @property
    def error(self) -> float:
        """Standard error of the ratio."""
        return self.spread / math.sqrt(self.n - 1)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the ends that hold the true ratio with a probability of `level`."""
        reach = _z((1 + level) / 2) * self.error
        return self.sharpe - reach, self.sharpe + reach


def sample(returns: Any, *, lags: int | None = None) -> Sample:
    r"""Take from returns what the Sharpe ratio's error depends on.

    Parameters
    ----------
    returns : pl.Series, pandas Series or np.ndarray, shape (n_periods,)
        Simple net returns per period, or per trade; at least 10.
    lags : int, optional
        Periods over which returns may hang together, as for `effective_n`. 0 takes them as
        independent.

    Returns
    -------
    Sample
        Its ratio has ddof 1, as `performance.sharpe` has.

    Raises
    ------
    UserError
        If returns are too few, all the same, or not all numbers.

    Notes
    -----
    A strategy that is seldom in the market has few trades behind its many periods: hand in the
    returns of its trades too, and believe the less sure of both.

    Examples
    --------
    >>> rising = sample(np.sin(np.arange(300)) * 0.01 + 0.001, lags=0)
    >>> round(rising.sharpe, 2), rising.n, round(rising.kurtosis, 1)
    (0.15, 300.0, 1.5)
    """
    values = panels.series(returns, "sharpe")
    away = values - values.mean()
    variance = float(np.mean(away**2))
    ratio = float(values.mean() / values.std(ddof=1))
    skew = float(np.mean(away**3)) / variance**1.5
    kurtosis = float(np.mean(away**4)) / variance**2
    n = float(len(values)) if lags == 0 else effective_n(values, lags=lags)
    return Sample(ratio, n, skew, max(kurtosis, 1 + skew**2))


def effective_n(returns: Any, *, lags: int | None = None) -> float:
    r"""Say how many independent returns would make the Sharpe ratio as sure as these do.

    .. math:: n_{eff} = n\, \frac{\gamma_0}{\gamma_0 + 2 \sum_{k=1}^{L} (1 - \frac{k}{L+1})
              \gamma_k}, \qquad \psi_t = z_t - \tfrac12 \widehat{SR}\, (z_t^2 - 1)

    with :math:`\gamma_k` the autocovariances of :math:`\psi`, the ratio's sensitivity to each
    return, and :math:`z` the standardised return. With independent returns the variance of
    :math:`\psi` is the very term under the root of the PSR [1]_.

    Parameters
    ----------
    returns : pl.Series, pandas Series or np.ndarray, shape (n_periods,)
        At least 10.
    lags : int, optional
        L; the longest holding period where it is known. Left out, Andrews' choice for a series
        with the autocorrelation that :math:`\psi` shows at one lag [2]_.

    Returns
    -------
    float
        At most n, although returns that turn back would allow more; at least 2.

    References
    ----------
    .. [1] Ledoit, O. and Wolf, M. (2008). Robust Performance Hypothesis Testing with the Sharpe
       Ratio. Journal of Empirical Finance 15.
    .. [2] Andrews, D. (1991). Heteroskedasticity and Autocorrelation Consistent Covariance Matrix
       Estimation. Econometrica 59.

    Examples
    --------
    Each return twice in a row is half as much news:

    >>> noise = np.random.default_rng(1).normal(size=2_000)
    >>> round(effective_n(np.repeat(noise, 2), lags=20) / 4_000, 1)
    0.5
    """
    values = panels.series(returns, "effective_n")
    n = len(values)
    z = (values - values.mean()) / values.std()
    felt = z - 0.5 * values.mean() / values.std() * (z**2 - 1)
    felt -= felt.mean()
    reach = _andrews(felt) if lags is None else lags
    if not 0 <= reach < n:
        raise UserError(f"effective_n: lags must be from 0 to {n - 1}, found {lags}.")
    own = float(felt @ felt)
    both = [float(felt[k:] @ felt[:-k]) * (1 - k / (reach + 1)) for k in range(1, reach + 1)]
    return float(max(n * own / max(own + 2 * sum(both), own), 2.0))


def _andrews(felt: np.ndarray) -> int:
    """Bandwidth of Bartlett's kernel for an AR(1); as statsmodels' and arch's automatic ones."""
    rho = float(felt[1:] @ felt[:-1] / (felt[:-1] @ felt[:-1]))
    rho = min(max(rho, -0.97), 0.97)
    strength = 4 * rho**2 / (1 - rho**2) ** 2
    return min(math.floor(1.1447 * (strength * len(felt)) ** (1 / 3)), len(felt) // 3)


def psr(returns: Any, *, benchmark: float = 0.0) -> float:
    r"""Probabilistic Sharpe ratio: the probability that the true ratio lies above `benchmark`.

    .. math:: PSR(SR^*) = \Phi\left[\frac{(\widehat{SR} - SR^*) \sqrt{n - 1}}
              {\sqrt{1 - \gamma_3 \widehat{SR} + \frac{\gamma_4 - 1}{4} \widehat{SR}^2}}\right]

    Parameters
    ----------
    returns : Sample, pl.Series, pandas Series or np.ndarray
        Net returns per period, or what `sample` took from them.
    benchmark : float
        Sharpe ratio per period.

    Returns
    -------
    float
        0 to 1; one less it is the p-value of "no better than `benchmark`".

    References
    ----------
    .. [1] Bailey, D. and López de Prado, M. (2012). The Sharpe Ratio Efficient Frontier. Journal
       of Risk 15(2).

    Examples
    --------
    Two years of months of a fund with a long tail of losses, against the same as if normal:

    >>> round(psr(Sample(0.458, 24, -2.448, 10.164)), 4), round(psr(Sample(0.458, 24)), 4)
    (0.9134, 0.9817)
    """
    seen = _sampled(returns)
    if seen.error == 0:
        return float(seen.sharpe > benchmark)
    return _phi((seen.sharpe - benchmark) / seen.error)


def expected_maximum(trials: float, *, spread: float = 1.0) -> float:
    r"""Sharpe ratio to expect of the best of so many trials without skill.

    .. math:: SR_0 = \sqrt{V}\, \left((1 - \gamma) \Phi^{-1}(1 - \tfrac1N)
              + \gamma\, \Phi^{-1}(1 - \tfrac{1}{Ne})\right)

    Parameters
    ----------
    trials : float
        Independent ones, at least 1; need not be whole.
    spread : float
        Standard deviation of the trials' Sharpe ratios, :math:`\sqrt V`; per period where the
        ratios are.

    Returns
    -------
    float
        In the unit of `spread`; 0 for one trial. Some 2 % above the truth for 10, 0.4 % for 1,000.

    References
    ----------
    .. [1] Bailey, D. and López de Prado, M. (2014). The Deflated Sharpe Ratio. Journal of
       Portfolio Management 40(5).

    Examples
    --------
    >>> [round(expected_maximum(n), 4) for n in (10, 100, 1000)]
    [1.5746, 2.5306, 3.2551]
    """
    if not trials >= 1 or not spread >= 0 or not math.isfinite(trials * spread):
        raise UserError(
            "expected_maximum: trials must be at least 1 and spread at least 0, "
            f"found {trials} and {spread}."
        )
    if trials == 1:
        return 0.0
    high, higher = _z(1 - 1 / trials), _z(1 - 1 / (trials * math.e))
    return spread * max((1 - np.euler_gamma) * high + np.euler_gamma * higher, 0.0)


def dsr(returns: Any, *, trials: float, spread: float) -> float:
    r"""Deflated Sharpe ratio: the probability that skill, not the number of trials, made it.

    .. math:: DSR = PSR(SR_0), \qquad SR_0 = \sqrt V\, E[\max\nolimits_N]

    Parameters
    ----------
    returns : Sample, pl.Series, pandas Series or np.ndarray
        Net returns per period of the chosen trial, or what `sample` took from them.
    trials : float
        All that were tried, as independent ones: see `effective_trials`.
    spread : float
        Standard deviation of the trials' Sharpe ratios per period: see `effective_trials`.

    Returns
    -------
    float
        0 to 1; 0.95 and above is usually asked for. Source: as of `expected_maximum`.

    Examples
    --------
    A ratio of 2.5 a year of 250 days, five years of days, trials with variance 0.5 a year:

    >>> seen = Sample(2.5 / math.sqrt(250), 1250, -3, 10)
    >>> round(dsr(seen, trials=100, spread=math.sqrt(0.5 / 250)), 5)
    0.9004
    """
    return psr(returns, benchmark=expected_maximum(trials, spread=spread))


def deflation(returns: Any, *, trials: Iterable[float], spread: float) -> pl.DataFrame:
    """Follow the deflated Sharpe ratio as more and more trials are admitted.

    Parameters
    ----------
    returns, spread
        As for `dsr`.
    trials : iterable of float
        Numbers of trials.

    Returns
    -------
    pl.DataFrame
        ``trials, hurdle, dsr``: the Sharpe ratio per period to expect of the best of so many
        without skill, and the probability that the true one lies above it.

    Examples
    --------
    >>> deflation(Sample(0.1, 1000), trials=[1, 10], spread=0.03)["dsr"].round(3).to_list()
    [0.999, 0.952]
    """
    seen, counts = _sampled(returns), [float(n) for n in trials]
    hurdles = [expected_maximum(n, spread=spread) for n in counts]
    sure = [psr(seen, benchmark=hurdle) for hurdle in hurdles]
    kinds = dict.fromkeys(("trials", "hurdle", "dsr"), pl.Float64)
    return pl.DataFrame([counts, hurdles, sure], schema=kinds)


def min_track_record(returns: Any, *, benchmark: float = 0.0, level: float = 0.95) -> float | None:
    r"""Count the periods after which such returns would be surely above `benchmark`.

    .. math:: MinTRL = 1 + \left(1 - \gamma_3 \widehat{SR} + \frac{\gamma_4 - 1}{4}
              \widehat{SR}^2\right) \left(\frac{z_{level}}{\widehat{SR} - SR^*}\right)^2

    Parameters
    ----------
    returns : Sample, pl.Series, pandas Series or np.ndarray
        Net returns per period, or what `sample` took from them.
    benchmark : float
        Sharpe ratio per period; for a deflated one, its hurdle.
    level : float
        PSR to reach, above 0.5 and below 1.

    Returns
    -------
    float or None
        Periods; independent ones where `returns` is a Sample, of the kind handed in where it is
        a series. None where the ratio is not above `benchmark`: no length would do. Source: as
        of `psr`.

    Examples
    --------
    >>> days = Sample(2 / math.sqrt(252), 1000)
    >>> round(min_track_record(days, benchmark=1 / math.sqrt(252)) / 252, 3)
    2.731
    """
    if not 0.5 < level < 1:
        raise UserError(f"min_track_record: level must be above 0.5 and below 1, found {level}.")
    seen = _sampled(returns)
    if seen.sharpe <= benchmark:
        return None
    independent = 1 + (seen.spread * _z(level) / (seen.sharpe - benchmark)) ** 2
    whole = seen.n if isinstance(returns, Sample) else len(returns)
    return independent * whole / seen.n


def min_backtest_length(trials: float, *, sharpe: float = 1.0) -> float:
    r"""Count the years below which so many trials without skill reach a Sharpe ratio by luck.

    .. math:: MinBTL = \left(\frac{E[\max\nolimits_N]}{SR}\right)^2 < \frac{2 \ln N}{SR^2}

    Parameters
    ----------
    trials : float
        Independent ones.
    sharpe : float
        A year's, which the best of them is expected to show; above 0.

    Returns
    -------
    float
        Years.

    References
    ----------
    .. [1] Bailey, D., Borwein, J., López de Prado, M. and Zhu, Q. (2014). Pseudo-Mathematics and
       Financial Charlatanism. Notices of the AMS 61(5).

    Examples
    --------
    >>> round(min_backtest_length(45), 3)
    4.998
    """
    if not sharpe > 0:
        raise UserError(f"min_backtest_length: sharpe must be above 0, found {sharpe}.")
    return (expected_maximum(trials) / sharpe) ** 2


def _sampled(returns: Any) -> Sample:
    return returns if isinstance(returns, Sample) else sample(returns)


def _phi(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(z))


def _z(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))
