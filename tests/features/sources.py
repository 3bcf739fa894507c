"""S1's and S4's columns as their formulas read, in plain pandas, one symbol at a time.

Written from the formulas alone: nothing of research/ is used.
"""

import numpy as np
import pandas as pd

OBV_BARS = 480


def deviation(column, window):
    """Standard deviation (ddof 1) window by window: pandas' running one leaves residues."""
    found = pd.Series(np.nan, column.index)
    view = np.lib.stride_tricks.sliding_window_view(column.to_numpy(), window)
    still = view.max(axis=1) == view.min(axis=1)
    found.iloc[window - 1 :] = np.where(still, 0.0, view.std(axis=1, ddof=1))
    return found


def mean(column, window):
    """Mean window by window, for what a quotient of small numbers is made of."""
    found = pd.Series(np.nan, column.index)
    view = np.lib.stride_tricks.sliding_window_view(column.to_numpy(), window)
    found.iloc[window - 1 :] = view.mean(axis=1)
    return found


def s1(b):
    f = pd.DataFrame(index=b.index)
    f["ema_12"] = b.close.ewm(span=12, adjust=False).mean()
    f["ema_26"] = b.close.ewm(span=26, adjust=False).mean()
    f["ema_diff"] = f.ema_12 - f.ema_26
    f["ema_diff_pct"] = (f.ema_12 / f.ema_26 - 1) * 100
    step = b.close.diff()
    gain = step.clip(lower=0).rolling(14).mean()
    loss = (-step).clip(lower=0).rolling(14).mean()
    f["rsi"] = 100 - 100 / (1 + gain / (loss + 1e-10))
    f["rsi_normalized"] = (f.rsi - 50) / 50
    typical = (b.high + b.low + b.close) / 3
    f["vwap"] = (typical * b.volume).rolling(60).sum() / b.volume.rolling(60).sum()
    f["price_to_vwap"] = (b.close / f.vwap - 1) * 100
    f["spread"] = (b.high - b.low) / b.close * 100
    f["spread_ma"] = f.spread.rolling(15).mean()
    f["ret_1m"] = b.close.pct_change(1) * 100
    f["ret_5m"] = b.close.pct_change(5) * 100
    f["ret_15m"] = b.close.pct_change(15) * 100
    f["volume_ratio"] = b.volume / (b.volume.rolling(15).mean() + 1e-10)
    f["price_to_ma"] = (b.close / b.close.rolling(15).mean() - 1) * 100
    f["volatility_15m"] = deviation(b.close.pct_change(), 15) * 100
    f["volatility_60m"] = deviation(b.close.pct_change(), 60) * 100
    f["acceleration"] = f.ret_1m.diff()
    f["volume_price_div"] = (f.volume_ratio - 1) * f.ret_5m
    return f


def s4(b):
    return pd.concat(
        [_price(b), _momentum(b), _volatility(b), _volume(b), _trend(b), _candle(b), _counts(b)],
        axis=1,
    )


def _price(b):
    f = pd.DataFrame(index=b.index)
    for span in (9, 21, 50):
        f[f"ema_{span}"] = b.close.ewm(span=span).mean()
    for span in (9, 21, 50):
        f[f"price_ema{span}_ratio"] = b.close / f[f"ema_{span}"]
    f["ema9_ema21_cross"] = np.where(f.ema_9 > f.ema_21, 1.0, -1.0)
    f["ema21_ema50_cross"] = np.where(f.ema_21 > f.ema_50, 1.0, -1.0)
    return f


def _momentum(b):
    f = pd.DataFrame(index=b.index)
    step = b.close.diff()
    gain = step.where(step > 0, 0.0).rolling(14).mean()
    loss = (-step).where(step < 0, 0.0).rolling(14).mean()
    f["rsi"] = 100 - 100 / (1 + gain / loss)
    f["macd"] = b.close.ewm(span=12).mean() - b.close.ewm(span=26).mean()
    f["macd_signal"] = f.macd.ewm(span=9).mean()
    f["macd_histogram"] = f.macd - f.macd_signal
    f["roc_5"] = b.close / b.close.shift(5) - 1
    f["roc_15"] = b.close / b.close.shift(15) - 1
    low, high = b.low.rolling(14).min(), b.high.rolling(14).max()
    f["stoch_k"] = 100 * (b.close - low) / (high - low)
    f["stoch_d"] = f.stoch_k.rolling(3).mean()
    return f


