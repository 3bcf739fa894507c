"""How good forecasts are: IC with intervals, quantiles, break-even; tables in, numbers out.

Every interval comes from blocks of time that hold all symbols together, because minutes, symbols
and overlapping labels are not independent evidence. Nothing here reads or writes the world.
"""

from research.scores.breakeven import break_even_ic, tail_mean
from research.scores.ic import Score, decay, ic, ic_by_day, ic_by_symbol, paired, pearson_scaled
from research.scores.quantiles import QuantileTable, cumulative, optimism, quantile_table
from research.scores.regression import regression

__all__ = [
    "QuantileTable",
    "Score",
    "break_even_ic",
    "cumulative",
    "decay",
    "ic",
    "ic_by_day",
    "ic_by_symbol",
    "optimism",
    "paired",
    "pearson_scaled",
    "quantile_table",
    "regression",
    "tail_mean",
]
