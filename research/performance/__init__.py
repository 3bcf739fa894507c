"""Is an equity curve any good: returns, drawdown, the Sharpe family, the break-even fee.

A year has 365 days and trading never stops. Ratios rest on simple returns per *period*: one hour,
or one bar where bars are longer. Minutes are not used, for their returns are correlated by spread
and by positions held across them; an hour without a bar counts as an hour without a return.
"""

from research.performance.curve import alpha_factor, drawdown, rolling
from research.performance.fees import break_even_fee, fee_sweep
from research.performance.intervals import intervals
from research.performance.metrics import sharpe, summary, text

__all__ = [
    "alpha_factor",
    "break_even_fee",
    "drawdown",
    "fee_sweep",
    "intervals",
    "rolling",
    "sharpe",
    "summary",
    "text",
]
