"""What campaigns over studies share: a study on a simulated market, and a store of its own."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl

from research import batch
from research.study import Study, find, read

STUDIES = ("quantiles", "rolling_bot", "trend")
Options = dict[str, Any]
Market = tuple[str, int, float, Options]
"""Study, seed, planted IC, and settings that win over all others."""

COMMON: Options = {
    "workers": 1,
    "data.source": "simulated",
    "data.symbols": None,
    "data.start": None,
    "data.end": None,
    "simulated.symbols": 2,
    "simulated.days": 52,
    "simulated.half_life": "10 min",
    "model.league": [],
}
SHORTENED: dict[str, Options] = {
    "quantiles": {"simulated.days": 60, "validation.train": "30 d"},
    "rolling_bot": {"simulated.days": 32, "validation.test": "6 h"},
    "trend": {"validation.test": "7 d"},
}
"""What a market costs is mostly fits: where the study's own windows would need a year of bars or
hundreds of fits, these stand in their place. All else is the study's own."""


@contextmanager
def own_store() -> Iterator[None]:
    """Keep what is made inside in a store, and a count of trials, that end with it."""
    before = os.environ.get("ALPHABOOK_DATA")
    with tempfile.TemporaryDirectory(prefix="alphabook-") as place:
        os.environ["ALPHABOOK_DATA"] = place
        try:
            yield
        finally:
            os.environ.pop("ALPHABOOK_DATA")
            if before is not None:
                os.environ["ALPHABOOK_DATA"] = before


def simulated(market: Market) -> Study:
    """Return the study on its simulated market: the edge is planted over the study's own horizon.

    Examples
    --------
    >>> made = simulated(("quantiles", 3, 0.0, {}))
    >>> made.data.source, made.simulated.ic, str(made.simulated.horizon), made.simulated.seed
    ('simulated', 0.0, '0:01:00', 3)
    """
    name, seed, ic, options = market
    own = read(name)
    planted = {"simulated.ic": ic, "simulated.seed": seed, "simulated.horizon": own.labels.horizon}
    return own.with_options({**COMMON, **SHORTENED.get(own.name, {}), **planted, **options})


def over(
    work: Callable[[Market], list[Options]], markets: list[Market], workers: int, what: str
) -> tuple[list[Options], list[str]]:
    """Take every market through `work`; return all rows, and a line for each that failed.

    Raises
    ------
    UserError
        If a study does not exist: at once, not once for each market.
    """
    for name in {market[0] for market in markets}:
        find(name)
    rows, failed = [], []
    watch = batch.progress(f"{what}: {len(markets)} markets")
    for (name, seed, ic, _), found in batch.map_items(work, markets, workers=workers, watch=watch):
        if isinstance(found, Exception):
            failed.append(f"{name}, seed {seed}, planted IC {ic}: {found!r}")
        else:
            rows += found
    return rows, failed


def daily_t(equity: pl.DataFrame, *, capital: float) -> dict[str, float | None]:
    r"""Return t statistics of mean daily returns, before and after costs.

    .. math:: t = \bar r / (s_r / \sqrt n)

    over the n UTC days of the run, s with n - 1 in the denominator. A day's return is what was
    gained in it, gross or net, over the net equity at its start, so that an account that costs
    have worn down counts like a full one.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity, gross``, sorted; a bar that ends at midnight belongs to the day it was in.
    capital : float
        Equity before the first row.

    Returns
    -------
    dict
        ``gross_t, net_t``; None with fewer than two days, or where all days are the same, as they
        are when nothing is traded. Days that begin without equity are left out.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2024, 5, d, tzinfo=UTC) for d in (2, 3, 4)]
    >>> curve = pl.DataFrame({"time": times, "equity": [101.0, 101.0, 103.02]})
    >>> found = daily_t(curve.with_columns(gross=pl.lit(100.0)), capital=100.0)
    >>> found["gross_t"], round(found["net_t"], 6)  # nothing; 1, 0 and 2 percent
    (None, 1.732051)
    """
    day = (pl.col("time") - pl.duration(microseconds=1)).dt.date()
    ends = equity.group_by(day.alias("day"), maintain_order=True).agg(
        pl.col("equity", "gross").last()
    )
    before = pl.col("equity").shift(1, fill_value=capital)
    found = ends.with_columns(
        before=before,
        net=pl.col("equity") - before,
        gross=pl.col("gross") - pl.col("gross").shift(1, fill_value=capital),
    ).filter(pl.col("before") > 0)
    return {f"{c}_t": _t((found[c] / found["before"]).to_numpy()) for c in ("gross", "net")}


def _t(returns: np.ndarray) -> float | None:
    if len(returns) < 2 or returns.min() == returns.max():
        return None
    return float(returns.mean() / (returns.std(ddof=1) / math.sqrt(len(returns))))
