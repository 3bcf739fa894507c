"""A market of planted flow: what can be recomputed from its messages is what was planted."""

import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from research import schema
from research.errors import UserError
from research.sources.simulated.flow import market, plan

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def made():
    return market(symbols=2, minutes=10, seed=11)


@pytest.fixture(scope="module")
def long():
    """Two hours without an edge."""
    return market(symbols=1, minutes=120, seed=3)


def event_flow(quotes):
    """``e_n`` of Cont, Kukanov and Stoikov (2014), eq. 4, row after row; 0 for the first."""
    flow, before = [0.0], None
    columns = ("bid", "bid_quantity", "ask", "ask_quantity")
    for bid, bid_quantity, ask, ask_quantity in quotes.select(columns).iter_rows():
        if before is not None:
            old_bid, old_bid_quantity, old_ask, old_ask_quantity = before
            flow.append(
                (bid >= old_bid) * bid_quantity
                - (bid <= old_bid) * old_bid_quantity
                - (ask <= old_ask) * ask_quantity
                + (ask >= old_ask) * old_ask_quantity
            )
        before = (bid, bid_quantity, ask, ask_quantity)
    return pl.Series(flow)


def summed(quotes, every):
    """Flow of each interval, labelled by its end, which belongs to it."""
    table = quotes.with_columns(e=event_flow(quotes))
    binned = table.group_by_dynamic("time", every=every, closed="right", label="right")
    return binned.agg(ofi=pl.col("e").sum())


@pytest.mark.parametrize("symbol", ["SIM01USDT", "SIM02USDT"])
def test_recomputed_flow_is_the_planted_one_exactly(made, symbol):
    quotes = made.recording.quotes.filter(symbol=symbol)
    planted = made.planted.filter(symbol=symbol)
    found = planted.select("time").join(summed(quotes, "100ms"), on="time", how="left")
    assert found["ofi"].fill_null(0.0).to_list() == planted["ofi"].to_list()
    assert planted["ofi"].abs().max() > 400


def test_the_planted_mid_is_that_of_the_last_quote(made):
    quotes = made.recording.quotes.filter(symbol="SIM01USDT")
    mids = quotes.select("time", found=(pl.col("bid") + pl.col("ask")) / 2)
    planted = made.planted.filter(symbol="SIM01USDT")
    joined = planted.join_asof(mids.unique("time", keep="last").sort("time"), on="time")
    assert (joined["found"] - joined["mid"]).abs().max() < 1e-9


@pytest.mark.parametrize(("venue", "kind"), [("binance", "um"), ("binance", "spot")])
def test_the_book_from_snapshot_and_differences_is_that_of_the_quotes(venue, kind):
    recording = market(symbols=2, minutes=2, seed=5, venue=venue, market=kind).recording
    levels = dict(recording.levels.partition_by("message", as_dict=True))
    for (symbol,), messages in recording.messages.partition_by("symbol", as_dict=True).items():
        books, last = {1: {}, -1: {}}, None
        ids = recording.quotes.filter(symbol=symbol)
        at = ids["update_id"].to_numpy()
        for row in messages.iter_rows(named=True):
            last = chained(row, last, kind)
            for side, price, quantity in (
                levels[(row["message"],)].select("side", "price", "quantity").iter_rows()
            ):
                books[side][price] = quantity
                if quantity == 0:
                    del books[side][price]
            bid, ask = max(books[1]), min(books[-1])
            assert bid < ask
            assert min(len(books[1]), len(books[-1])) >= 20
            quote = ids.row(int(np.searchsorted(at, row["last_id"], side="right")) - 1, named=True)
            best = (bid, books[1][bid], ask, books[-1][ask])
            assert best == tuple(quote[c] for c in ("bid", "bid_quantity", "ask", "ask_quantity"))


def chained(row, last, kind):
    """Check the ids of a message by the venue's rules and return its last id."""
    if row["kind"] == "snapshot":
        assert (row["first_id"], row["previous_id"], last) == (None, None, None)
    elif row["first_id"] <= FIRST:  # the first after the snapshot began before it
        assert row["first_id"] <= last <= row["last_id"]
    elif kind == "um":
        assert row["previous_id"] == last < row["first_id"] <= row["last_id"]
    else:
        assert row["previous_id"] is None
        assert last + 1 == row["first_id"] <= row["last_id"]
    return row["last_id"]


FIRST = 5_000_000_000


def test_bybit_counts_its_messages_and_names_no_trade():
    recording = market(symbols=1, minutes=1, seed=5, venue="bybit", market="linear").recording
    messages = recording.messages
    assert set(messages["last_id"].diff().drop_nulls()) == {1}
    assert (messages["sequence"].diff().drop_nulls() > 0).all()
    assert messages["first_id"].null_count() == messages.height
    assert recording.trades["trade_id"].null_count() == recording.trades.height


