"""Markets without an edge, made of real ones: what could be forecast is destroyed, the rest kept.

Volatility and its seasons, heavy tails, volume and the correlation of symbols stay; the sign of
what comes next no longer has to do with what was before.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError, nearest

_DAY = timedelta(days=1)
_PRICED = ("open", "high", "low", "close", "quote_volume", "taker_buy_quote_volume")
_BUYERS = {"taker_buy_volume": "volume", "taker_buy_quote_volume": "quote_volume"}


def flipped(bars: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    r"""Turn bars upside down at random moments, all symbols at the same ones.

    A bar whose sign is -1 is mirrored in logarithms about the close before it, and its buyers
    become sellers:

    .. math:: \log c'_t = \log c'_{t-1} + s_t (\log c_t - \log c_{t-1}), \quad s_t = \pm 1

    so that every :math:`|r_t|` and every product of two symbols' returns is that of the real
    market, while signs are those of a fair coin.

    Parameters
    ----------
    bars : pl.DataFrame
        `schema.BARS`.
    seed : int
        Of the signs.

    Returns
    -------
    pl.DataFrame
        `schema.BARS`; each symbol begins at its own first open.

    Examples
    --------
    >>> from research.sources import simulated
    >>> from research.bars import clean
    >>> how = {"ic": 0.1, "horizon": timedelta(minutes=10), "half_life": timedelta(minutes=10)}
    >>> raw = simulated.market(symbols=1, days=1, seed=1, **how).bars
    >>> bars = clean(raw, interval=timedelta(minutes=1), name="x")[0]
    >>> made = flipped(bars, seed=1)
    >>> sizes = [table["close"].log().diff().abs() for table in (bars, made)]
    >>> bool((sizes[0] - sizes[1]).abs().max() < 1e-12)
    True
    """
    signs = _signs(bars["time"], seed)
    parts = [
        _mirrored(part, part.join(signs, on="time", how="left")["sign"].to_numpy())
        for (_,), part in bars.group_by("symbol", maintain_order=True)
    ]
    return pl.concat(parts).select(*schema.BARS).sort(schema.KEY)


def _signs(time: pl.Series, seed: int) -> pl.DataFrame:
    moments = time.unique().sort()
    drawn = np.random.default_rng(seed).choice([-1.0, 1.0], len(moments))
    return pl.DataFrame({"time": moments, "sign": drawn})


def _mirrored(part: pl.DataFrame, sign: np.ndarray) -> pl.DataFrame:
    """Mirror the bars of one symbol whose sign is -1, each about the close before it."""
    logs = {name: np.log(part[name].to_numpy()) for name in ("open", "high", "low", "close")}
    before = np.concatenate([logs["open"][:1], logs["close"][:-1]])
    close = logs["open"][0] + np.cumsum(sign * (logs["close"] - before))
    base = np.concatenate([logs["open"][:1], close[:-1]])
    turned = {name: base + sign * (values - before) for name, values in logs.items()}
    up = sign > 0
    # the close is a sum over all bars: rounding may lift it over a high that it was equal to
    high = np.maximum.reduce([*turned.values(), close])
    low = np.minimum.reduce([*turned.values(), close])
    prices = {"open": turned["open"], "high": high, "low": low, "close": close}
    scale = np.exp(close - logs["close"])
    sellers = {
        name: pl.when(pl.Series(up)).then(pl.col(name)).otherwise(pl.col(whole) - pl.col(name))
        for name, whole in _BUYERS.items()
    }
    made = part.with_columns(**{n: pl.Series(np.exp(v)) for n, v in prices.items()}, **sellers)
    # quote volume is a price times a volume: it follows the price to where it went
    return made.with_columns(pl.col(_PRICED[4:]) * pl.Series(scale))


def blocks(
    bars: pl.DataFrame, *, seed: int, length: timedelta = timedelta(hours=1)
) -> pl.DataFrame:
    """Exchange blocks of bars with those of other days at the same time of day, then flip signs.

    The order of calm and wild hours is drawn anew too, so that even what hangs on the long memory
    of volatility is gone; what is inside a block, and all symbols' blocks beside each other, stay
    together.

    Parameters
    ----------
    bars : pl.DataFrame
        `schema.BARS`.
    seed : int
        Of the draws and the signs.
    length : timedelta
        Of a block; it divides a day.

    Returns
    -------
    pl.DataFrame
        `schema.BARS`, as many days as there are whole ones.

    Raises
    ------
    UserError
        If there are fewer than two whole days.
    """
    days = bars["open_time"].dt.truncate("1d").unique().sort()
    if len(days) < 2:
        raise UserError(f"blocks: need two days of bars or more, found {len(days)}.")
    rng, table = np.random.default_rng(seed), []
    slots = bars.with_columns(
        day=pl.col("open_time").dt.truncate("1d"),
        slot=pl.col("open_time").dt.epoch("us") % _us(_DAY) // _us(length),
    )
    for (_,), part in slots.group_by("slot", maintain_order=True):
        drawn = pl.DataFrame(
            {"new": days, "day": days.gather(rng.integers(0, len(days), len(days)))}
        )
        moved = drawn.join(part, on="day", how="inner", maintain_order="left")
        by = pl.col("new") - pl.col("day")
        table.append(moved.with_columns(pl.col("open_time") + by, pl.col("time") + by))
    return flipped(_chained(pl.concat(table).sort(schema.KEY)), seed=seed + 1)


def _us(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _chained(bars: pl.DataFrame) -> pl.DataFrame:
    """Scale each block, which comes from another level of prices, to begin where the last ended."""
    parts = []
    for (_,), part in bars.group_by("symbol", maintain_order=True):
        log_open, log_close = (np.log(part[name].to_numpy()) for name in ("open", "close"))
        met = (part["slot"].diff() != 0) | (part["new"].diff() != timedelta(0))
        jump = np.where(met.to_numpy()[1:], log_open[1:] - log_close[:-1], 0.0)
        scale = pl.Series(np.exp(-np.cumsum(np.concatenate([[0.0], jump]))))
        parts.append(part.with_columns(pl.col(_PRICED) * scale))
    return pl.concat(parts).select(*schema.BARS)


def shifted(forecasts: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Let each symbol's forecasts stand beside the answers of another time.

    All symbols are moved around in a circle by the same number of rows, a day's or more from where
    they were, so that the forecasts' own memory and what they have in common are kept.

    Parameters
    ----------
    forecasts : pl.DataFrame
        `schema.FORECASTS`, with whatever columns besides.
    seed : int
        Of the move.

    Raises
    ------
    UserError
        If there are not three days of forecasts.
    """
    fixed = {*schema.KEY, "y", "known_at", "label", "fold", "model", "sigma"}
    rows = min(part.height for part in forecasts.partition_by("symbol"))
    day = int(_DAY / _step(forecasts))
    if rows < 3 * day:
        raise UserError(f"shifted: need three days of forecasts, found {rows / day:.1f}.")
    by = int(np.random.default_rng(seed).integers(day, rows - day))
    moving = [name for name in forecasts.columns if name not in fixed]
    parts = [
        part.with_columns(
            pl.concat([part[name].tail(by), part[name].head(part.height - by)]) for name in moving
        )
        for (_,), part in forecasts.sort(schema.KEY).group_by("symbol", maintain_order=True)
    ]
    return pl.concat(parts).select(forecasts.columns)


def _step(forecasts: pl.DataFrame) -> timedelta:
    step: timedelta = forecasts["time"].unique().sort().diff().median()  # type: ignore[assignment]
    return step


KINDS = ["simulated", "flips", "blocks", "shifts"]


def kind(name: str) -> str:
    """Return the name of a way to an empty market, or say which there are."""
    if name not in KINDS:
        raise UserError(
            f"discovery: null {name!r} is not known.{nearest(name, KINDS)} Here: {KINDS}."
        )
    return name
