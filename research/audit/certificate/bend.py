"""How later bars are changed: raised, exchanged and lowered, removed.

Each change leaves bars that could be bars (the high is highest, counts are whole), so that nothing
refuses them, and moves every number, so that a glance at any one is seen. The two changes that
every bar meets go opposite ways: a comparison with a later price comes out otherwise in one.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl

from research import schema
from research.features.aggregates import FLOW

KINDS = ("raised", "lowered")
"""What comes after every bar: each number times a factor above one; other bars, and lower ones."""
NUMBERS = [c for c, dtype in schema.BARS.items() if dtype in (pl.Float64, pl.Int64)] + [*FLOW]
"""Columns of numbers that bars have, or may have beside their own."""
_TAKEN = ("taker_buy_volume", "taker_buy_quote_volume")
_PRICE = {"raised": (1.005, 1.06), "lowered": (0.94, 0.995)}
_SIZE = {"raised": (1.5, 9.0), "lowered": (0.05, 0.6)}
Columns = dict[str, np.ndarray]


def numbers(bars: pl.DataFrame, wanted: Collection[str] | None = None) -> Columns:
    """Return the number columns that hold any, NaN for null; those in `wanted` alone if given."""
    names = [c for c in NUMBERS if c in bars.columns and (wanted is None or c in wanted)]
    return {c: bars[c].to_numpy() for c in names if bars[c].null_count() < bars.height}


def bent(columns: Columns, kind: str, seed: tuple[int, ...]) -> Columns:
    """Return every bar changed.

    Parameters
    ----------
    columns : dict of str to np.ndarray, shape (n,)
        From `numbers`; at least the prices that are to be read.
    kind : str
        One of `KINDS`.
    seed : tuple of int
        The same seed gives the same bars.

    Returns
    -------
    dict of str to np.ndarray, shape (n,)
        High and low are the extremes of the bar's prices, where all four are there.

    Examples
    --------
    >>> bars = {"close": np.array([2.0, 4.0]), "volume": np.array([0.0, 1.0])}
    >>> up = bent(bars, "raised", (1,))
    >>> bool((up["close"] > bars["close"]).all() and (up["volume"] > bars["volume"]).all())
    True
    """
    rng = np.random.default_rng([*seed, KINDS.index(kind)])
    made = _scaled(columns if kind == "raised" else _others(columns), kind, rng)
    if set(schema.PRICES) <= made.keys():
        prices = np.stack([made[c] for c in schema.PRICES])
        made["high"], made["low"] = prices.max(axis=0), prices.min(axis=0)
    return {name: column.astype(columns[name].dtype) for name, column in made.items()}


def _scaled(columns: Columns, kind: str, rng: np.random.Generator) -> Columns:
    rows = len(next(iter(columns.values()), ()))
    size, more = rng.uniform(*_SIZE[kind], rows), float(kind == "raised")
    made = {}
    for name, column in columns.items():
        if name in schema.PRICES:
            made[name] = column * rng.uniform(*_PRICE[kind], rows)
        else:  # a bar without volume changes too, where it can
            share = rng.uniform(0.3, 0.9, rows) if name in _TAKEN else 1.0
            made[name] = (column + more) * size * share
    return made


def _others(columns: Columns) -> Columns:
    """Exchange sizes and shapes of bars with those half a history away; the level stays."""
    away = len(next(iter(columns.values()), ())) // 2
    made = {name: np.roll(column, away) for name, column in columns.items()}
    anchor = next((c for c in ("close", "open", "high", "low") if c in columns), None)
    if anchor is not None:
        level = columns[anchor] / made[anchor]
        made |= {name: made[name] * level for name in schema.PRICES if name in made}
    return made


def frame(bars: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """Return `bars` with these numbers, NaN as null."""
    return bars.with_columns(
        pl.Series(name, values, nan_to_null=True).cast(bars.schema[name])
        for name, values in columns.items()
    )


def after(bars: pl.DataFrame, later: np.ndarray, kind: str, seed: tuple[int, ...]) -> pl.DataFrame:
    """Return `bars` with those of `later` changed, or gone if `kind` is ``"removed"``.

    >>> from research.features.warmup import canonical
    >>> from datetime import timedelta
    >>> bars = canonical(6, interval=timedelta(minutes=1))
    >>> later = np.arange(6) > 3
    >>> changed = after(bars, later, "lowered", (1,))
    >>> changed.head(4).equals(bars.head(4)), (changed["close"] < bars["close"]).to_list()[3:]
    (True, [False, True, True])
    """
    if kind == "removed":
        return bars.filter(pl.Series(~later))
    before = numbers(bars)
    changed = bent(before, kind, seed)
    return frame(bars, {n: np.where(later, changed[n], before[n]) for n in before})
