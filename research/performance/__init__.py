"""Is an equity curve any good: returns, drawdown, the Sharpe family, and whether it was luck.

A year has 365 days and trading never stops. Ratios rest on simple returns per *period*: one hour,
or one bar where bars are longer. Minutes are not used, for their returns are correlated by spread
and by positions held across them; an hour without a bar counts as an hour without a return.
"""

from research.performance.clusters import Trials, effective_trials
from research.performance.curve import alpha_factor, drawdown, rolling
from research.performance.fees import break_even_fee, fee_sweep
from research.performance.intervals import intervals
from research.performance.metrics import ANNUAL_DAYS, sharpe, summary, text
from research.performance.overfitting import PBO, pbo
from research.performance.probabilistic import (
    Sample,
    deflation,
    dsr,
    effective_n,
    expected_maximum,
    min_backtest_length,
    min_track_record,
    psr,
    sample,
)
from research.performance.snooping import SPA, spa, step_m

__all__ = [
    "ANNUAL_DAYS",
    "PBO",
    "SPA",
    "Sample",
    "Trials",
    "alpha_factor",
    "break_even_fee",
    "deflation",
    "drawdown",
    "dsr",
    "effective_n",
    "effective_trials",
    "expected_maximum",
    "fee_sweep",
    "intervals",
    "min_backtest_length",
    "min_track_record",
    "pbo",
    "psr",
    "rolling",
    "sample",
    "sharpe",
    "spa",
    "step_m",
    "summary",
    "text",
]
