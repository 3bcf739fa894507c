"""What a fill pays, bar by bar: half-spread, impact, funding and the venue's filters.

The desk knows arrays alone; this is where a study's costs become numbers for each bar and symbol.
Nothing here looks at the bar it charges or at any later one.

A half-spread is stated, one for all or by symbol, or estimated from recorded books: with
``costs.half_spread = "books"`` and ``costs.books = "data/quotes"``, a file or folder of best bids
and asks (`recorded.quotes` says in which forms), it is the median over the time that quotes stood.
Symbols that nobody recorded are stated beside them, as in ``half_spread = {BTCUSDT = "books",
ADAUSDT = "1 bps"}``, and ``costs.hours = "books"`` takes the spread's day from there too. Books may
be of other days than the backtest: what they say of a spread is taken to hold for all of it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import datasets
from research.charges import depth
from research.charges.books import half_spreads, hour_multiples
from research.charges.delay import latency, measure_latency
from research.charges.recorded import estimate
from research.charges.schedule import Schedule, funding
from research.errors import UserError, nearest
from research.study import Study

__all__ = [
    "Schedule",
    "columns",
    "filters",
    "funding",
    "half_spreads",
    "hour_multiples",
    "latency",
    "levels",
    "measure_latency",
    "round_trip",
]

DAY = timedelta(days=1)


def round_trip(study: Study) -> float:
    """Return what entering and leaving a position costs on average, as a fraction of price.

    Below zero where a maker's rebate is more than the rest.

    Fees, half-spread and slippage of both sides, the half-spread averaged over symbols and hours.
    Impact is left out, for it depends on the size of the order, and so is funding, which depends
    on the time in the position.

    Examples
    --------
    >>> from research.study import Study
    >>> plain = {"costs.fee": "4 bps", "costs.half_spread": "1 bps", "costs.slippage": 0.0}
    >>> round(round_trip(Study().with_options(plain)), 12)
    0.001
    """
    stated: Any = study.costs.half_spread
    if stated == "books":
        stated = estimate(study.costs.books or "").half_spread
    symbols = datasets.symbols(study) or (sorted(stated) if isinstance(stated, dict) else ["all"])
    spread = float(np.mean(_half_spread(study, symbols)))
    return 2 * (study.fee + spread * float(np.mean(_hours(study))) + study.costs.slippage)


def _half_spread(study: Study, symbols: list[str]) -> np.ndarray:
    """Return each symbol's half-spread: stated, or as the recorded books have it."""
    costs, key = study.costs, "costs.half_spread"
    spread = costs.half_spread if isinstance(costs.half_spread, dict) else {}
    if costs.half_spread == "books":
        spread = dict.fromkeys(symbols, "books")
    if "books" not in spread.values():
        return _per_symbol(costs.half_spread, symbols, key)
    recorded = estimate(costs.books or "").half_spread
    for symbol in symbols:
        if spread.get(symbol) == "books" and symbol not in recorded:
            raise UserError(
                f"{key}: the recorded books hold no quote of {symbol!r}."
                f"{nearest(symbol, list(recorded))} Held: {', '.join(recorded)}. State a number "
                f'for it, as in {key} = {{{symbol} = "1 bps", ... = "books"}}.'
            )
    stated = {s: recorded.get(s, 0.0) if v == "books" else v for s, v in spread.items()}
    return _per_symbol(stated, symbols, key)


def _hours(study: Study) -> list[float]:
    hours = study.costs.hours
    return estimate(study.costs.books or "").hours if hours == "books" else hours


def columns(study: Study, bars: pl.DataFrame) -> pl.DataFrame:
    r"""Return what a fill inside each bar pays for crossing the spread and for its own size.

    .. math:: impact = k \, \sigma_{day} / \sqrt{Q_{day}}, \qquad
       \sigma_{day}^2 = \sum \ln^2 (c_i / c_{i-1})

    An order of notional N pays ``half_spread + impact * sqrt(N)`` as a fraction of price: the
    square-root law, by which an order as large as the day's volume pays `costs.impact` daily
    volatilities.

    Parameters
    ----------
    study : Study
        Its `costs.half_spread`, `costs.hours` and `costs.impact`; see `half_spreads` for what is
        made of recorded `costs.books`.
    bars : pl.DataFrame
        As `schema.BARS`. A bar without `quote_volume` counts volume times close.

    Returns
    -------
    pl.DataFrame
        ``symbol, time, half_spread, impact``, one row per bar in the order of `bars`.
        `half_spread` is a fraction, that of the UTC hour in which the bar opened. `impact` is a
        fraction per square root of quote currency; 0 where it is not known: in a symbol's first
        day, and after a day in which nothing was traded.

    Raises
    ------
    UserError
        If `costs.half_spread` is stated by symbol and leaves one out, or is to come from recorded
        books that hold none of it.

    Notes
    -----
    The day of a bar is the 1,440 minutes that ended when it opened: the bar itself is not in it.
    The square-root law after Toth et al. (2011), Anomalous price impact and the critical nature
    of liquidity in financial markets. Physical Review X 1, 021006.
    """
    costs, symbols = study.costs, bars["symbol"].unique().sort().to_list()
    spread = _half_spread(study, symbols)
    hours = np.asarray(_hours(study))[bars["open_time"].dt.hour().to_numpy()]
    code = bars["symbol"].replace_strict(symbols, range(len(symbols)), return_dtype=pl.Int64)
    impact = np.zeros(bars.height)
    if costs.impact:
        for s in range(len(symbols)):
            mine = np.flatnonzero(code.to_numpy() == s)
            impact[mine] = costs.impact * _cost_of_size(bars[mine])
    return bars.select(
        "symbol",
        "time",
        half_spread=pl.Series(spread[code.to_numpy()] * hours),
        impact=pl.Series(impact),
    )


