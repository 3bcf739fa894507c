"""One function per picture: a table in, matplotlib Axes out; nothing is saved or shown here.

Every function takes ``ax=``, a place to draw on, and makes its own where none is given. Titles
say what is seen, axes say their unit, times are UTC, colours are told apart by all eyes.
"""

from research.plots.features import correlation, distribution, feature_ic
from research.plots.forecasts import (
    cumulative_quantiles,
    ic_by_day,
    ic_decay,
    optimism,
    quantiles,
)
from research.plots.market import candles, coverage, price, trades_on_price
from research.plots.performance import (
    alpha_factor,
    compare_equity,
    equity,
    fee_sweep,
    rolling,
)
from research.plots.sheets import sheets
from research.plots.summary import folds, league, truth

__all__ = [
    "alpha_factor",
    "candles",
    "compare_equity",
    "correlation",
    "coverage",
    "cumulative_quantiles",
    "distribution",
    "equity",
    "feature_ic",
    "fee_sweep",
    "folds",
    "ic_by_day",
    "ic_decay",
    "league",
    "optimism",
    "price",
    "quantiles",
    "rolling",
    "sheets",
    "trades_on_price",
    "truth",
]
