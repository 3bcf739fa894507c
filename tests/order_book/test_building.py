"""Books rebuilt from messages: states, proof, gaps and coverage."""

import random

import numpy as np
import polars as pl
import pytest

from research import order_book, schema
from research.campaigns import books
from research.errors import UserError

UM = {"venue": "binance", "market": "um"}


def build(tables, **more):
    return order_book.build(*tables, **{**UM, "depth": 2, **more})


def spans(built):
    return [
        (row["start_ns"] // 1_000_000, row["end_ns"] and row["end_ns"] // 1_000_000, row["reason"])
        for row in built.gaps.iter_rows(named=True)
    ]


def best(built):
    """Return best bid and ask, price and quantity, of each state."""
    return built.levels[:, :, 0, :].reshape(-1, 4).tolist()


@pytest.fixture
def broken(say):
    """A snapshot with its update, one missing, a resync, and one more."""
    return say.laid_out(
        say.futures(90, 97, 89),
        say.snapshot(100),
        say.futures(98, 110, 97, bids=[(100.5, 2.0)]),
        say.futures(120, 130, 119, asks=[(100.75, 5.0)]),
        say.futures(131, 140, 130, bids=[(100.5, 0.0)]),
        say.snapshot(135, bids=[(100.0, 7.0)]),
        say.futures(141, 150, 140, asks=[(101.0, 0.0), (102.0, 4.0)]),
    )


def test_states_and_proof_follow_the_messages(broken):
    built = build(broken)
    assert built.message.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert built.proven.tolist() == [False, False, True, False, False, True, True]
    assert built.update_id.tolist() == [-1, 100, 110, -1, -1, 140, 150]
    # the snapshot of message 5 is of 135; the held update up to 140 is in its state
    assert best(built)[2] == [100.5, 2.0, 101.0, 1.0]
    assert best(built)[5] == [100.0, 7.0, 101.0, 1.0]
    assert best(built)[6] == [100.0, 7.0, 102.0, 4.0]
    assert (built.applied, built.dropped, built.duplicates, built.snapshots) == (3, 2, 0, 2)


def test_the_ledger_covers_what_has_no_proof(broken):
    built = build(broken)
    assert spans(built) == [(0, 2, "no snapshot yet"), (2, 5, "chain broken")]
    assert built.coverage == pytest.approx(1 / 6)
    assert order_book.inside(built.gaps, np.array([1, 2, 4, 5, 6]) * 1_000_000).tolist() == [
        True, True, True, False, False,
    ]  # fmt: skip
    schema_of = dict(zip(built.gaps.columns, built.gaps.dtypes, strict=True))
    assert schema_of == schema.GAPS


def test_after_a_break_a_book_holds_what_was_said_since_and_nothing_else(broken):
    built = build(broken)
    assert best(built)[3] == [0.0, 0.0, 100.75, 5.0]
    assert best(built)[4] == [0.0, 0.0, 100.75, 5.0]


def test_a_file_without_a_snapshot_is_never_proven_and_never_wrong():
    seed = 1  # Binance spot
    market = books.made(random.Random(seed), 300, books.VENUES[1])
    sent = [books.Sent(n, False, 0, u) for n, u in enumerate(market.updates)]
    messages, levels = books.tables(sent, market)
    built = order_book.build(messages, levels, venue="binance", market="spot", depth=40)
    assert not built.proven.any() and built.coverage == 0.0
    assert spans(built) == [(0, None, "no snapshot yet")]
    for row, (bids, asks) in enumerate(market.truth):
        for levels_now, truth in zip(built.levels[row], (bids, asks), strict=True):
            held = {price: q for price, q in levels_now.tolist() if q}
            whole = {tick * books.TICK: q for tick, q in truth.items()}
            assert held.items() <= whole.items()


def test_a_second_file_goes_on_where_the_first_one_ended(say):
    first = say.laid_out(say.snapshot(100), say.spot(101, 105, bids=[(100.5, 1.0)]))
    second = say.laid_out(
        say.spot(106, 107, ms=50, connection=1), say.spot(108, 109, ms=51, connection=1)
    )
    builder = order_book.Builder(venue="binance", market="spot", depth=1)
    builder.add(*first)
    joined = builder.add(*second)
    assert joined.proven.tolist() == [True, True]
    assert best(joined)[0] == [100.5, 1.0, 101.0, 1.0]
    alone = order_book.build(*second, venue="binance", market="spot")
    assert not alone.proven.any()
    assert spans(joined) == [(0, 1, "no snapshot yet")]


@pytest.mark.parametrize("rows", [7, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_in_pieces_and_at_once_are_the_same(seed, rows):
    dice, place = random.Random(seed), books.VENUES[seed]
    market = books.made(dice, 200, place)
    tables = books.tables(books.mutated(dice, market, place)[0], market)
    where = {"venue": place[0], "market": place[1], "depth": 3}
    whole = order_book.build(*tables, **where)
    pieces = list(order_book.Builder(**where).pieces(*tables, rows=rows))
    for name in ("message", "time_us", "received_ns", "update_id", "levels", "proven", "beyond"):
        parts = np.concatenate([getattr(piece, name) for piece in pieces])
        assert np.array_equal(parts, getattr(whole, name)), name
    assert pieces[-1].gaps.equals(whole.gaps)
    after = order_book.Built._fields.index("gaps") + 1
    assert pieces[-1][after:] == whole[after:]


def test_every_message_is_counted_once(say):
    built = build(
        say.laid_out(
            say.futures(80, 89, 79),  # held, then older than the snapshot
            say.futures(90, 105, 89),  # held, then applied
            say.futures(90, 105, 89, time=1000),  # twice, while held
            say.snapshot(100),
            say.futures(106, 110, 105),
            say.futures(106, 110, 105, time=4000),
            say.snapshot(50),  # older than the book
        )
    )
    counts = (built.applied, built.dropped, built.duplicates, built.snapshots)
    assert counts == (2, 2, 2, 1) and sum(counts) == 7


def test_held_pieces_are_bounded_and_the_newest_stay(say):
    rows = [say.futures(2 * n, 2 * n + 1, 2 * n - 1) for n in range(1, 14_001)]
    messages, levels = say.laid_out(*rows, say.snapshot(28_000))
    builder = order_book.Builder(**UM)
    *_, last = builder.pieces(messages.head(14_000), levels, rows=1_000)
    assert not last.proven.any() and builder._core._waiting == 10_000
    assert builder.add(messages.tail(1), levels).proven.tolist() == [True]


# -- what else ends a proof ------------------------------------------------------------------------


def test_silence_ends_the_proof_though_the_chain_goes_on(say):
    built = build(
        say.laid_out(
            say.snapshot(100, ms=0),
            say.futures(98, 110, 97, ms=1),
            say.futures(111, 120, 110, ms=20_001),
            say.futures(121, 130, 120, ms=20_501),
        )
    )
    assert built.proven.tolist() == [False, True, True, True]
    assert spans(built) == [(0, 1, "no snapshot yet"), (10_001, 20_001, "silence")]
    assert built.coverage == pytest.approx(10_500 / 20_501)


def test_ten_seconds_are_no_silence_and_a_hair_more_is(say):
    rows = (say.snapshot(100, ms=0), say.futures(98, 110, 97, ms=1))
    for apart, silent in ((10_000, []), (10_001, [(10_001, 10_002, "silence")])):
        built = build(say.laid_out(*rows, say.futures(111, 120, 110, ms=1 + apart)))
        assert spans(built)[1:] == silent


def test_a_crossed_book_is_not_proven_and_counted(say):
    built = build(
        say.laid_out(
            say.snapshot(100),
            say.futures(98, 110, 97),
            say.futures(111, 120, 110, bids=[(101.0, 1.0)]),
            say.futures(121, 130, 120, asks=[(101.0, 0.0), (102.0, 1.0)]),
        )
    )
    assert built.proven.tolist() == [False, True, False, True]
    assert built.crossed == 1
    assert spans(built)[1:] == [(2, 3, "crossed")]


def test_a_new_connection_is_a_gap_of_bybit(say):
    built = order_book.build(
        *say.laid_out(
            say.snapshot(7, sequence=1),
            say.bybit(8, 2),
            say.snapshot(30, sequence=9, connection=1, ms=9),
            say.bybit(31, 10, connection=1, ms=10),
        ),
        venue="bybit",
        market="linear",
    )
    assert spans(built) == [(1, 9, "new connection")]
    assert built.proven.all()


def test_bybit_says_how_many_are_missing(say):
    built = order_book.build(
        *say.laid_out(say.snapshot(7, sequence=1), say.bybit(8, 2), say.bybit(12, 3)),
        venue="bybit",
        market="linear",
    )
    assert built.gaps["lost"].to_list() == [3]
    assert spans(built) == [(1, None, "chain broken")]


def test_whole_tops_are_proven_one_by_one_until_they_fall_silent(say):
    def top(price, **more):
        return {"kind": "partial", "bids": [(price, 1.0)], "asks": [(price + 1, 1.0)], **more}

    built = build(say.laid_out(top(5.0), top(6.0), top(7.0, ms=15_000), top(8.0, ms=15_001)))
    assert built.proven.all() and best(built)[-1] == [8.0, 1.0, 9.0, 1.0]
    assert spans(built) == [(10_001, 15_000, "silence")]


def test_gaps_that_the_recorder_declares_are_in_the_ledger(say):
    updates = [say.futures(100 + n, 100 + n, 99 + n) for n in range(4)]
    tables = say.laid_out(say.snapshot(100), *updates)
    row = ("BTCUSDT", "btcusdt@depth@0ms", 2_000_000, 4_000_000, "disk full", 7)
    other = ("BTCUSDT", "btcusdt@trade", 0, 9_000_000, "disk full", 7)
    declared = pl.DataFrame([row, other], schema=schema.GAPS, orient="row")
    built = build(tables, declared=declared)
    assert spans(built) == [(0, 1, "no snapshot yet"), (2, 4, "disk full")]
    assert built.proven.tolist() == [False, True, False, False, True]
    assert built.coverage == pytest.approx(1 / 4)


def test_prices_beyond_the_snapshot_are_told(say):
    deep = [(1000.0 - n, 1.0) for n in range(100)]
    built = build(
        say.laid_out(
            say.snapshot(100, bids=deep, asks=[(1001.0, 1.0)]),
            say.futures(98, 110, 97),
            say.futures(111, 120, 110, bids=[(1000.0 - n, 0.0) for n in range(99)]),
        )
    )
    assert built.beyond.tolist() == [False, False, True]
    assert built.proven.tolist() == [False, True, True]


# -- mistakes --------------------------------------------------------------------------------------


def test_messages_of_two_symbols_are_named(say):
    mixed = say.laid_out(say.snapshot(1), say.snapshot(2, symbol="ETHUSDT"))
    with pytest.raises(UserError, match=r"one symbol, found BTCUSDT, ETHUSDT.*build_all"):
        build(mixed)
    builder = order_book.Builder(**UM)
    builder.add(*say.laid_out(say.snapshot(1)))
    with pytest.raises(UserError, match="found ETHUSDT, expected BTCUSDT"):
        builder.add(*say.laid_out(say.snapshot(1, symbol="ETHUSDT")))


def test_disorder_unknown_kinds_and_no_depth_are_named(say):
    messages, levels = say.laid_out(say.snapshot(1), say.futures(1, 2, 0))
    with pytest.raises(UserError, match="in the order of receipt"):
        build((messages.reverse(), levels))
    with pytest.raises(UserError, match="kind must be one of snapshot, update, partial, found top"):
        build((messages.with_columns(kind=pl.lit("top")), levels))
    with pytest.raises(UserError, match="depth must be at least 1, found 0"):
        build((messages, levels), depth=0)


def test_nothing_heard_is_nothing_built():
    empty = (pl.DataFrame(schema=schema.MESSAGES), pl.DataFrame(schema=schema.LEVELS))
    built = build(empty)
    assert built.levels.shape == (0, 2, 2, 2) and built.coverage == 0.0 and built.gaps.height == 0


def test_symbols_of_one_recording_are_told_apart(say):
    messages, levels = say.laid_out(
        say.snapshot(1),
        say.snapshot(5, symbol="ETHUSDT", bids=[(7.0, 1.0)], asks=[(8.0, 1.0)]),
        say.futures(1, 2, 0, bids=[(100.5, 3.0)]),
        say.futures(5, 6, 4, symbol="ETHUSDT", bids=[(7.5, 3.0)]),
    )
    none = [pl.DataFrame(schema=s) for s in (schema.QUOTES, schema.TRADES, schema.GAPS)]
    done = []
    found = order_book.build_all(
        schema.Recording("binance", "um", messages, levels.reverse(), *none, 4, 0),
        progress=done.append,
    )
    assert best(found["BTCUSDT"])[-1] == [100.5, 3.0, 101.0, 1.0]
    assert best(found["ETHUSDT"])[-1] == [7.5, 3.0, 8.0, 1.0]
    assert done == [0.5, 1.0]
