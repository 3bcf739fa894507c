"""What the venue's market did and what of it may be seen: bars, their trades, the forming bar."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import polars as pl

from research import schema
from research.errors import UserError, nearest
from research.sim import books, prints
from research.sim.books import Levels
from research.sim.prints import Candle, Print

US = 1_000_000
MINUTE = 60 * US


class Seen(NamedTuple):
    """A candle as it stands at a moment."""

    candle: Candle
    closed: bool


class Market:
    """Played bars of several symbols.

    Parameters
    ----------
    bars : pl.DataFrame
        As `schema.BARS`, all of one interval; unknown extras are made up.
    start : int or None
        Bars closed by then, microseconds UTC, are history; the rest is played. None: all but the
        first close.
    seed : int
        Of the prints within a bar.

    Raises
    ------
    UserError
        If there is no bar to play or bars differ in length.
    """

    def __init__(self, bars: pl.DataFrame, *, start: int | None = None, seed: int = 0) -> None:
        schema.check(bars, schema.BARS, "simulated exchange")
        if bars.is_empty():
            raise UserError("Simulated exchange: needs at least one bar, the table is empty.")
        lengths = (bars["time"] - bars["open_time"]).dt.total_microseconds().unique().to_list()
        if len(lengths) > 1:
            raise UserError(
                "Simulated exchange: bars must be of one interval, found "
                f"{', '.join(f'{n / MINUTE:g} min' for n in sorted(lengths)[:3])}."
            )
        self.interval: int = lengths[0]
        self.closes: list[int] = bars["time"].unique().sort().dt.epoch("us").to_list()
        self.start = self.closes[0] if start is None else start
        self.played = self.closes[bisect_right(self.closes, self.start) :]
        if not self.played:
            raise UserError(
                "Simulated exchange: nothing to play, no bar closes after the start. "
                "Start earlier or hand in later bars."
            )
        self._seed = seed
        self._series = {
            str(name[0]): _Series(rows)
            for name, rows in bars.group_by("symbol", maintain_order=True)
        }
        self.withheld: dict[tuple[str, int], int | None] = {}
        """Bars (symbol, close) that are not shown before a moment, or never."""
        self.revised: dict[tuple[str, int], float] = {}
        """Closes (symbol, close) that REST gives another way once they were revised."""
        self.prints = lru_cache(maxsize=4096)(self._prints)

    @property
    def symbols(self) -> list[str]:
        """All symbols, sorted."""
        return sorted(self._series)

    def series(self, symbol: str) -> _Series:
        """Return all of `symbol`, seen or not."""
        try:
            return self._series[symbol]
        except KeyError:
            hint = nearest(symbol, self.symbols)
            raise UserError(f"Simulated exchange: no symbol {symbol!r}.{hint}") from None

    def book(self, symbol: str, price: float, moment: int) -> Levels:
        """Return the book of `symbol` around `price` at `moment`; it shows a usual bar's volume."""
        key = f"{self._seed}|{symbol}|{moment}"
        return books.made(price, self.series(symbol).mean_volume, key)

    def number(self, moment: int) -> int:
        """Return the number of the newest played bar closed by `moment`; -1 before the first."""
        return bisect_right(self.played, moment) - 1

    def hidden(self, symbol: str, close: int, now: int) -> bool:
        """Return whether the bar is withheld at `now`."""
        if (symbol, close) not in self.withheld:
            return False
        shown = self.withheld[symbol, close]
        return shown is None or now < shown

    def closed(self, symbol: str, close: int, interval: int | None = None) -> Candle | None:
        """Return the bar of `symbol` that closes at `close`, None where there is none shown."""
        interval = interval or self.interval
        seen = self.candles(symbol, interval, close - interval, close - 1, now=close)
        return seen[0].candle if seen and seen[0].closed else None

    def forming(self, symbol: str, now: int, interval: int | None = None) -> Candle | None:
        """Return the bar of `symbol` that is open at `now`, from its trades so far."""
        interval = interval or self.interval
        seen = self.candles(symbol, interval, now - now % interval, now, now=now)
        return seen[-1].candle if seen and not seen[-1].closed else None

    def candles(
        self, symbol: str, interval: int, start: int, end: int, *, now: int, first: int = 0
    ) -> list[Seen]:
        """Return what can be seen at `now` of bars opening in start..end, oldest first.

        Parameters
        ----------
        symbol : str
            One of `symbols`.
        interval : int
            Microseconds; a multiple of the bars' own.
        start, end : int
            First and last open time, microseconds UTC.
        now : int
            The last bar is unclosed if it closes after `now`.
        first : int
            At most so many: the first ones if above 0, the last ones if below, all if 0.
        """
        series = self.series(symbol)
        start += -start % interval
        end = min(end, now)
        low = bisect_left(series.opens, start)
        high = bisect_left(series.opens, end - end % interval + interval)
        reach = abs(first) * (interval // self.interval)
        spare = interval // self.interval + len(self.withheld)
        if first > 0:
            high = min(high, low + reach + spare)
        elif first < 0:
            low = max(low, high - reach - spare)
        rows = self._visible(symbol, series, low, high, now)
        seen = rows if interval == self.interval else list(_joined(rows, interval, now))
        seen = [s for s in seen if s.candle.open_time >= start]
        return seen[:first] if first > 0 else seen[first:]

    def _visible(self, symbol: str, series: _Series, low: int, high: int, now: int) -> list[Seen]:
        out = []
        for place in range(low, high):
            candle = series.candles[place]
            if candle.open_time > now:
                break
            if self.withheld and self.hidden(symbol, candle.close_time, now):
                continue
            if candle.close_time <= now:
                close = self.revised.get((symbol, candle.close_time))
                out.append(Seen(candle if close is None else revised(candle, close), True))
            else:
                out.append(Seen(self._so_far(symbol, place, now), False))
        return out

    def _so_far(self, symbol: str, place: int, now: int) -> Candle:
        whole = self._series[symbol].candles[place]
        return joined([p for p in self.prints(symbol, place) if p.time <= now], whole)

    def _prints(self, symbol: str, place: int) -> list[Print]:
        series = self._series[symbol]
        return prints.made(series.candles[place], series.ids[place], f"{self._seed}|{symbol}")

    def trades(self, symbol: str, start: int, end: int, *, now: int, most: int) -> list[Print]:
        """Return the first `most` prints of `symbol` with a time in start..end, seen at `now`."""
        series = self.series(symbol)
        place = max(bisect_right(series.opens, start) - 1, 0)
        out: list[Print] = []
        while (
            place < len(series.opens) and series.opens[place] <= min(end, now) and len(out) < most
        ):
            if not self.hidden(symbol, series.candles[place].close_time, now):
                made = self.prints(symbol, place)
                out += [p for p in made if start <= p.time <= min(end, now)]
            place += 1
        return out[:most]

    def time_of(self, symbol: str, print_id: int) -> int:
        """Return the time of a print, or of the next where there is none of that id."""
        series = self.series(symbol)
        place = bisect_right(series.ids, print_id) - 1
        if place < 0:
            return series.opens[0]
        made = self.prints(symbol, min(place, len(series.opens) - 1))
        late = series.candles[-1].close_time
        return next((p.time for p in made if p.id >= print_id), late)


class _Series:
    """All bars of one symbol, in order, with the ids of their first prints."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.candles = _candles(rows)
        self.opens = [candle.open_time for candle in self.candles]
        self.ids = list(accumulate(prints.counts(self.candles), initial=1))
        traded = [candle.volume for candle in self.candles if candle.volume > 0]
        self.mean_volume = sum(traded) / len(traded) if traded else 1.0


def _candles(rows: pl.DataFrame) -> list[Candle]:
    """Return the rows as candles; what a source lacks is made up from what it has."""
    mean = pl.sum_horizontal(*schema.PRICES) / 4
    quote = pl.col("quote_volume").fill_null(pl.col("volume") * mean)
    buy = pl.col("taker_buy_volume").fill_null(pl.col("volume") / 2)
    share = pl.when(pl.col("volume") > 0).then(buy / pl.col("volume")).otherwise(0.0)
    trades = pl.col("trades").fill_null(pl.when(pl.col("volume") > 0).then(10).otherwise(0))
    table = rows.select(
        pl.col("open_time", "time").dt.epoch("us"),
        *schema.PRICES,
        "volume",
        quote,
        trades.alias("n"),
        buy.alias("buy"),
        pl.col("taker_buy_quote_volume").fill_null(quote * share).alias("buy_quote"),
        (1 + trades.cum_sum() - trades).alias("first"),
    )
    return [Candle(*row) for row in table.iter_rows()]


def revised(candle: Candle, close: float) -> Candle:
    """Return `candle` with another close, which its high and low hold."""
    high, low = max(candle.high, close), min(candle.low, close)
    return candle._replace(close=close, high=high, low=low)


def joined(made: list[Print], whole: Candle) -> Candle:
    """Return the bar that prints make; without any, a flat one at the open of `whole`.

    >>> bar = Candle(0, 60_000_000, 1.0, 1.2, 0.9, 1.1, 5.0, 5.2, 40, 2.0, 2.1, first=1)
    >>> joined(prints.made(bar, 1, "a seed"), bar)[2:6]
    (1.0, 1.2, 0.9, 1.1)
    """
    if not made:
        price = whole.open
        return whole._replace(
            high=price,
            low=price,
            close=price,
            volume=0.0,
            quote=0.0,
            trades=0,
            buy=0.0,
            buy_quote=0.0,
        )
    prices = [p.price for p in made]
    took = [p for p in made if not p.maker]
    return whole._replace(
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(p.quantity for p in made),
        quote=sum(p.quantity * p.price for p in made),
        trades=sum(p.last - p.first + 1 for p in made),
        buy=sum(p.quantity for p in took),
        buy_quote=sum(p.quantity * p.price for p in took),
    )


def _joined(rows: list[Seen], interval: int, now: int) -> Iterable[Seen]:
    """Join bars to longer ones; one that closes after `now` is unclosed."""
    group: list[Candle] = []
    for seen in rows:
        start = seen.candle.open_time - seen.candle.open_time % interval
        if group and group[0].open_time - group[0].open_time % interval != start:
            yield _one(group, interval, now)
            group = []
        group.append(seen.candle)
    if group:
        yield _one(group, interval, now)


def _one(group: list[Candle], interval: int, now: int) -> Seen:
    start = group[0].open_time - group[0].open_time % interval
    candle = Candle(
        start,
        start + interval,
        group[0].open,
        max(c.high for c in group),
        min(c.low for c in group),
        group[-1].close,
        sum(c.volume for c in group),
        sum(c.quote for c in group),
        sum(c.trades for c in group),
        sum(c.buy for c in group),
        sum(c.buy_quote for c in group),
        group[0].first,
    )
    return Seen(candle, candle.close_time <= now)
