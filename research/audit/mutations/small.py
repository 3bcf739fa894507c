"""The small market that leaks are tried on: a file of raw minutes with the flaws that files have.

Nothing can be earned in it, so whatever a leak adds to the IC or the gain is the leak's own. It has
an outage, rows told twice, a coin that is delisted in the last test, an end inside a bar, and
funding that differs each time: flaws that a leak needs to show itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from research.store import atomic
from research.study import Study

DAYS = 9
MINUTE = timedelta(minutes=1)
OPTIONS: dict[str, Any] = {
    "name": "mutations",
    "data.source": "files",
    "data.interval": "5 min",
    "labels.horizon": "30 min",
    "validation.train": "4 d",
    "validation.test": "1 d",
    "validation.embargo": "1 h",
    "model.league": [],
    "model.rounds": 20,
    "model.min_data_in_leaf": 50,
    "evaluation.bins": 5,
    "evaluation.window": "1 d",
    "evaluation.horizons": ["30 min"],
    "evaluation.draws": 100,
    "backtest.rule": "quantile",
    "costs.fee": "2 bps",
    "costs.slippage": "1 bps",
}
"""The study of the small market; every setting not named is the default."""

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"model.name": "lightgbm", "model.early_stopping": 5},
    {"labels.kind": "direction", "model.name": "logistic", "backtest.rule": "probability",
     "backtest.enter_probability": 0.4},
    {"model.target": "raw", "backtest.rule": "threshold", "backtest.enter": "1 bps"},
    {"validation.scheme": "expanding", "validation.embargo": 0, "evaluation.scope": "fold"},
    {"model.single": True, "features.set": "S1_stationary", "costs.half_spread": "0.5 bps"},
    {"model.weight": "uniqueness", "model.decay": "2 d", "costs.latency": "2 min"},
    {"labels.kind": "barrier", "model.name": "lightgbm_classes", "backtest.rule": "probability",
     "backtest.enter_probability": 0.4},
    {"backtest.stop": "30 bps", "backtest.take": "30 bps", "backtest.overlap": 2},
    {"model.meta": "logistic", "backtest.rule": "probability",
     "backtest.enter_probability": 0.4},
    {"features.set": "S2_cross", "labels.entry": "close", "costs.impact": 0.5},
)  # fmt: skip
"""What clean runs differ in, beside their seed: learners, labels, folds, rules and costs."""


@contextmanager
def market(seed: int, **options: Any) -> Iterator[tuple[Study, pl.DataFrame]]:
    """Make the small market and hand out its study and its raw minutes, in a store of its own.

    Parameters
    ----------
    seed : int
        Of the market.
    **options
        Dotted settings that win over `OPTIONS`.
    """
    with own_store() as place:
        raw, files = minutes(seed), {"data.path": "market-1m", "costs.funding_history": "funding"}
        where = {key: str(place / f"{name}.parquet") for key, name in files.items()}
        raw.write_parquet(where["data.path"])
        funding(raw, seed).write_parquet(where["costs.funding_history"])
        yield Study().with_options({**OPTIONS, **where, **options}), raw


@contextmanager
def own_store(*, keep_bars: bool = False) -> Iterator[Path]:
    """Keep what is made inside, leaks and all, in a store that ends with the block.

    Parameters
    ----------
    keep_bars : bool
        Whether bars that were fetched into the usual store are read from there.
    """
    fetched = atomic.data_root() / "bars"
    with TemporaryDirectory(prefix="alphabook-") as place:
        data = Path(place) / "data"
        data.mkdir()
        if keep_bars and fetched.exists():
            (data / "bars").symlink_to(fetched.resolve())
        with patch.dict(os.environ, {"ALPHABOOK_DATA": str(data)}):
            yield Path(place)


@lru_cache(maxsize=1)
def minutes(seed: int) -> pl.DataFrame:
    """Return the raw minutes of three coins, with the flaws of the module's first lines."""
    from research.sources import simulated

    half_hour = timedelta(minutes=30)
    made = simulated.market(
        symbols=3, days=DAYS, ic=0.0, horizon=half_hour, half_life=half_hour, seed=seed
    ).bars
    minute, day, began = pl.col("open_time"), timedelta(days=1), simulated.START
    outage = minute.is_between(began + 5.4 * day, began + 5.4 * day + timedelta(minutes=47))
    gone = (pl.col("symbol") == "SIM03USDT") & (minute >= began + 8.55 * day)
    late = minute >= began + DAYS * day - timedelta(minutes=2)
    kept = made.filter(~outage & ~gone & ~late)
    return pl.concat([kept, kept[::997]])  # every 997th row is told again, at the end


def funding(raw: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return a funding history of the raw minutes: every eight hours another rate."""
    names = raw.select("symbol").unique().sort("symbol")
    moments = raw.select(
        pl.datetime_range(
            pl.col("open_time").min(), pl.col("open_time").max() + timedelta(days=1), "8h"
        ).alias("time")
    )
    table = names.join(moments, how="cross")
    rates = np.random.default_rng(seed).normal(0.0, 1e-3, table.height).clip(-0.01, 0.01)
    return table.with_columns(rate=pl.Series(rates)).sort("symbol", "time")
