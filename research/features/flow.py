"""Who traded and how: taker share, number and size of trades. Binance's klines have them.

Where the source lacks the column they are null, and so is the row: a set on such bars leaves the
group out.
"""

from __future__ import annotations

import polars as pl

from research.features.kernels import bars_at_least
from research.features.windows import ratio

_TRADES, _QUOTE = pl.col("trades").cast(pl.Float64), pl.col("quote_volume")


def taker_buy_share() -> pl.Expr:
    """Share of the volume that buyers took from the book.

    Returns
    -------
    pl.Expr of Float64
        0 to 1; 0.5 in a bar without volume. Null where the source does not say who took.

    Examples
    --------
    >>> bars = pl.DataFrame({"taker_buy_volume": [3.0, 0.0, None], "volume": [4.0, 0.0, 1.0]})
    >>> bars.select(taker_buy_share()).to_series().to_list()
    [0.75, 0.5, None]
    """
    return ratio(pl.col("taker_buy_volume"), pl.col("volume"), 0.5)


def trades_ratio(window: int = 60) -> pl.Expr:
    """Trades of the bar over their mean of the last bars, this one included.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        1 is usual; 0 where there was no trade. Null in the first ``window - 1`` bars and where
        the source does not count trades.

    Examples
    --------
    >>> pl.DataFrame({"trades": [1, 3, 0, 0]}).select(trades_ratio(2)).to_series().to_list()
    [None, 1.5, 0.0, 0.0]
    """
    bars_at_least(2, trades_ratio=window)
    return ratio(_TRADES, _TRADES.rolling_mean(window))


def trade_size_ratio(window: int = 60) -> pl.Expr:
    """Quote volume per trade over the same of the last bars together, this one included.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        1 is usual; 0 where there was no trade. Null in the first ``window - 1`` bars and where
        the source lacks either column.

    Examples
    --------
    >>> bars = pl.DataFrame({"trades": [1, 3, 0], "quote_volume": [10.0, 10.0, 0.0]})
    >>> bars.select(trade_size_ratio(2).round(4)).to_series().to_list()
    [None, 0.6667, 0.0]
    """
    bars_at_least(2, trade_size_ratio=window)
    # multiplied out: a bar's share of the money over its share of the trades
    money, trades = _QUOTE.rolling_sum(window), _TRADES.rolling_sum(window)
    usual = ratio(money, trades)
    return ratio(ratio(_QUOTE, _TRADES), pl.when(trades > 0).then(usual).otherwise(trades))