def levels(study: Study, table: pl.DataFrame, symbols: list[str]) -> np.ndarray | None:
    """Return the recorded book that a fill in each bar walks, where `costs.fill` is ``book``.

    Parameters
    ----------
    study : Study
        Its `costs.books` names what was recorded, see `depth.at` for its forms.
    table : pl.DataFrame
        ``code, opened``: the number of the bar's symbol, and its open in microseconds.
    symbols : list of str
        By number.

    Returns
    -------
    np.ndarray or None
        Shape (n_rows, 2, depth, 2), see `trading.depth`: the newest book recorded at the open plus
        what `costs.latency` is beyond whole bars, a minute old at most.

    Raises
    ------
    UserError
        If a bar has no such book, or one that cannot be, as it is crossed or out of order: nothing
        stands in for one that was not recorded.
    """
    if study.costs.fill != "book":
        return None
    if study.costs.books is None:
        raise UserError(
            "costs.fill: 'book' needs costs.books in a backtest, a file or folder of recorded "
            "books. Name it, or take costs.fill=open."
        )
    us = timedelta(microseconds=1)
    when = table["opened"].to_numpy() + latency(study) % study.data.interval // us
    code = table["code"].to_numpy()
    found, known, wrong = depth.at(study.costs.books, symbols, code, when)
    if not known.all():
        first = int(np.argmin(known))
        moment = pl.from_epoch(pl.Series([int(when[first])]), "us").item()
        beside = f" ({wrong.sum():,} more are crossed or out of order)" if wrong.any() else ""
        raise UserError(
            f"costs.fill: 'book' needs a book for every bar, and {study.costs.books} covers "
            f"{int(known.sum()):,} of {len(known):,}{beside}; the first without is "
            f"{symbols[code[first]]} at {moment:%Y-%m-%d %H:%M:%S}. Choose data.start and data.end "
            "within what was recorded, or take costs.fill=open."
        )
    return found


def _cost_of_size(bars: pl.DataFrame) -> np.ndarray:
    """Daily volatility over the root of daily volume, before each bar of one symbol; 0: unknown."""
    micros = bars.select(pl.col("open_time", "time").dt.epoch("us"))
    opened, known = (micros[name].to_numpy() for name in ("open_time", "time"))
    since = opened - DAY // timedelta(microseconds=1)
    begin, end = (np.searchsorted(known, at, side="right") for at in (since, opened))
    before = pl.col("close").shift(1).fill_null(pl.col("open"))
    quote = pl.coalesce("quote_volume", pl.col("volume") * pl.col("close"))
    moved = bars.select((pl.col("close") / before).log() ** 2).to_series().to_numpy()
    variance = _window_sums(moved, begin, end)
    traded = _window_sums(bars.select(quote.fill_null(0.0)).to_series().to_numpy(), begin, end)
    found = (since >= opened[0]) & (traded > 0)
    return np.where(found, np.sqrt(variance / np.where(found, traded, 1.0)), 0.0)


def _window_sums(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Sum ``values[begin:end]`` of every pair, each afresh.

    A running sum would carry rounding from bars that left long ago: the same bar would then cost
    something else in a longer history.
    """
    edges = np.column_stack([begin, end]).ravel()
    sums = np.add.reduceat(np.append(values, 0.0), edges)[::2]
    return np.where(begin < end, sums, 0.0)


def filters(study: Study, symbols: list[str]) -> dict[str, Any]:
    """Return the venue's filters on orders.

    Parameters
    ----------
    study : Study
        Its `costs.lot`, `costs.tick` and `costs.min_notional`.
    symbols : list of str
        In the order in which the desk numbers them.

    Returns
    -------
    dict
        `lot` (base currency) and `tick` (price), float64 arrays of one number per symbol, 0 for
        none; `min_notional`, a number in quote currency.

    Raises
    ------
    UserError
        If a filter is stated by symbol and leaves one out, or a half-spread or a filter is stated
        for a symbol that is neither among `symbols` nor in the store.

    Examples
    --------
    >>> from research.study import Study
    >>> filters(Study().with_options({"costs.lot": {"A": 0.1, "B": 1}}), ["B", "A"])["lot"]
    array([1. , 0.1])
    """
    costs = study.costs
    for key in ("half_spread", "lot", "tick"):
        _check_names(study, getattr(costs, key), symbols, f"costs.{key}")
    return {
        "lot": _per_symbol(costs.lot, symbols, "costs.lot"),
        "tick": _per_symbol(costs.tick, symbols, "costs.tick"),
        "min_notional": costs.min_notional,
    }


def _per_symbol(stated: Any, symbols: list[str], key: str) -> np.ndarray:
    if not isinstance(stated, dict):
        return np.full(len(symbols), float(stated))
    for symbol in symbols:
        if symbol not in stated:
            raise UserError(
                f"{key}: {symbol!r} is not named.{nearest(symbol, list(stated))} Named are "
                f"{', '.join(stated)}; name every symbol of the study, or state one number for all."
            )
    return np.array([stated[symbol] for symbol in symbols], dtype=np.float64)


def _check_names(study: Study, stated: Any, symbols: list[str], key: str) -> None:
    """Refuse a name that is misspelt; one that is stored is only left out of this study."""
    strange = [s for s in stated if s not in symbols] if isinstance(stated, dict) else []
    held = datasets.held(study) if strange else []
    for symbol in strange:
        if symbol not in held:
            raise UserError(
                f"{key}: {symbol!r} is no symbol of the study.{nearest(symbol, symbols)} Its "
                f"symbols: {', '.join(symbols)}. Mend the name, or leave it out."
            )