def test_spot_says_no_time_where_the_venue_says_none():
    recording = market(symbols=1, minutes=1, seed=5, market="spot").recording
    assert recording.quotes["time"].null_count() == recording.quotes.height
    silent = recording.messages.filter(pl.col("sent").is_null())
    assert silent["kind"].to_list() == ["snapshot"]
    assert recording.trades["time"].null_count() == 0


def test_flow_explains_as_asked_and_predicts_nothing(long):
    one = long
    flow, moves = by_seconds(one.planted)
    found = np.corrcoef(flow, moves)[0, 1]
    wanted, error = one.r_squared**0.5, (1 - one.r_squared) / len(flow) ** 0.5
    assert abs(found - wanted) < 3 * error
    slope = np.polyfit(flow, moves, 1)[0]
    assert slope == pytest.approx(one.beta, rel=3 * error / wanted)
    assert moves.std() == pytest.approx(0.5, rel=0.05)
    for lag in (1, 2, 5, 10):
        assert abs(np.corrcoef(flow[:-lag], moves[lag:])[0, 1]) < 3 / len(flow) ** 0.5


def by_seconds(planted):
    flow = planted["ofi"].to_numpy().reshape(-1, 10).sum(axis=1)
    return flow, np.diff(planted["mid"].to_numpy()[9::10], prepend=10_000.05)


def test_the_thinner_side_of_the_book_is_used_up_first(long):
    quotes = long.recording.quotes
    bid, ask = (quotes[c].to_numpy() for c in ("bid", "ask"))
    bids, asks = (quotes[c].to_numpy() for c in ("bid_quantity", "ask_quantity"))
    ticks = np.rint(20 * (bid + ask) / 2).astype(int)  # halves of a tick
    moves = np.flatnonzero(np.diff(ticks))
    whole = np.arange(moves[-1] + 1)  # behind them the mid does not move any more
    up = np.diff(ticks)[moves][np.searchsorted(moves, whole)] > 0
    share, narrow = (bids / (bids + asks))[whole], (np.rint(10 * (ask - bid)) == 1)[whole]
    edges = np.digitize(share, (0.1, 0.3, 0.5, 0.7, 0.9))
    found = [up[narrow & (edges == n)].mean() for n in range(6)]
    assert found == sorted(found)
    # 0.19 and 0.82 on BTCUSDT, perpetual, 2024-08-08: as there, and less of it
    assert 0.25 < found[-1] - found[0] < 0.63


def test_the_best_sizes_tell_of_less_than_half_a_tick(long):
    """They say where within its tick the price is, and nothing of where it goes."""
    mid = long.planted["mid"].to_numpy()
    book = long.planted.select("time").join_asof(long.recording.quotes, on="time")
    bids, asks = (book[c].to_numpy() for c in ("bid_quantity", "ask_quantity"))
    share, later = (bids / (bids + asks))[:-10], mid[10:] - mid[:-10]
    apart = later[share > 0.7].mean() - later[share < 0.3].mean()
    assert 0.02 < apart < 0.1  # of two halves of a tick; the standard error is 0.006


def test_a_planted_edge_is_as_large_as_stated():
    ten = timedelta(seconds=10)
    one = market(symbols=1, minutes=150, seed=3, ic=0.3, horizon=ten, half_life=ten)
    mid, drift = (one.planted[c].to_numpy() for c in ("mid", "drift"))
    ahead = mid[100:] - mid[:-100]
    # moves over ten seconds overlap: 900 are free of each other, and drifts remember too
    assert abs(np.corrcoef(drift[:-100], ahead)[0, 1] - 0.3) < 3 * 1.5 / 900**0.5
    assert np.polyfit(drift[:-100], ahead, 1)[0] == pytest.approx(1, abs=0.35)
    flow, moves = by_seconds(one.planted)
    assert np.corrcoef(flow, moves)[0, 1] ** 2 == pytest.approx(0.38, abs=0.03)
    last = np.convolve(one.planted["ofi"].to_numpy(), np.ones(100), "valid")[:-100]
    assert np.corrcoef(last, ahead[99:])[0, 1] > 0.1  # public flow tells of it


def test_signs_of_takers_remember_as_measured(long):
    trades = long.recording.trades
    orders = trades.group_by("time", "taker_side", maintain_order=True).first()
    sign = orders["taker_side"].to_numpy().astype(float)
    measured = {1: 0.20, 2: 0.20, 5: 0.16, 10: 0.12, 50: 0.03}
    for lag, wanted in measured.items():
        assert np.corrcoef(sign[:-lag], sign[lag:])[0, 1] == pytest.approx(wanted, abs=0.04)


