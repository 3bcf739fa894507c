"""Compiled loops: best-level events whose imbalance is as planned, and the book behind them.

No table comes here. Prices are in ticks, quantities in lots, both whole numbers, so that sums are
exact. Imported only where a function needs it, because numba is slow to import.
"""

from __future__ import annotations

import numpy as np

from research.steps import compiled

STEP, BID, BID_LOTS, ASK, ASK_LOTS, ORDER, BURST = range(7)
"""Columns of an event: `ORDER` is what a taker took (signed), `BURST` 1 in what settles a step."""
SPARE = 6
"""More events than a step's fills that it may need."""


@compiled
def play(
    start: int,
    moves: np.ndarray,
    flow: np.ndarray,
    bids: np.ndarray,
    asks: np.ndarray,
    orders: np.ndarray,
    fills: np.ndarray,
    pool: np.ndarray,
    lean: np.ndarray,
) -> np.ndarray:
    """Return events, shape (n_events, 7), that move the best levels as planned.

    `moves` are ticks, `flow` the sum of ``e_n`` of each step, `bids` and `asks` the lots on the
    best levels at its end, `orders` what takers want (signed), `fills` how many changes of size
    come before, out of `pool`, a bid's times `lean` and an ask's by it. The spread is one tick at
    the end of every step.
    """
    steps, drawn = len(moves), 0
    rows = np.empty((fills.sum() + SPARE * steps + 1, 7), np.int64)
    bid, bid_lots, ask_lots = start, pool[0], pool[1]
    count = _put(rows, 0, (-1, bid, bid_lots, bid + 1, ask_lots, 0, 0))
    way = np.empty((5, 4), np.int64)
    for k in range(steps):
        done = 0
        for change in range(fills[k] + 1):
            order = 0
            if change == fills[k]:  # the taker comes last
                order = min(max(orders[k], 1 - bid_lots), ask_lots - 1)
                bid_lots, ask_lots = bid_lots + min(order, 0), ask_lots - max(order, 0)
                done += order
            else:
                drawn += 1
                lots = pool[drawn % len(pool)]
                if lots % 2:
                    lots = max(int(lots * lean[k]), 1)
                    done, bid_lots = done + lots - bid_lots, lots
                else:
                    lots = max(int(lots / lean[k]), 1)
                    done, ask_lots = done - lots + ask_lots, lots
            count = _put(rows, count, (k, bid, bid_lots, bid + 1, ask_lots, order, 0))
        need, quiet = flow[k] - done, (bids[k] - bid_lots) - (asks[k] - ask_lots)
        flip = moves[k] < 0 or (moves[k] == 0 and need < quiet)
        if flip:
            last = _settle(way, ask_lots, bid_lots, -moves[k], -need, asks[k], bids[k])
        else:
            last = _settle(way, bid_lots, ask_lots, moves[k], need, bids[k], asks[k])
        for w in range(last):
            below, near, above, far = way[w, 0], way[w, 1], way[w, 2], way[w, 3]
            if flip:
                below, near, above, far = -above, far, -below, near
            values = (k, bid + below, near, bid + 1 + above, far, 0, 1)
            count = _put(rows, count, values)
        bid, bid_lots, ask_lots = bid + moves[k], bids[k], asks[k]
    return rows[:count]


@compiled
def _settle(
    way: np.ndarray,
    bid_lots: int,
    ask_lots: int,
    move: int,
    need: int,
    last_bid: int,
    last_ask: int,
) -> int:
    """Go `move` >= 0 ticks up to the step's last sizes by events that sum to `need`.

    Writes bid and its lots, ask and its lots of each event, prices as ticks from where they were,
    and returns how many. What a move and the last sizes bring by themselves is fixed; the rest is
    flow that a level takes in and that is gone with it: a buyer's on the new ask, a seller's on the
    old bid or on one a tick lower. All of it happens while the spread is wide: whenever that is one
    tick, the sizes show what led to the step or what came of it. A fall is a rise seen in a mirror.
    """
    ahead = max(move, 1)
    quiet = last_bid if move else last_bid - bid_lots - last_ask
    rest = need - ask_lots - quiet
    _go(way, 0, 0, bid_lots, ahead, last_ask + max(rest, 0))
    _go(way, 1, 0, bid_lots, ahead, last_ask)
    if move == 0:
        _go(way, 2, 0, last_bid, ahead, last_ask)
        _go(way, 3, 0, last_bid, 0, last_ask)
        return 4
    sold, low = max(-rest, 0), 0
    if sold >= bid_lots:
        low = 1
        _go(way, 2, -1, sold - bid_lots + 1, move, last_ask)
    _go(way, 2 + low, -low, 1 if low else bid_lots - sold, move, last_ask)
    _go(way, 3 + low, move, last_bid, move, last_ask)
    return 4 + low


