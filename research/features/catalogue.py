"""What the frozen sets hold: column, group, factory and its parameters. No code, only lists.

Names are the sources'. ``ret_5m`` and its like count bars: on one-minute bars they are minutes.
S4's own data had a 53rd column, the raw clock ``window_start``; it is not here.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from research.features.aggregates import as_is, price_gap, roughness_z, standing
from research.features.alphas import RANKED_BARS, alpha001, alpha054
from research.features.averages import (
    close_to_ema,
    close_to_sma_percent,
    ema,
    ema_adjusted,
    ema_cross,
    ema_distance,
    ema_gap,
    ema_gap_percent,
    macd,
    macd_histogram,
    macd_signal,
)
from research.features.bands import (
    bollinger_lower,
    bollinger_middle,
    bollinger_position,
    bollinger_upper,
    bollinger_width,
)
from research.features.candles import (
    body,
    body_ratio,
    candle_type,
    is_doji,
    lower_wick,
    lower_wick_ratio,
    total_range,
    upper_wick,
    upper_wick_ratio,
)
from research.features.clock import (
    funding_cos,
    funding_sin,
    hour_cos,
    hour_sin,
    minute_cos,
    minute_sin,
)
from research.features.estimators import garman_klass, parkinson, rogers_satchell, yang_zhang
from research.features.flow import taker_buy_share, trade_size_ratio, trades_ratio
from research.features.fracdiff import fracdiff_price
from research.features.market import (
    BETA_BARS,
    LEADER_BARS,
    leader_return_before,
    market_beta,
    market_place,
    market_residual,
    market_return,
    market_return_before,
    market_spread,
)
from research.features.momentum import bop, cci_s2, mfi, rsi, slowd, slowk, stochrsi
from research.features.oscillators import (
    S1_EPSILON,
    acceleration,
    adx_sma,
    roc,
    roc_percent,
    rsi_normalized,
    rsi_sma,
    stoch_d,
    stoch_k,
)
from research.features.ranges import (
    atr_sma,
    atr_to_price,
    deviation,
    deviation_over_price,
    deviation_percent,
    spread_percent,
    spread_percent_mean,
)
from research.features.returns import ret, ret_in_day
from research.features.stationary import (
    distance,
    level,
    transactions_size,
    undone,
    volume_size,
)
from research.features.transactions import (
    transactions,
    transactions_mean,
    transactions_ratio,
    transactions_trend,
)
from research.features.volatility import natr
from research.features.volume import (
    OBV_BARS,
    close_to_vwap_percent,
    obv_window,
    volume_delta,
    volume_mean,
    volume_price_divergence,
    volume_ratio,
    vwap_close,
    vwap_close_deviation,
    vwap_typical,
)

Factory = Callable[..., pl.Expr]
Column = tuple[str, Factory, tuple[float | str, ...]]
"""Group, factory, parameters."""

_INDICATORS: dict[str, Column] = {
    "bop": ("bop", bop, ()),
    "cci": ("cci", cci_s2, (14,)),
    "mfi": ("mfi", mfi, (14,)),
    "rsi": ("rsi", rsi, (14,)),
    "stochrsi": ("stochrsi", stochrsi, (14,)),
    "slowk": ("stoch", slowk, (14, 3)),
    "slowd": ("stoch", slowd, (14, 3)),
    "natr": ("natr", natr, (14,)),
}


def _returns(factory: Factory) -> dict[str, Column]:
    return {f"ret_{k}": ("returns", factory, (k,)) for k in range(1, 11)}


S2 = _returns(ret) | _INDICATORS
S2_DAY = _returns(ret_in_day) | _INDICATORS
S2_PLUS: dict[str, Column] = {
    **S2,
    "alpha001": ("alpha", alpha001, (RANKED_BARS,)),
    "alpha054": ("alpha", alpha054, ()),
    "taker_buy_share": ("flow", taker_buy_share, ()),
    "trades_ratio": ("flow", trades_ratio, (60,)),
    "trade_size_ratio": ("flow", trade_size_ratio, (60,)),
    "hour_sin": ("calendar", hour_sin, ()),
    "hour_cos": ("calendar", hour_cos, ()),
    "minute_sin": ("calendar", minute_sin, ()),
    "minute_cos": ("calendar", minute_cos, ()),
    "funding_sin": ("calendar", funding_sin, ()),
    "funding_cos": ("calendar", funding_cos, ()),
    "parkinson": ("range", parkinson, (60,)),
    "garman_klass": ("range", garman_klass, (60,)),
    "rogers_satchell": ("range", rogers_satchell, (60,)),
    "yang_zhang": ("range", yang_zhang, (60,)),
}

S2_CROSS: dict[str, Column] = {
    **S2,
    "market_1": ("market", market_return, (1,)),
    "market_10": ("market", market_return, (10,)),
    "beta": ("market", market_beta, (BETA_BARS,)),
    "residual_1": ("market", market_residual, (1, BETA_BARS)),
    "residual_10": ("market", market_residual, (10, BETA_BARS)),
    "market_before": ("lead", market_return_before, ()),
    "leader_before": ("lead", leader_return_before, (LEADER_BARS,)),
    "place_1": ("section", market_place, (1,)),
    "place_10": ("section", market_place, (10,)),
    "dispersion": ("section", market_spread, (10,)),
}

_USUAL = 300
"""Bars that tell what flow is usual."""

ORDER_FLOW: dict[str, Column] = {
    **{f"ofi_z_{k}": ("flow", standing, ("ofi", _USUAL, k)) for k in (1, 5, 15, 30)},
    "depth_delta_z": ("flow", standing, ("depth_delta", _USUAL)),
    "trade_imbalance": ("trades", as_is, ("trade_imbalance",)),
    **{f"trade_flow_z_{k}": ("trades", standing, ("trade_flow", _USUAL, k)) for k in (1, 15)},
    "close_gap": ("quotes", price_gap, ()),
    "spread_z": ("quotes", standing, ("spread", _USUAL)),
    "imbalance": ("quotes", as_is, ("imbalance",)),
    "weighted_mid_gap": ("quotes", as_is, ("weighted_mid_gap",)),
    "ofi_level_5_z": ("depth", standing, ("ofi_5", _USUAL)),
    "ofi_level_10_z": ("depth", standing, ("ofi_10", _USUAL)),
    "ofi_level_20_z": ("depth", standing, ("ofi_20", _USUAL)),
    "weighted_ofi_z": ("depth", standing, ("weighted_ofi", _USUAL)),
    "depth_imbalance_5_z": ("depth", standing, ("depth_imbalance_5", _USUAL)),
    "depth_imbalance_20_z": ("depth", standing, ("depth_imbalance_20", _USUAL)),
    **{f"ret_{k}": ("returns", ret, (k,)) for k in (1, 5, 30)},
    "price_ffd": ("memory", fracdiff_price, (0.4, 1e-3)),
    "roughness_z": ("regime", roughness_z, (60,)),
}

S1: dict[str, Column] = {
    "ema_12": ("trend", ema, (12,)),
    "ema_26": ("trend", ema, (26,)),
    "ema_diff": ("trend", ema_gap, (12, 26)),
    "ema_diff_pct": ("trend", ema_gap_percent, (12, 26)),
    "rsi": ("momentum", rsi_sma, (14, S1_EPSILON)),
    "rsi_normalized": ("momentum", rsi_normalized, (14, S1_EPSILON)),
    "vwap": ("volume", vwap_typical, (60,)),
    "price_to_vwap": ("volume", close_to_vwap_percent, (60,)),
    "spread": ("volatility", spread_percent, ()),
    "spread_ma": ("volatility", spread_percent_mean, (15,)),
    "ret_1m": ("momentum", roc_percent, (1,)),
    "ret_5m": ("momentum", roc_percent, (5,)),
    "ret_15m": ("momentum", roc_percent, (15,)),
    "volume_ratio": ("volume", volume_ratio, (15, S1_EPSILON)),
    "price_to_ma": ("trend", close_to_sma_percent, (15,)),
    "volatility_15m": ("volatility", deviation_percent, (15,)),
    "volatility_60m": ("volatility", deviation_percent, (60,)),
    "acceleration": ("momentum", acceleration, ()),
    "volume_price_div": ("volume", volume_price_divergence, (15, 5)),
}

S4: dict[str, Column] = {
    "ema_9": ("price", ema_adjusted, (9,)),
    "ema_21": ("price", ema_adjusted, (21,)),
    "ema_50": ("price", ema_adjusted, (50,)),
    "price_ema9_ratio": ("price", close_to_ema, (9,)),
    "price_ema21_ratio": ("price", close_to_ema, (21,)),
    "price_ema50_ratio": ("price", close_to_ema, (50,)),
    "ema9_ema21_cross": ("price", ema_cross, (9, 21)),
    "ema21_ema50_cross": ("price", ema_cross, (21, 50)),
    "rsi": ("momentum", rsi_sma, (14,)),
    "macd": ("momentum", macd, (12, 26)),
    "macd_signal": ("momentum", macd_signal, (12, 26, 9)),
    "macd_histogram": ("momentum", macd_histogram, (12, 26, 9)),
    "roc_5": ("momentum", roc, (5,)),
    "roc_15": ("momentum", roc, (15,)),
    "stoch_k": ("momentum", stoch_k, (14,)),
    "stoch_d": ("momentum", stoch_d, (14, 3)),
    "bb_upper": ("volatility", bollinger_upper, (20,)),
    "bb_middle": ("volatility", bollinger_middle, (20,)),
    "bb_lower": ("volatility", bollinger_lower, (20,)),
    "bb_width": ("volatility", bollinger_width, (20,)),
    "bb_position": ("volatility", bollinger_position, (20,)),
    "atr": ("volatility", atr_sma, (14,)),
    "volatility_60": ("volatility", deviation, (60,)),
    "atr_price_ratio": ("volatility", atr_to_price, (14,)),
    "volatility_price_ratio": ("volatility", deviation_over_price, (60,)),
    "volume_sma_20": ("volume", volume_mean, (20,)),
    "volume_sma_60": ("volume", volume_mean, (60,)),
    "volume_ratio_20": ("volume", volume_ratio, (20,)),
    "volume_ratio_60": ("volume", volume_ratio, (60,)),
    "volume_delta_20": ("volume", volume_delta, (20,)),
    "volume_delta_60": ("volume", volume_delta, (60,)),
    "vwap": ("volume", vwap_close, (20,)),
    "vwap_deviation": ("volume", vwap_close_deviation, (20,)),
    "obv": ("volume", obv_window, (OBV_BARS,)),
    "adx": ("trend", adx_sma, (14,)),
    "trend_direction": ("trend", ema_cross, (21, 50)),
    "trend_strength": ("trend", ema_distance, (21, 50)),
    "body_size": ("candle", body, ()),
    "upper_wick": ("candle", upper_wick, ()),
    "lower_wick": ("candle", lower_wick, ()),
    "total_range": ("candle", total_range, ()),
    "body_ratio": ("candle", body_ratio, ()),
    "upper_wick_ratio": ("candle", upper_wick_ratio, ()),
    "lower_wick_ratio": ("candle", lower_wick_ratio, ()),
    "candle_type": ("candle", candle_type, ()),
    "is_doji": ("candle", is_doji, ()),
    "transactions": ("transactions", transactions, ()),
    "transactions_sma_20": ("transactions", transactions_mean, (20,)),
    "transactions_sma_60": ("transactions", transactions_mean, (60,)),
    "transactions_ratio_20": ("transactions", transactions_ratio, (20,)),
    "transactions_ratio_60": ("transactions", transactions_ratio, (60,)),
    "transactions_trend": ("transactions", transactions_trend, (20,)),
}

Twin = Callable[[pl.Expr], pl.Expr]

S1_TWINS: dict[str, Twin] = {
    **dict.fromkeys(("ema_12", "ema_26", "vwap"), level),
    "ema_diff": distance,
}
"""Columns of S1 that are a price, and what makes a stationary one of each."""

S4_TWINS: dict[str, Twin] = {
    **dict.fromkeys(("ema_9", "ema_21", "ema_50"), level),
    **dict.fromkeys(("bb_upper", "bb_middle", "bb_lower", "vwap"), level),
    **dict.fromkeys(("macd", "macd_signal", "macd_histogram", "atr"), distance),
    **dict.fromkeys(("body_size", "upper_wick", "lower_wick", "total_range"), distance),
    "volatility_price_ratio": undone,
    **dict.fromkeys(("volume_sma_20", "volume_sma_60", "obv"), volume_size),
    **dict.fromkeys(("volume_delta_20", "volume_delta_60"), volume_size),
    **dict.fromkeys(("transactions", "transactions_sma_20"), transactions_size),
    **dict.fromkeys(("transactions_sma_60", "transactions_trend"), transactions_size),
}
"""Columns of S4 that are a price or a size, and what makes a stationary one of each."""
