"""Features of your own: a polars expression or a pandas function, one name each.

Try one in a cell: ``features.study(bars, mine=my_features.gap_to_vwap)``. Then name it in a study:
``features.extra = ["my_features:gap_to_vwap"]``. From then on it is trained and traded on, and
every law of the house is tested on it. Use this bar and earlier ones only.
"""

import pandas as pd
import polars as pl

# how far the close lies above the average price paid in the last half hour
_paid = (pl.col("close") * pl.col("volume")).rolling_sum(30) / pl.col("volume").rolling_sum(30)
gap_to_vwap = pl.col("close") / _paid - 1


def surprise(bars: pd.DataFrame) -> pd.Series:
    """Volume of this bar against its usual: a pandas function of one symbol's bars."""
    usual = bars["volume"].rolling(60).median()
    return bars["volume"] / usual.where(usual > 0) - 1


def trend(window: int = 60) -> pl.Expr:
    """Share of rising bars among the last `window`: a function that returns an expression."""
    return (pl.col("close") > pl.col("open")).cast(pl.Float64).rolling_mean(window)
