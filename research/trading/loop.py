"""The desk's loop: `scan` takes the desk through moments, many at once or one at a time.

Within one `time`: orders that have arrived are filled, in symbol order; then liquidations, stops
and takes inside the bars; then marks to the closes and funding; then, at one equity for all,
the account's limits and decisions in symbol order. A bar without volume fills nothing, neither
order nor stop; nor does one whose book is not known, where fills walk books. An account whose
equity is not above zero at a close is ruined: it leaves what it holds and trades no more.
"""

from typing import Any

import numpy as np

from research.errors import UserError
from research.steps import compiled
from research.trading.account import (
    Book,
    Venue,
    equity,
    fund,
    look_up,
    new_book,
    new_venue,
)
from research.trading.depth import fills, row_of, untouched
from research.trading.fills import Bar, Charge, close, fill, meet
from research.trading.glide import glide
from research.trading.journal import Bars, Journal, Result, Trades, new_journal
from research.trading.orders import Close, Scale, choose, order, side_by_side
from research.trading.risk import exit_inside, judge
from research.trading.rules.words import ACTIVE, END, WAITING, Rules


@compiled
def scan(
    book: Book, bars: Bars, rules: Rules, venue: Venue, journal: Journal, start: int, t: int
) -> tuple[int, int, int, int]:
    """Take the desk through the moments of `bars` from row `start` on.

    Parameters
    ----------
    book : Book
        Updated in place.
    bars : Bars
        A backtest hands in all of them, a live desk those of one moment.
    rules : Rules
        Strategy and costs.
    venue : Venue
        Steps of quantity and price, and what is known so far of funding.
    journal : Journal
        Written from event `start` and moment `t` on; its trades and flows from the first.

    Returns
    -------
    tuple of int
        The next row and moment, and the numbers of trades and flows written. The row is below
        ``len(bars.time)`` where the room for them might not have lasted: a moment may end two
        round trips per position.
    """
    # arrays by their own names: numba counts references whenever one is taken out of a tuple
    times, openings, symbols, opens, highs, lows, closes, volumes = bars[:8]
    forecasts, bins, sigmas, spreads, impacts, levels = bars[8:]
    reasons, positions, equities, trades, flows = journal
    steps, ticks, purse, lots = venue.lot, venue.tick, book.purse[0], book.lots
    lanes, n, count, flow, room = rules.overlap, len(times), 0, 0, len(trades) - 2 * len(lots)
    look_up(lots, venue)
    while start < n and count <= room and flow < len(flows):
        if len(lots) == 1 and lots[0].order < 0 and purse.state == ACTIVE and not purse.ruined:
            start, t = glide(purse, lots[0], bars, rules, reasons, positions, equities, start, t)
            if start == n:
                break
        time, stop = times[start], end_of(times, start)
        taken = untouched(levels, len(steps))
        for lane in range(lanes):
            for k in range(start, stop):
                lot = lots[symbols[k] * lanes + lane]
                lot.said = -1
                fund(purse, lot, openings[k], venue)  # of a gap: on what was held through it
                if lot.order >= 0 and fills(volumes[k], levels, k) and lot.arrival < time:
                    bar = Bar(time, openings[k], opens[k], highs[k], lows[k], closes[k])
                    charge = paid(k, symbols[k], spreads, impacts, steps, ticks, levels, taken)
                    when, price = meet(lot, bar)
                    fund(purse, lot, when, venue)
                    count += fill(purse, lots, lot, trades[count], price, when, charge, rules)
                elif lot.order >= 0:
                    lot.said = WAITING
        for lane in range(lanes):
            for k in range(start, stop):
                lot = lots[symbols[k] * lanes + lane]
                if lot.position != 0.0:
                    lot.mark = opens[k]
                    fund(purse, lot, time - 1, venue)
                    bar = Bar(time, openings[k], opens[k], highs[k], lows[k], closes[k])
                    reason, price = exit_inside(lot, bar, rules)
                    if reason >= 0 and fills(volumes[k], levels, k):
                        row = trades[count]
                        charge = paid(k, symbols[k], spreads, impacts, steps, ticks, levels, taken)
                        count += leave(purse, lot, row, price, time, reason, charge, rules)
                lot.mark, lot.seen = closes[k], time
                fund(purse, lot, time, venue)
                positions[k] = lot.position if lane == 0 else positions[k] + lot.position
        equities[t] = equity(purse, lots)
        state = judge(purse, lots, openings[start], equities[t], rules)
        for k in range(start, stop):
            known = Close(time, forecasts[k], bins[k], purse.equity, state)
            if lanes > 1:
                scale = Scale(sigmas[k], closes[k], steps[symbols[k]])
                reasons[k] = side_by_side(lots, symbols[k] * lanes, known, scale, rules)
                continue
            lot = lots[symbols[k]]
            side, reason, target = choose(lot, known, rules)
            if target != side:
                scale = Scale(sigmas[k], closes[k], steps[symbols[k]])
                reason = order(lots, lot, reason, target, known, scale, rules)
            reasons[k] = reason
        if purse.traded != 0.0 or purse.funding != 0.0:
            write(flows[flow], t, purse)
            flow += 1
        start, t = stop, t + 1
    return start, t, count, flow