@compiled
def _go(way: np.ndarray, row: int, bid: int, bid_lots: int, ask: int, ask_lots: int) -> None:
    """Write one row, number by number: numba takes seconds to learn to write four at once."""
    way[row, 0], way[row, 1], way[row, 2], way[row, 3] = bid, bid_lots, ask, ask_lots


@compiled
def _put(rows: np.ndarray, count: int, values: tuple[int, int, int, int, int, int, int]) -> int:
    """Write one event, unless it says what the one before said."""
    same = count > 0
    for c in range(7):
        same = same and (c in (STEP, ORDER, BURST) or rows[count - 1, c] == values[c])
        rows[count, c] = values[c]
    return count if same else count + 1


@compiled
def deepen(
    events: np.ndarray, steps: int, depth: int, changes: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """Return changes of levels, shape (n_changes, 4): step, side, price, lots at its end.

    Step -1 is the whole book of `depth` levels a side before the first step. Every step changes
    `changes` levels behind the best, drawn from `where`, shape (n, 2) of distance and lots (0
    removes), and every empty level among the `depth` comes back sooner or later.
    """
    low, high, most = events[0, BID], events[0, ASK], 2 * depth * (steps + 1) + changes.sum()
    for i in range(len(events)):
        low, high = min(low, events[i, BID]), max(high, events[i, ASK])
        most += 2 + abs(events[i, BID] - events[i - 1, BID]) if i else 2
        most += abs(events[i, ASK] - events[i - 1, ASK]) if i else 0
    low, width = low - depth - 1, high - low + 2 * depth + 3
    books = np.zeros((2, width), np.int64)
    touched = np.full((2, width), -2, np.int64)
    out, names = np.empty((most, 4), np.int64), np.empty((2 * width, 2), np.int64)
    count, drawn, row = 0, 0, 0
    bid, ask = events[0, BID], events[0, ASK]
    for k in range(-1, steps):
        marked = 0
        while row < len(events) and events[row, STEP] == k:
            new_bid, new_ask = events[row, BID], events[row, ASK]
            for price in range(min(new_bid, bid), max(new_ask, ask) + 1):
                # behind the best all stays, between the new best levels nothing does
                if new_bid < price <= bid or price == new_bid:
                    lots = events[row, BID_LOTS] if price == new_bid else 0
                    marked = _set(books, touched, names, marked, k, 0, price - low, lots)
                if ask <= price < new_ask or price == new_ask:
                    lots = events[row, ASK_LOTS] if price == new_ask else 0
                    marked = _set(books, touched, names, marked, k, 1, price - low, lots)
            bid, ask = new_bid, new_ask
            row += 1
        for side in range(2):
            for away in range(1, depth):
                place = bid - away - low if side == 0 else ask + away - low
                if books[side, place] == 0:
                    drawn += 1
                    lots_back = where[drawn % len(where), 1]
                    if k < 0 or lots_back % 2:
                        lots_back = max(lots_back, 1)
                        marked = _set(books, touched, names, marked, k, side, place, lots_back)
        for _ in range(changes[k] if k >= 0 else 0):
            drawn += 1
            away, lots_new = where[drawn % len(where), 0], where[drawn % len(where), 1]
            side = drawn % 2
            place = bid - away - low if side == 0 else ask + away - low
            marked = _set(books, touched, names, marked, k, side, place, lots_new)
        for i in range(marked):
            side, place = names[i, 0], names[i, 1]
            out[count, 0], out[count, 1] = k, 1 - 2 * side
            out[count, 2], out[count, 3] = place + low, books[side, place]
            count += 1
    return out[:count].copy()


@compiled
def _set(
    books: np.ndarray,
    touched: np.ndarray,
    names: np.ndarray,
    marked: int,
    k: int,
    side: int,
    place: int,
    lots: int,
) -> int:
    """Put `lots` on a level and note once a step that it changed."""
    books[side, place] = lots
    if touched[side, place] != k:
        touched[side, place] = k
        names[marked, 0], names[marked, 1] = side, place
        return marked + 1
    return marked
