"""The desk's loop: `scan` takes the desk through moments, many at once or one at a time.

Within one `time`: orders decided at the symbol's previous close fill at the open, in symbol order;
then stops and takes inside the bars; then marks to the closes and funding; then, at one equity for
all, decisions in symbol order. A bar without volume fills nothing, neither order nor stop.
"""

from typing import Any

import numpy as np

from research.errors import UserError
from research.steps import compiled
from research.trading.account import Book, equity, fund, new_book
from research.trading.fills import at_open, close
from research.trading.journal import Bars, Journal, Result, Trades, new_journal, room
from research.trading.risk import exit_inside
from research.trading.rules import END, HOLD, WAITING, Rules, View, decide
from research.trading.sizing import share


@compiled
def scan(
    book: Book, bars: Bars, rules: Rules, journal: Journal, start: int, t: int
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
    journal : Journal
        Written from event `start` and moment `t` on; its trades and flows from the first.

    Returns
    -------
    tuple of int
        The next row and moment, and the numbers of trades and flows written. The row is below
        ``len(bars.time)`` where the room for them might not have lasted: a moment may end two
        round trips per symbol.
    """
    # arrays by their own names: numba counts references whenever one is taken out of a tuple
    times, symbols, opens, highs, lows, closes, volumes, forecasts, bins = bars
    reasons, positions, equities, trades, flows = journal
    purse, lots, n, count, flow = book.purse[0], book.lots, len(times), 0, 0
    room = len(trades) - 2 * len(lots)
    while start < n and count <= room and flow < len(flows):
        time, stop = times[start], start + 1
        opened = time - rules.interval
        while stop < n and times[stop] == time:
            stop += 1
        for k in range(start, stop):
            lot = lots[symbols[k]]
            reasons[k] = -1
            if opened > lot.seen:  # a gap, whose funding falls on what was held through it
                fund(purse, lot, lot.seen, opened, rules.funding)
            if lot.order >= 0 and volumes[k] > 0.0:
                trades[count].symbol = symbols[k]
                count += at_open(purse, lots, lot, trades[count], opens[k], opened, rules)
            elif lot.order >= 0:
                reasons[k] = WAITING
        for k in range(start, stop):
            lot = lots[symbols[k]]
            if lot.position != 0.0:
                lot.mark = opens[k]
                fund(purse, lot, opened, time - 1, rules.funding)
                reason, price = exit_inside(
                    lot.position, lot.entry, opens[k], highs[k], lows[k], rules
                )
                if reason >= 0 and volumes[k] > 0.0:
                    reasons[k] = reason
                    trades[count].symbol = symbols[k]
                    count += close(purse, lot, trades[count], price, time, reason, rules)
            lot.mark, lot.seen = closes[k], time
            fund(purse, lot, time - 1, time, rules.funding)
            positions[k] = lot.position
        purse.equity = equities[t] = equity(purse, lots)
        for k in range(start, stop):
            if reasons[k] < 0:
                lot, worth = lots[symbols[k]], purse.equity
                reasons[k] = order(lot, time, forecasts[k], bins[k], worth, len(lots), rules)
        if purse.traded != 0.0 or purse.funding != 0.0:
            write(flows[flow], t, purse)
            flow += 1
        start, t = stop, t + 1
    return start, t, count, flow


@compiled
def order(
    lot: Any, time: int, forecast: float, bin: int, equity: float, n_symbols: int, rules: Rules
) -> int:
    """Decide, and leave an order for the next open where the side wanted is not the side held."""
    side = 1 if lot.position > 0.0 else -1 if lot.position < 0.0 else 0
    age = time - lot.since
    reason, target = decide(View(side, age, lot.rest - time, forecast, bin, equity), rules)
    if target != side:
        lot.order, lot.target = reason, target
        lot.notional = share(equity, n_symbols)
    elif reason == HOLD and 0 < rules.hold <= age:
        lot.since = time
    return reason


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
        Expected simple return known at the close; NaN where there is none.
    bin : np.ndarray of int, shape (n_events,)
        Quantile bin of the forecast by cut-points known at the close, from 1; 0 where none.
    n_symbols : int
        Equity is shared by so many: a new position is worth ``equity / n_symbols``.
    rules : Rules
        Strategy and costs.
    capital : float
        Cash at the start.

    Returns
    -------
    Result

    Raises
    ------
    UserError
        If columns differ in length, rows are out of order, a symbol is out of range, or capital
        is not above 0.

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
    columns = (time_us, symbol, open, high, low, close, volume, forecast, bin)
    dtypes = (np.int64, np.int64, *(np.float64,) * 6, np.int64)
    bars = Bars(*(np.ascontiguousarray(c, d) for c, d in zip(columns, dtypes)))
    book, parts = new_book(n_symbols, float(capital)), []
    journal = new_journal(len(bars.time), _checked(bars, n_symbols, capital), n_symbols)
    start = t = 0
    while start < len(bars.time):
        start, t, count, flow = scan(book, bars, rules, journal, start, t)
        parts.append((journal.trades[:count], journal.flows[:flow]))
        journal = Journal(*journal[:3], *room(n_symbols))
    parts.append(_finish(book, bars, rules, journal))
    rows, flows = (np.concatenate(chunks) for chunks in zip(*parts))
    trades = Trades(*(np.ascontiguousarray(rows[name]) for name in Trades._fields))
    return Result(float(capital), *journal[:3], trades, flows, bars)


def _finish(
    book: Book, bars: Bars, rules: Rules, journal: Journal
) -> tuple[np.ndarray, np.ndarray]:
    """Close what is open at the last closes, in the books, with costs, so that trades are whole."""
    n_held = np.count_nonzero(book.lots.position)
    purse, count, k = book.purse[0], 0, len(bars.time)
    while count < n_held:
        k -= 1
        lot = book.lots[bars.symbol[k]]
        if lot.position != 0.0:
            row = journal.trades[count]
            row.symbol = bars.symbol[k]
            count += close(purse, lot, row, lot.mark, int(lot.seen), END, rules)
            journal.reason[k], journal.position[k] = END, 0.0
    if n_held:
        purse.equity = journal.equity[-1] = equity(purse, book.lots)
        write(journal.flows[0], len(journal.equity) - 1, purse)
    return journal.trades[:count], journal.flows[: min(n_held, 1)]


def _checked(bars: Bars, n_symbols: int, capital: float) -> int:
    """Return the number of distinct times, or say what is wrong with the rows."""
    lengths = {name: len(column) for name, column in zip(Bars._fields, bars)}
    if len(set(lengths.values())) != 1:
        raise UserError(f"backtest: columns must be of one length, found {lengths}.")
    if not 0 < capital < np.inf:
        raise UserError(f"backtest: capital must be above 0, found {capital}.")
    n_times, row = _count_times(bars.time, bars.symbol, n_symbols)
    if row >= 0 and not 0 <= bars.symbol[row] < n_symbols:
        raise UserError(
            f"backtest: symbols must be from 0 to {n_symbols - 1}, found {bars.symbol[row]} "
            f"in row {row}."
        )
    if row >= 0:
        raise UserError(
            f"backtest: rows must be sorted by (time, symbol) without repeats, row {row} is not: "
            f"symbol {bars.symbol[row]} at {bars.time[row]} us. Use sort('time', 'symbol')."
        )
    return n_times


@compiled
def _count_times(time: np.ndarray, symbol: np.ndarray, n_symbols: int) -> tuple[int, int]:
    """Count the distinct times; the second number is the first bad row, or -1."""
    count = 0
    for k in range(len(time)):
        new = k == 0 or time[k] > time[k - 1]
        count += new
        if symbol[k] < 0 or symbol[k] >= n_symbols:
            return count, k
        if not new and (time[k] < time[k - 1] or symbol[k] <= symbol[k - 1]):
            return count, k
    return count, -1