@compiled
def paid(
    k: int,
    symbol: int,
    spreads: np.ndarray,
    impacts: np.ndarray,
    steps: np.ndarray,
    ticks: np.ndarray,
    levels: Any,
    taken: Any,
) -> Charge:
    """Return what a fill of a symbol in row `k` pays."""
    shown, gone = row_of(levels, k), row_of(taken, symbol)
    return Charge(spreads[k], impacts[k], steps[symbol], ticks[symbol], shown, gone)


@compiled
def end_of(times: np.ndarray, start: int) -> int:
    """Return the row after the last one of the moment that begins at row `start`."""
    stop = start + 1
    while stop < len(times) and times[stop] == times[start]:
        stop += 1
    return stop


@compiled
def leave(
    purse: Any,
    lot: Any,
    row: Any,
    price: float,
    time: int,
    reason: int,
    charge: Charge,
    rules: Rules,
) -> int:
    """Close what is held inside a bar; an order that waits to close it is waited for no more."""
    lot.said = reason
    if lot.target == 0:
        lot.order = -1
    return close(purse, lot, row, price, time, reason, charge, rules)


@compiled
def write(flow: Any, t: int, purse: Any) -> None:
    """Write down what moment `t` cost, and begin the next at zero."""
    flow.moment, flow.fees, flow.slippage = t, purse.fees, purse.slippage
    flow.funding, flow.traded = purse.funding, purse.traded
    purse.fees = purse.slippage = purse.funding = purse.traded = 0.0


def run(
    time_us: np.ndarray,
    symbol: np.ndarray,
    open: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    volume: np.ndarray,
    forecast: np.ndarray,
    bin: np.ndarray,
    n_symbols: int,
    rules: Rules,
    capital: float,
    *,
    opened: np.ndarray | None = None,
    sigma: np.ndarray | None = None,
    half_spread: np.ndarray | None = None,
    impact: np.ndarray | None = None,
    levels: np.ndarray | None = None,
    venue: Venue | None = None,
) -> Result:
    """Trade `rules` over stored bars with one account.

    Parameters
    ----------
    time_us : np.ndarray of int64, shape (n_events,)
        Close of each bar, microseconds since 1970 UTC; rows sorted by (time, symbol).
    symbol : np.ndarray of int, shape (n_events,)
        From 0 to ``n_symbols - 1``.
    open, high, low, close, volume : np.ndarray, shape (n_events,)
        The bars.
    forecast : np.ndarray, shape (n_events,)
        Expected simple return known at the close, or what the rule trades (see
        `rules.probability`); NaN where there is none.
    bin : np.ndarray of int, shape (n_events,)
        Quantile bin of the forecast by cut-points known at the close, from 1; 0 where none.
    n_symbols : int
        How many there are; the default size of a position is equity over them.
    rules : Rules
        Strategy and costs.
    capital : float
        Cash at the start.
    opened : np.ndarray of int64, shape (n_events,), optional
        When each bar opened, likewise. Absent: ``rules.interval`` before its close.
    sigma : np.ndarray, shape (n_events,), optional
        Volatility of one bar's simple return, known at the close; not above 0: not known.
    half_spread, impact : np.ndarray, shape (n_events,), optional
        What a fill inside the bar pays (see `fills.worsened`). Absent: nothing.
    levels : np.ndarray, shape (n_events, 2, depth, 2), optional
        The book that a fill inside the bar walks, see `depth`, where the rules say so; zeros where
        none is known.
    venue : Venue, optional
        Steps of quantity and price, and funding. Absent: any step, and none.

    Returns
    -------
    Result

    Raises
    ------
    UserError
        If columns differ in length, rows are out of order, a symbol is out of range, capital is
        not above 0, or books are walked and there are none, or the other way round.

    Notes
    -----
    What is decided at a close knows bars up to that close and fills at the symbol's next open.
    Positions still open at the end are closed at their last close, with costs, for reason `end`.

    Examples
    --------
    Long at 100, closed in the books at 110, at a fee of 1 %:

    >>> from datetime import timedelta
    >>> from research.trading.rules import threshold, with_costs
    >>> rules = with_costs(threshold(enter=0.0, interval=timedelta(microseconds=1)), fee=0.01)
    >>> p, one = np.array([100.0, 110.0]), np.ones(2)
    >>> result = run(np.array([1, 2]), np.zeros(2), np.array([100.0, 100.0]), p, p - 10, p, one,
    ...              one, np.zeros(2), 1, rules, 1010.0)
    >>> result.equity.round(2).tolist(), result.trades.net.round(2).tolist()
    ([1010.0, 1089.0], [79.0])
    """
    n, time = len(time_us), np.ascontiguousarray(time_us, np.int64)
    begun = time - rules.interval if opened is None else opened
    extra = (np.zeros(n) if c is None else c for c in (sigma, half_spread, impact))
    columns = (time, begun, symbol, open, high, low, close, volume, forecast, bin, *extra)
    dtypes = (np.int64,) * 3 + (np.float64,) * 6 + (np.int64,) + (np.float64,) * 3
    bars = Bars(*(np.ascontiguousarray(c, d) for c, d in zip(columns, dtypes)))
    bars = bars._replace(levels=levels)
    n_times, lots = _checked(bars, n_symbols, rules, capital), n_symbols * rules.overlap
    book, parts = new_book(n_symbols, float(capital), rules.overlap), []
    journal, asked = new_journal(n, n_times, lots), venue or new_venue(n_symbols)
    start = t = 0
    while start < n:
        start, t, count, flow = scan(book, bars, rules, asked, journal, start, t)
        parts.append((journal.trades[:count].copy(), journal.flows[:flow].copy()))
    parts.append(_finish(book, bars, rules, asked, journal))
    rows, flows = (_joined(chunks) for chunks in zip(*parts))
    trades = Trades(*(np.ascontiguousarray(rows[name]) for name in Trades._fields))
    return Result(float(capital), *journal[:3], trades, flows, bars)