def _true_range(b):
    before = b.close.shift()
    sides = [b.high - b.low, (b.high - before).abs(), (b.low - before).abs()]
    return pd.concat(sides, axis=1).max(axis=1)


def _volatility(b):
    f = pd.DataFrame(index=b.index)
    middle, spread = b.close.rolling(20).mean(), deviation(b.close, 20)
    f["bb_upper"] = middle + 2 * spread
    f["bb_middle"] = middle
    f["bb_lower"] = middle - 2 * spread
    f["bb_width"] = (f.bb_upper - f.bb_lower) / middle
    f["bb_position"] = (b.close - f.bb_lower) / (f.bb_upper - f.bb_lower)
    f["atr"] = _true_range(b).rolling(14).mean()
    f["volatility_60"] = deviation(b.close.pct_change(), 60)
    f["atr_price_ratio"] = f.atr / b.close
    f["volatility_price_ratio"] = f.volatility_60 / b.close
    return f


def _volume(b):
    f = pd.DataFrame(index=b.index)
    for window in (20, 60):
        f[f"volume_sma_{window}"] = b.volume.rolling(window).mean()
    for window in (20, 60):
        f[f"volume_ratio_{window}"] = b.volume / f[f"volume_sma_{window}"]
    for window in (20, 60):
        f[f"volume_delta_{window}"] = b.volume - f[f"volume_sma_{window}"]
    f["vwap"] = (b.close * b.volume).rolling(20).sum() / b.volume.rolling(20).sum()
    f["vwap_deviation"] = (b.close - f.vwap) / f.vwap
    # from 0, as the source, but over a window that has an end
    f["obv"] = (np.sign(b.close.diff()) * b.volume).rolling(OBV_BARS).sum()
    return f


def _trend(b):
    f = pd.DataFrame(index=b.index)
    dh, dl = b.high.diff(), b.low.diff()
    plus = dh.where((dh > dl.abs()) & (dh > 0), 0.0)
    minus = dl.abs().where((dl.abs() > dh.abs()) & (dl < 0), 0.0)
    atr = _true_range(b).rolling(14).mean()
    p, m = (100 * side.rolling(14).mean() / atr for side in (plus, minus))
    index = 100 * (p - m).abs() / (p + m)
    f["adx"] = index.mask(p + m == 0, 0.0).rolling(14).mean()
    means = {span: b.close.ewm(span=span).mean() for span in (21, 50)}
    f["trend_direction"] = np.where(means[21] > means[50], 1.0, -1.0)
    f["trend_strength"] = (means[21] - means[50]).abs() / means[50]
    return f


def _candle(b):
    f = pd.DataFrame(index=b.index)
    f["body_size"] = (b.close - b.open).abs()
    f["upper_wick"] = b.high - b[["open", "close"]].max(axis=1)
    f["lower_wick"] = b[["open", "close"]].min(axis=1) - b.low
    f["total_range"] = b.high - b.low
    f["body_ratio"] = f.body_size / f.total_range
    f["upper_wick_ratio"] = f.upper_wick / f.total_range
    f["lower_wick_ratio"] = f.lower_wick / f.total_range
    f["candle_type"] = np.where(b.close > b.open, 1.0, -1.0)
    f["is_doji"] = (f.body_ratio.fillna(0) < 0.1).astype(float)
    return f


def _counts(b):
    f = pd.DataFrame(index=b.index)
    f["transactions"] = n = b.trades.astype(float).fillna(b.volume / 1000)
    for window in (20, 60):
        f[f"transactions_sma_{window}"] = n.rolling(window).mean()
    for window in (20, 60):
        f[f"transactions_ratio_{window}"] = n / f[f"transactions_sma_{window}"]
    place = np.arange(20.0)
    line = n.rolling(20).apply(lambda y: np.polyfit(place, y, 1)[0], raw=True)
    f["transactions_trend"] = line
    return f
