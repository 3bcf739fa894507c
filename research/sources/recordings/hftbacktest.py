"""A recording as the events of hftbacktest: one row per level, trade or cleared side.

References
----------
.. [1] hftbacktest 2.4, "Data" (its event format, and why a row may stand there twice).
"""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.schema import Recording

EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
"""One event; both times are nanoseconds since 1970."""
DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
AT_EXCHANGE, AT_LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28


def events(recording: Recording, *, base_latency_ns: int = 0) -> np.ndarray:
    """Lay out books and trades as hftbacktest replays them.

    Parameters
    ----------
    recording : Recording
        Of one symbol. Its quotes are left out: the levels say the same.
    base_latency_ns : int
        Added to every time of receipt where some were before the exchange's own, that is where
        clocks differ: those are moved by the largest difference, and this much more.

    Returns
    -------
    np.ndarray of `EVENT`
        Ordered by both clocks. A row that one clock puts elsewhere than the other stands there
        twice, each time with the flag of the clock it is for [1]_.

    Raises
    ------
    UserError
        If it holds more than one symbol, or neither books nor trades.

    Notes
    -----
    A whole book (`snapshot`, `partial`) first clears each side as far as it reaches. Where a venue
    does not say when something happened, it is taken to have been when the one before did.
    """
    _check_single(recording)
    ev, happened, received, price, quantity = _rows(recording)
    ahead = int((received - happened).min())
    if ahead < 0:
        received += base_latency_ns - ahead
    made = np.zeros(2 * len(ev), EVENT)
    n = _compiled(_merge)(
        ev, happened, received, price, quantity, _order(happened), _order(received), made
    )
    return made[:n]


def _order(times: np.ndarray) -> np.ndarray:
    if (times[1:] >= times[:-1]).all():
        return np.arange(len(times))
    return np.argsort(times, kind="stable")


@cache
def _compiled(loop: Any) -> Any:
    from research.steps import compiled

    return compiled(loop)


def _check_single(recording: Recording) -> None:
    names = pl.concat([recording.messages["symbol"], recording.trades["symbol"]]).unique().sort()
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise UserError(
            f"to_hftbacktest: needs a recording of one symbol, found {found}. "
            "Choose with read(..., symbols=[...])."
        )


def _rows(recording: Recording) -> tuple[np.ndarray, ...]:
    """Return flags, both times, price and quantity of each event, in the order of messages."""
    messages, levels, trades = recording.messages, recording.levels, recording.trades
    lines = levels["message"].to_numpy()
    books, deals = messages["message"].to_numpy(), trades["message"].to_numpy()
    edges = np.searchsorted(lines, np.append(books, np.iinfo(np.int64).max))
    whole = (messages["kind"] != "update").to_numpy()
    # a whole book clears two sides before it
    rows = np.empty((3, len(lines) + 2 * int(whole.sum()) + len(deals)), np.int64)
    numbers = np.empty((2, rows.shape[1]))
    n = _compiled(_lay_out)(
        (books, *_clocks(messages), whole, edges),
        tuple(levels[name].to_numpy() for name in ("side", "price", "quantity")),
        (deals, *_clocks(trades)),
        tuple(trades[name].to_numpy() for name in ("taker_side", "price", "quantity")),
        rows,
        numbers,
    )
    rows, numbers = rows[:, :n], numbers[:, :n]
    unknown = rows[1] < 0
    if unknown.any():
        known = np.flatnonzero(~unknown)
        before = np.searchsorted(known, np.flatnonzero(unknown)) - 1
        # the first ones have none before them
        rows[1, unknown] = rows[1, known[np.maximum(before, 0)]]
    return *rows, *numbers


def _clocks(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    happened = (pl.col("time").to_physical() * 1_000).fill_null(-1)
    return table.select(happened).to_series().to_numpy(), table["received_ns"].to_numpy()


def _lay_out(books: Any, levels: Any, deals: Any, sizes: Any, rows: Any, numbers: Any) -> int:
    """Write books and trades in the order of their messages; return how many rows there are."""
    book_lines, book_times, book_received, whole, edges = books
    sides, prices, quantities = levels
    deal_lines, deal_times, deal_received = deals
    takers, paid, traded = sizes
    n = b = d = 0
    while b < len(book_lines) or d < len(deal_lines):
        if d < len(deal_lines) and (b == len(book_lines) or deal_lines[d] < book_lines[b]):
            rows[0, n] = TRADE | (BUY if takers[d] > 0 else SELL)
            rows[1, n], rows[2, n] = deal_times[d], deal_received[d]
            numbers[0, n], numbers[1, n] = paid[d], traded[d]
            n, d = n + 1, d + 1
            continue
        begun = edges[b]
        for i in range(begun, edges[b + 1]):
            flag = BUY if sides[i] > 0 else SELL
            if whole[b] and (i == begun or sides[i] != sides[i - 1]):
                last = i
                while last + 1 < edges[b + 1] and sides[last + 1] == sides[i]:
                    last += 1
                # clear the side, as far as the book reaches
                rows[0, n], rows[1, n], rows[2, n] = CLEAR | flag, book_times[b], book_received[b]
                numbers[0, n], numbers[1, n] = prices[last], 0.0
                n += 1
            rows[0, n] = (SNAPSHOT if whole[b] else DEPTH) | flag
            rows[1, n], rows[2, n] = book_times[b], book_received[b]
            numbers[0, n], numbers[1, n] = prices[i], quantities[i]
            n += 1
        b += 1
    return n


def _merge(
    ev: Any,
    happened: Any,
    received: Any,
    price: Any,
    quantity: Any,
    by_exchange: Any,
    by_local: Any,
    made: Any,
) -> int:
    """Write rows in the order of both clocks, with the flag of each; return how many."""
    n, e, r, out = len(ev), 0, 0, 0
    while e < n or r < n:
        exchange = by_exchange[e] if e < n else -1
        local = by_local[r] if r < n else -1
        if exchange == local:
            row, flag, e, r = exchange, AT_EXCHANGE | AT_LOCAL, e + 1, r + 1
        elif local < 0 or (
            exchange >= 0
            and (
                happened[exchange] < happened[local]
                or (happened[exchange] == happened[local] and received[exchange] < received[local])
            )
        ):
            row, flag, e = exchange, AT_EXCHANGE, e + 1
        else:
            row, flag, r = local, AT_LOCAL, r + 1
        made[out].ev = ev[row] | flag
        made[out].exch_ts, made[out].local_ts = happened[row], received[row]
        made[out].px, made[out].qty = price[row], quantity[row]
        out += 1
    return out


def write(made: np.ndarray, path: Path) -> Path:
    """Write events as the ``.npz`` that hftbacktest loads; it appears whole or not at all.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            # numpy's own writer packs at level 6, which takes five times as long
            with (
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
                archive.open("data.npy", "w", force_zip64=True) as member,
            ):
                np.lib.format.write_array(member, made, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"to_hftbacktest: {path} cannot be written: {error.strerror}.") from error
    return path