def test_trades_are_prints_at_the_best_level_and_cohere(made):
    trades, quotes = made.recording.trades, made.recording.quotes
    for symbol in ("SIM01USDT", "SIM02USDT"):
        mine = trades.filter(symbol=symbol)
        assert set(mine["trade_id"].diff().drop_nulls()) == {1}
        before = mine.join_asof(quotes.filter(symbol=symbol), on="message")
        met = pl.when(pl.col("taker_side") > 0).then("ask").otherwise("bid")
        shown = pl.when(pl.col("taker_side") > 0).then("ask_quantity").otherwise("bid_quantity")
        assert before.select((pl.col("price") == met).all()).item()
        order = before.group_by("time", "taker_side").agg(
            pl.col("quantity").sum(), left=shown.first()
        )
        assert (order["quantity"] < order["left"]).all()
    assert set(trades["taker_side"]) == {-1, 1}


def test_bars_of_trades_lie_within_the_quotes(made):
    trades = made.recording.trades.filter(symbol="SIM01USDT")
    quotes = made.recording.quotes.filter(symbol="SIM01USDT")
    prints = trades.group_by_dynamic("time", every="1m").agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
    )
    ends = quotes.group_by_dynamic("time", every="1m").agg(pl.col("bid").min(), pl.col("ask").max())
    bars = prints.join(ends, on="time")
    assert bars.height >= 10
    assert (bars["low"] <= bars.select(pl.min_horizontal("open", "close")).to_series()).all()
    assert ((bars["low"] >= bars["bid"]) & (bars["high"] <= bars["ask"])).all()


def test_tables_are_those_of_a_recording(made):
    recording = made.recording
    names = ("MESSAGES", "LEVELS", "QUOTES", "TRADES", "GAPS")
    for table, name in zip(recording[2:7], names):
        assert dict(table.schema) == getattr(schema, name)
    numbers = pl.concat([t["message"] for t in (recording.messages, *recording[4:6])])
    assert numbers.sort().to_list() == list(range(recording.lines))
    arrived = pl.concat(
        [t.select("message", "received_ns") for t in (recording.messages, *recording[4:6])]
    ).sort("message")["received_ns"]
    assert (arrived.diff().drop_nulls() >= 0).all()
    assert set(recording.levels["message"]) == set(recording.messages["message"])


def test_the_clock_is_behind_by_what_is_stated(made):
    quotes = made.recording.quotes
    ahead = (quotes["sent"].dt.epoch("us") * 1000 - quotes["received_ns"]).median() / 1e9
    on_the_way = 0.0025
    assert ahead == pytest.approx(made.clock_offset.total_seconds() - on_the_way, abs=0.001)


def test_same_seed_same_market_and_symbols_are_independent(made):
    again = market(symbols=2, minutes=10, seed=11)
    assert all(a.equals(b) for a, b in zip(again.recording[2:7], made.recording[2:7]))
    assert again.planted.equals(made.planted)
    one, other = (made.planted.filter(symbol=s)["ofi"] for s in ("SIM01USDT", "SIM02USDT"))
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 6000**0.5
    alone = market(symbols=1, minutes=10, seed=11)
    assert alone.planted.equals(made.planted.filter(symbol="SIM01USDT"))
    assert not market(symbols=1, minutes=1, seed=12).planted["ofi"].equals(one.head(600))


SUMS = """
from research.sources.simulated.flow import market
print([int(t.hash_rows().sum()) for t in market(symbols=2, minutes=1, seed=7).recording[2:7]])
"""


def test_compiled_or_not_it_is_the_same_market():
    found = [
        subprocess.run(
            [sys.executable, "-c", SUMS],
            env=os.environ | {"NUMBA_DISABLE_JIT": off},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for off in "01"
    ]
    assert found[0] == found[1]


def test_variance_of_the_plan_is_that_of_its_sums():
    rng = np.random.default_rng(1)
    memory, steps = 0.8, 7
    values = np.empty((40_000, steps))
    values[:, 0] = rng.standard_normal(40_000)
    for k in range(1, steps):
        new = rng.standard_normal(40_000)
        values[:, k] = memory * values[:, k - 1] + (1 - memory**2) ** 0.5 * new
    assert values.sum(axis=1).var() == pytest.approx(plan._variance(memory, steps), rel=0.03)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"symbols": 0}, "symbols must lie between 1 and 99, found 0"),
        ({"r_squared": 0.9}, "r_squared must be at most 0.4"),
        ({"ic": 0.98}, "must be"),
        ({"events_per_second": 1.0}, "events_per_second must lie between"),
        ({"venue": "kraken"}, "must be one of binance um, binance spot, bybit linear"),
        ({"horizon": timedelta(milliseconds=150)}, "horizon must be a whole number of 100 ms"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(asked, said):
    with pytest.raises(UserError, match=said):
        market(**{"symbols": 1, "minutes": 1, "seed": 1, **asked})
