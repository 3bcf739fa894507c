"""How good forecasts are: IC with intervals, quantiles, break-even; tables in, numbers out.

Every interval comes from blocks of time that hold all symbols together, because minutes, symbols
and overlapping labels are not independent evidence. Nothing here reads or writes the world.
"""

from research.scores.breakeven import break_even_ic, tail_mean
from research.scores.capacity import capacity
from research.scores.classes import Classification, classification
from research.scores.conformal import adaptive_intervals, coverage_bound, interval_coverage
from research.scores.evidence import e_process
from research.scores.ic import Score, decay, ic, ic_by_day, ic_by_symbol, paired, pearson_scaled
from research.scores.overlap import ICTest, ic_test
from research.scores.quantiles import QuantileTable, cumulative, optimism, quantile_table
from research.scores.regression import regression
from research.scores.surface import fee_surface

__all__ = [
    "Classification",
    "ICTest",
    "QuantileTable",
    "Score",
    "adaptive_intervals",
    "break_even_ic",
    "capacity",
    "classification",
    "coverage_bound",
    "cumulative",
    "decay",
    "e_process",
    "fee_surface",
    "ic",
    "ic_by_day",
    "ic_by_symbol",
    "ic_test",
    "interval_coverage",
    "optimism",
    "paired",
    "pearson_scaled",
    "quantile_table",
    "regression",
    "tail_mean",
]
