"""One function per picture: a table in, matplotlib Axes out; nothing is saved or shown here.

Every function takes ``ax=``, a place to draw on, and makes its own where none is given. Titles
say what is seen, axes say their unit, times are UTC, colours are told apart by all eyes.
"""

from research.plots.autopsy import waterfall
from research.plots.classes import calibration, confusion
from research.plots.explain import importance, shap_bar, shap_beeswarm
from research.plots.features import correlation, distribution, feature_ic
from research.plots.features_screen import (
    feature_ic_by_day,
    feature_over_time,
    feature_stability,
    ic_by_horizon,
    redundancy,
)
from research.plots.forecasts import cumulative_quantiles, ic_by_day, ic_decay, optimism, quantiles
from research.plots.gate import gate
from research.plots.live import live_evidence, live_latency, live_reasons, live_run
from research.plots.market import candles, coverage, price, trades_on_price
from research.plots.memory import memory, memory_weights
from research.plots.operations import (
    operation_costs,
    operation_hops,
    operation_slippage,
    operation_uptime,
)
from research.plots.order_book import book_coverage, depth_chart
from research.plots.order_flow import impact, lags, next_move
from research.plots.performance import alpha_factor, compare_equity, equity, fee_sweep, rolling
from research.plots.portfolio import portfolio
from research.plots.sheets import sheets
from research.plots.summary import folds, league, truth
from research.plots.surface import capacity, fee_surface
from research.plots.validation import deflation, path_sharpes, pbo

__all__ = [
    "alpha_factor",
    "book_coverage",
    "calibration",
    "candles",
    "capacity",
    "compare_equity",
    "confusion",
    "correlation",
    "coverage",
    "cumulative_quantiles",
    "deflation",
    "depth_chart",
    "distribution",
    "equity",
    "feature_ic",
    "feature_ic_by_day",
    "feature_over_time",
    "feature_stability",
    "fee_surface",
    "fee_sweep",
    "folds",
    "gate",
    "ic_by_day",
    "ic_by_horizon",
    "ic_decay",
    "impact",
    "importance",
    "lags",
    "league",
    "live_evidence",
    "live_latency",
    "live_reasons",
    "live_run",
    "memory",
    "memory_weights",
    "next_move",
    "operation_costs",
    "operation_hops",
    "operation_slippage",
    "operation_uptime",
    "optimism",
    "path_sharpes",
    "pbo",
    "portfolio",
    "price",
    "quantiles",
    "redundancy",
    "rolling",
    "shap_bar",
    "shap_beeswarm",
    "sheets",
    "trades_on_price",
    "truth",
    "waterfall",
]
