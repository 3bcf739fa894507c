r"""What positions were worth by a simulated market's own drift: earnings less their luck.

A run's earnings are what it held times what the market was going to do, plus noise. On a simulated
market the first part is known, so it is known which sign a sound account would show, how surely,
and at what planted IC the very trades of a study would have paid for themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import datasets, pipeline
from research.study import Study

SURE = 1.645
"""Standard errors from zero beyond which a sound account shows the right sign 19 times in 20."""


class Worth(NamedTuple):
    """What a run was to be expected to earn, all as fractions of its capital.

    Attributes
    ----------
    gross, paid : float
        Expected before costs; costs as they were paid.
    noise : float
        Standard error of what it did earn around what was expected.
    """

    gross: float
    paid: float
    noise: float

    @property
    def sign(self) -> int:
        """Sign that a sound account shows 19 times in 20; 0 where luck decides."""
        net = self.gross - self.paid
        return int(np.sign(net)) if abs(net) >= SURE * self.noise and net else 0

    def break_even(self, planted: float) -> float:
        r"""Planted IC at which the same positions would have paid for themselves.

        .. math:: IC^*_{own} = IC \cdot \frac{c}{\bar g}

        with c what was paid and :math:`\bar g` what was to be expected: the break-even of the
        house, :math:`c / (\bar z \sigma_h)`, with the strength and the volatility of the trades
        that were made in place of those of a tenth of all rows. Infinite where nothing was to be
        expected of them.

        >>> Worth(gross=0.02, paid=0.01, noise=0.005).break_even(0.1)
        0.05
        """
        if self.gross <= 0:
            return 0.0 if self.paid == 0 == self.gross else float("inf")
        return planted * self.paid / self.gross


def drift(study: Study) -> pl.DataFrame:
    """Return the market's own expected return of each bar that follows ``symbol, time``."""
    over = study.with_options({"labels.horizon": study.data.interval})
    return datasets.oracle(over)[0]


def worth(
    tested: pipeline.Backtest, bars: pl.DataFrame, coming: pl.DataFrame, *, capital: float
) -> Worth:
    r"""Return what a run's positions were to be expected to earn.

    .. math:: g = \sum_k q_k C_{k-1} \mu_{k-1}, \qquad
        s^2 = \sum_d \Bigl( G_d - \sum_{k \in d} q_k C_{k-1} \mu_{k-1} \Bigr)^2

    with :math:`q_k` what was held when bar k closed, :math:`C_{k-1} \mu_{k-1}` the move expected of
    it at its open, and :math:`G_d` what the account gained before costs on UTC day d.

    Parameters
    ----------
    tested : Backtest
        Of the study.
    bars : pl.DataFrame
        As `schema.BARS`.
    coming : pl.DataFrame
        ``symbol, time, forecast``: the market's drift, see `drift`.
    capital : float
        Equity at the start.

    Notes
    -----
    What came minus what was expected has mean zero whatever was held, for positions are decided
    before. So the sum of its squared days, without a mean taken off, is its variance. A position
    that is left inside a bar counts as not held through it: less than a bar of what was held.
    """
    move = bars.select("symbol", "time", "close").join(coming, on=["symbol", "time"], how="left")
    move = move.sort("symbol", "time").select(
        "symbol",
        pl.col("time").shift(-1).over("symbol"),
        move=(pl.col("close") * pl.col("forecast").fill_null(0.0)),
    )
    day = (pl.col("time") - pl.duration(microseconds=1)).dt.date().alias("day")
    held = tested.reasons.join(move.drop_nulls("time"), on=["symbol", "time"], how="left")
    expected = held.group_by(day).agg(
        expected=(pl.col("position") * pl.col("move").fill_null(0.0)).sum()
    )
    ends = tested.equity.group_by(day, maintain_order=True).agg(pl.col("gross").last())
    came = ends.with_columns(came=pl.col("gross") - pl.col("gross").shift(1, fill_value=capital))
    days = came.join(expected, on="day", how="left").fill_null(0.0)
    return Worth(
        gross=float(days["expected"].sum()) / capital,
        paid=float(tested.equity.select(pl.sum_horizontal(*_PAID).sum()).item()) / capital,
        noise=float(((days["came"] - days["expected"]) ** 2).sum()) ** 0.5 / capital,
    )


_PAID = ("fees", "slippage", "funding")


def facts(found: Worth, planted: float) -> dict[str, Any]:
    """Return the numbers of `found` for a row of a campaign."""
    return {
        "expected_gross": found.gross,
        "expected_net": found.gross - found.paid,
        "noise": found.noise,
        "ic_own": found.break_even(planted),
        "expected_own": found.sign,
    }
