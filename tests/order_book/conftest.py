"""Messages by hand: a line each, ids and levels as the venue would say them."""

import polars as pl
import pytest

from research import schema

IDS = ("first_id", "last_id", "previous_id", "sequence")


def laid_out(*rows, symbol="BTCUSDT"):
    """Turn dicts of kind, ids, bids and asks into messages and levels, a millisecond apart."""
    messages, levels = [], []
    for number, row in enumerate(rows):
        stamp = row.get("ms", number)
        ids = [row.get(name) for name in IDS]
        connection = row.get("connection", 0)
        venue_time = row.get("time", stamp * 1000)
        messages.append(
            (
                row.get("symbol", symbol),
                number,
                connection,
                stamp * 1_000_000,
                venue_time,
                venue_time,
                row["kind"],
                *ids,
            )
        )
        levels += [(number, 1, p, q) for p, q in row.get("bids", ())]
        levels += [(number, -1, p, q) for p, q in row.get("asks", ())]
    return (
        pl.DataFrame(messages, schema=schema.MESSAGES, orient="row"),
        pl.DataFrame(levels, schema=schema.LEVELS, orient="row"),
    )


def snapshot(last, bids=((100.0, 1.0),), asks=((101.0, 1.0),), **more):
    return {"kind": "snapshot", "last_id": last, "bids": bids, "asks": asks, **more}


def futures(first, last, previous, **more):
    return {
        "kind": "update",
        "first_id": first,
        "last_id": last,
        "previous_id": previous,
        **more,
    }


def spot(first, last, **more):
    return {"kind": "update", "first_id": first, "last_id": last, **more}


def bybit(last, sequence=None, **more):
    return {"kind": "update", "last_id": last, "sequence": sequence, **more}


class Words:
    """The helpers above, for tests."""

    laid_out = staticmethod(laid_out)
    snapshot = staticmethod(snapshot)
    futures = staticmethod(futures)
    spot = staticmethod(spot)
    bybit = staticmethod(bybit)


@pytest.fixture(scope="session")
def say():
    """How messages are written in a test."""
    return Words