def _joined(chunks: tuple[np.ndarray, ...]) -> np.ndarray:
    """Put records behind one another; numpy takes its time for that, so not where one is all."""
    filled = [chunk for chunk in chunks if len(chunk)] or [chunks[0]]
    return (np.concatenate(filled) if len(filled) > 1 else filled[0]).view(np.ndarray)


def _finish(
    book: Book, bars: Bars, rules: Rules, venue: Venue, journal: Journal
) -> tuple[np.ndarray, np.ndarray]:
    """Close what is open at the last closes, in the books, with costs, so that trades are whole."""
    n_held = np.count_nonzero(book.lots.position)
    purse, count, k = book.purse[0], 0, len(bars.time)
    while count < n_held:
        k -= 1
        symbol = bars.symbol[k]
        steps = (float(venue.lot[symbol]), float(venue.tick[symbol]))
        levels = None if bars.levels is None else bars.levels[k]
        gone = None if levels is None else np.zeros(2)
        charge = Charge(float(bars.half_spread[k]), float(bars.impact[k]), *steps, levels, gone)
        for i in range(symbol * rules.overlap, (symbol + 1) * rules.overlap):
            lot = book.lots[i]
            if lot.position != 0.0:
                row = journal.trades[count]
                count += close(purse, lot, row, lot.mark, int(lot.seen), END, charge, rules)
                journal.reason[k], journal.position[k] = END, 0.0
    if n_held:
        purse.equity = journal.equity[-1] = equity(purse, book.lots)
        write(journal.flows[0], len(journal.equity) - 1, purse)
    return journal.trades[:count], journal.flows[: min(n_held, 1)]


def _checked(bars: Bars, n_symbols: int, rules: Rules, capital: float) -> int:
    """Return the number of distinct times, or say what is wrong with the rows."""
    if rules.walks != (bars.levels is not None):
        found = "none" if bars.levels is None else "some"
        raise UserError(f"backtest: rules.walks is {rules.walks}, but of books there are {found}.")
    lengths = {name: len(c) for name, c in zip(Bars._fields, bars) if c is not None}
    if len(set(lengths.values())) != 1:
        raise UserError(f"backtest: columns must be of one length, found {lengths}.")
    if not 0 < capital < np.inf:
        raise UserError(f"backtest: capital must be above 0, found {capital}.")
    n_times = _count_times(bars.time, bars.symbol, n_symbols)
    if n_times < 0:
        _complain(bars.time, bars.symbol, n_symbols)
    return n_times


@compiled
def _count_times(time: np.ndarray, symbol: np.ndarray, n_symbols: int) -> int:
    """Count the distinct times; -1 where a row is bad. Without a way out: that runs in SIMD."""
    if len(time) == 0:
        return 0
    count, bad = 1, (symbol[0] < 0) | (symbol[0] >= n_symbols)
    before, after, former, latter = time[:-1], time[1:], symbol[:-1], symbol[1:]
    for k in range(len(after)):
        later = after[k] > before[k]
        count += later
        bad |= (latter[k] < 0) | (latter[k] >= n_symbols)
        bad |= (not later) & ((after[k] < before[k]) | (latter[k] <= former[k]))
    return -1 if bad else count


def _complain(time: np.ndarray, symbol: np.ndarray, n_symbols: int) -> None:
    """Say what is wrong with the first bad row."""
    unknown, early = (symbol < 0) | (symbol >= n_symbols), np.zeros(len(time), bool)
    same = time[1:] == time[:-1]
    early[1:] = (time[1:] < time[:-1]) | (same & (symbol[1:] <= symbol[:-1]))
    row = int(np.argmax(unknown | early))
    if unknown[row]:
        raise UserError(
            f"backtest: symbols must be from 0 to {n_symbols - 1}, found {symbol[row]} "
            f"in row {row}."
        )
    raise UserError(
        f"backtest: rows must be sorted by (time, symbol) without repeats, row {row} is not: "
        f"symbol {symbol[row]} at {time[row]} us. Use sort('time', 'symbol')."
    )
