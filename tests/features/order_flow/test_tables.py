import math
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

sys.path.append(str(Path(__file__).parent))

import flows
from flows import books, gaps, quotes, slow_ofi, trades

from research import schema
from research.errors import UserError
from research.features import order_flow
from research.features.order_flow import clocks

WINDOWS = ("100 ms", "1 s")
NUMBERS = ("bid", "bid_quantity", "ask", "ask_quantity")


def frame(*tables, **options):
    return order_flow.frame(*tables, windows=WINDOWS, half_life="2 s", **options)


def bins(*tables, every="1 s", **options):
    return order_flow.aggregate(*tables, every=every, **options)


def bent(table, later):
    """The same table with other numbers in later rows."""
    values = [c for c in table.columns if table.schema[c] == pl.Float64]
    return table.with_columns(
        pl.when(later).then(pl.col(c) * 1.5).otherwise(pl.col(c)) for c in values
    )


# -- at each quote ----------------------------------------------------------------------------


def live_rows(quoted, traded, shown):
    """Hand all events over one by one, in the order of their receipt."""
    live = order_flow.StreamingFeatures(windows=WINDOWS, half_life="2 s", depth=20)
    events = [(row["message"], live.quote, (row, NUMBERS)) for row in quoted.rows(named=True)]
    told = ("quantity", "taker_side")
    events += [(row["message"], live.trade, (row, told)) for row in traded.rows(named=True)]
    events += list(zip(shown.message, [live.book] * 999, zip(shown.time_us, shown.levels)))
    for _, update, event in sorted(events, key=lambda event: event[0]):
        if update == live.book:
            live.book(int(event[0]), event[1])
            continue
        row, names = event
        said = update(int(row["time"].timestamp() * 1e6 + 0.5), *(row[name] for name in names))
        if update == live.quote:
            yield said


def test_live_rows_equal_the_table_bit_for_bit():
    quoted, traded, shown = quotes(300), trades(300), books(150)
    table = frame(quoted, traded, {"BTCUSDT": shown})
    rows = list(live_rows(quoted, traded, shown))
    said = pl.DataFrame(rows, infer_schema_length=None).select(table.columns[3:])
    assert_frame_equal(said, table.drop("symbol", "time", "message"), check_exact=True)
    assert (
        table.tail(1).drop(pl.selectors.contains("acceleration")).null_count().sum_horizontal()[0]
        == 0
    )


def test_rows_know_nothing_of_later_events():
    quoted, traded, shown = quotes(300), trades(300), books(150)
    seen = quoted["message"][200]
    later = pl.col("message") > seen
    scale = np.where(shown.message > seen, 1.5, 1.0)[:, None, None, None]
    straight = frame(quoted, traded, {"BTCUSDT": shown})
    crooked = frame(
        bent(quoted, later), bent(traded, later),
        {"BTCUSDT": shown._replace(levels=shown.levels * scale)},
    )  # fmt: skip
    assert_frame_equal(straight.filter(~later), crooked.filter(~later), check_exact=True)
    assert not straight.equals(crooked)


def test_rows_know_only_what_was_received_before():
    """Trades and books received after a quote do not reach its row, whatever their stamps say."""
    quoted, traded, shown = quotes(200), trades(200), books(100)
    seen = quoted["message"][120]
    late = pl.col("message") > seen
    cut = shown._replace(**{n: getattr(shown, n)[shown.message <= seen] for n in shown._fields})
    whole = frame(quoted, traded, {"BTCUSDT": shown}).filter(~late)
    part = frame(quoted.filter(~late), traded.filter(~late), {"BTCUSDT": cut})
    assert_frame_equal(whole, part, check_exact=True)


def test_symbols_do_not_mix():
    one, two = quotes(200), quotes(200, 7, symbol="ETHUSDT")
    mixed = pl.concat([one, two]).sort("received_ns")
    alone = pl.concat([frame(one), frame(two)])
    assert_frame_equal(frame(mixed), alone, check_exact=True)
    assert_frame_equal(bins(mixed), pl.concat([bins(one), bins(two)]), check_exact=True)


def test_after_a_gap_all_begins_anew():
    quoted = quotes(300)
    start, end = (quoted["received_ns"][n] for n in (100, 120))
    table = frame(quoted, gaps=gaps((start + 1, end - 1)))
    assert table["ofi_event"][101:120].null_count() == 19
    again = frame(quoted[120:])
    assert_frame_equal(table[120:], again, check_exact=True)
    assert_frame_equal(table[:101], frame(quoted[:101]), check_exact=True)


def test_trades_before_a_gap_do_not_count_after_it():
    quoted, traded = quotes(300), trades(300)
    start, end = (quoted["received_ns"][n] for n in (100, 102))
    table = frame(quoted, traded, gaps=gaps((start + 1, end - 1)))
    later = traded.filter(pl.col("message") > quoted["message"][102])
    assert_frame_equal(table[102:], frame(quoted[102:], later), check_exact=True)


def test_while_a_book_is_not_proven_its_features_are_null():
    quoted, shown = quotes(300), books(150)
    proven = np.ones(150, bool)
    proven[60:70] = False
    table = frame(quoted, None, {"BTCUSDT": shown._replace(proven=proven)})
    inside = (table["message"] > shown.message[60]) & (table["message"] < shown.message[70])
    assert table.filter(inside)["depth_imbalance_5"].null_count() == inside.sum() > 0
    assert table.filter(~inside)["depth_imbalance_5"].null_count() <= 1
    whole = frame(quoted, None, {"BTCUSDT": shown})
    # the window of a second is known again only a second after the book is
    known = table["ofi_5_100ms"].is_not_null()
    assert known.sum() < whole["ofi_5_100ms"].is_not_null().sum()
    last = table.filter(known)["ofi_5_100ms"].tail(50)
    assert last.equals(whole.filter(known)["ofi_5_100ms"].tail(50))


# -- in bins ----------------------------------------------------------------------------------


def slow_bins(quoted, every):
    """One bin after the other, as it reads."""
    time = quoted["time"].dt.epoch("us").to_numpy()
    bid, bought, ask, sold = (quoted[c].to_numpy() for c in NUMBERS)
    flow, mid = slow_ofi(bid, bought, ask, sold), (bid + ask) / 2
    rows = []
    for begin in range(time[0] // every * every, time[-1] // every * every, every):
        inside = (time >= begin) & (time < begin + every)
        last = np.flatnonzero(time < begin + every)[-1]
        before = np.flatnonzero(time < begin)
        change = mid[last] - mid[before[-1]] if len(before) else math.nan
        rows.append((begin + every, inside.sum(), flow[inside].sum(), mid[last], change))
    return rows


@pytest.mark.parametrize("pause", [20_000, 900_000])
def test_bins_are_what_lies_in_them(pause):
    quoted = quotes(300, pause=pause)  # with the long pause many bins have no quote
    found, wanted = bins(quoted), slow_bins(quoted, 1_000_000)
    assert found["time"].dt.epoch("us").to_list() == [row[0] for row in wanted]
    assert found["quotes"].to_list() == [row[1] for row in wanted]
    for place, name in enumerate(("ofi", "mid", "mid_change"), 2):
        values = found[name].fill_null(math.nan)[1:].to_list()
        assert values == pytest.approx([row[place] for row in wanted][1:], abs=1e-9)
    assert found["flow_coverage"][0] < 1 and found["ofi"][0] is None
    assert (found["flow_coverage"][1:] == 1).all()


def test_what_happens_at_the_end_of_a_bin_is_of_the_next():
    quoted, second = quotes(300), 1_000_000
    time = quoted["time"].dt.epoch("us") // second * second  # all at ends of bins
    whole = quoted.with_columns(time=time.cast(schema.TIME))
    found = bins(whole)
    for row in found[1:].rows(named=True):
        inside = whole.filter(pl.col("time") == row["time"] - timedelta(seconds=1))
        assert row["quotes"] == inside.height
        assert row["mid"] == (inside["bid"][-1] + inside["ask"][-1]) / 2


def test_bins_of_all_streams():
    quoted, traded, shown = quotes(400), trades(400), books(200)
    found = bins(quoted, traded, {"BTCUSDT": shown})
    schema.check(found, {"symbol": pl.String, "time": schema.TIME}, "bins")
    whole = found.filter(pl.col("flow_coverage") == 1, pl.col("book_coverage") == 1)
    assert whole.drop("microprice_gap", strict=False).null_count().sum_horizontal()[0] == 0
    row, every = whole.row(2, named=True), timedelta(seconds=1)
    taken = traded.filter(
        pl.col("time").is_between(row["time"] - every, row["time"], closed="left")
    )
    signed = taken["quantity"] * taken["taker_side"]
    assert row["trade_flow"] == pytest.approx(signed.sum())
    assert row["trade_imbalance"] == pytest.approx(signed.sum() / taken["quantity"].sum())
    assert row["prints"] == taken.height >= row["orders"]
    end = row["time"].timestamp() * 1e6
    book = shown.levels[shown.time_us < end][-1]
    assert row["depth_imbalance_10"] == pytest.approx((book[0, :10, 1] - book[1, :10, 1]).sum())


def test_a_bin_that_touches_a_gap_knows_nothing():
    quoted = quotes(400)
    start, end = (quoted["received_ns"][n] for n in (150, 152))
    found = bins(quoted, gaps=gaps((start, end)))
    touched = found["flow_coverage"] < 1
    times = quoted["time"][149], quoted["time"][153]  # around it: those next to it are doubtful
    lost = (times[1] - times[0] + timedelta(microseconds=1)) / timedelta(seconds=1)
    assert (1 - found["flow_coverage"][1:]).sum() == pytest.approx(lost)
    assert found.filter(touched)["ofi"].null_count() == touched.sum() <= 3
    assert_frame_equal(found.filter(~touched), bins(quoted).filter(~touched))
    assert bins(quoted, gaps=gaps((start, None)))["ofi"].null_count() > 1
    assert_frame_equal(bins(quoted, gaps=gaps((start, end), symbol="OTHER")), bins(quoted))


def test_a_gap_without_a_symbol_is_of_all():
    quoted = quotes(400)
    span = (quoted["received_ns"][150], quoted["received_ns"][152])
    everyones, own = gaps(span, symbol=None), gaps(span)
    assert_frame_equal(bins(quoted, gaps=everyones), bins(quoted, gaps=own), check_exact=True)
    assert_frame_equal(frame(quoted, gaps=everyones), frame(quoted, gaps=own), check_exact=True)
    assert bins(quoted, gaps=everyones)["flow_coverage"].min() < bins(quoted)["flow_coverage"].min()


def at_seconds(table, *seconds):
    """The first rows of a table, received and told at seconds after a whole one."""
    begin = table["received_ns"][0] // 10**9 * 10**9
    received = pl.Series([begin + int(second * 1e9) for second in seconds])
    told = (received // 1_000).cast(schema.TIME)
    return table.head(len(seconds)).with_columns(received_ns=received, time=told)


def test_what_comes_first_after_a_gap_is_not_of_its_bin_even_at_its_edge():
    quoted = at_seconds(quotes(9), 0.5, 0.9, 1.5, 3.0, 3.5, 4.0, 5.1)
    lost = gaps((quoted["received_ns"][2] + 1, quoted["received_ns"][3] - 1))
    found = bins(quoted, gaps=lost)
    assert found["ofi"].is_null().to_list() == [True, True, True, True, False]
    assert found["flow_coverage"][3] == pytest.approx(1 - 1e-6, abs=1e-12)


def test_the_first_proven_book_is_not_of_its_bin_even_at_its_edge():
    quoted, shown = at_seconds(quotes(9), 0.5, 1.5, 2.5, 3.5, 4.5, 5.1), books(6)
    time = quoted["time"].dt.truncate("1s").dt.epoch("us").to_numpy()
    proven = np.array([True, True, False, True, True, True])
    found = bins(quoted, None, {"BTCUSDT": shown._replace(time_us=time, proven=proven)})
    assert found["ofi_5"].is_null().to_list() == [True, False, True, True, False]


def test_bins_know_nothing_of_what_comes_after_them():
    quoted, traded, shown = quotes(400), trades(400), books(200)
    end = bins(quoted)["time"][3]
    later = pl.col("time") >= end
    scale = np.where(shown.time_us >= end.timestamp() * 1e6, 1.5, 1.0)[:, None, None, None]
    straight = bins(quoted, traded, {"BTCUSDT": shown})
    crooked = bins(
        bent(quoted, later), bent(traded, later),
        {"BTCUSDT": shown._replace(levels=shown.levels * scale)},
    )  # fmt: skip
    assert_frame_equal(straight[:4], crooked[:4], check_exact=True)
    assert not straight[4:].equals(crooked[4:])


def test_times_of_receipt_where_the_exchange_says_none():
    quoted = quotes(300)
    silent = quoted.with_columns(time=pl.lit(None, schema.TIME))
    assert order_flow.clock_of(silent) == "received"
    found = bins(silent, offset=timedelta(seconds=1.268))
    later = quoted.with_columns(received_ns=pl.col("received_ns") + 1_268_000_000)
    assert_frame_equal(found, bins(later, clock="received"))
    assert not found.equals(bins(silent))
    with pytest.raises(UserError, match=r"'time' is not known in 300 rows. Pass clock='received'"):
        bins(silent, clock="exchange")
    with pytest.raises(UserError, match="found 'local'"):
        bins(quoted, clock="local")


def heard(ahead_us, delay_us):
    """Ten messages a second, told by clocks that differ."""
    sent = flows.START + 100_000 * np.arange(len(delay_us))
    received = (sent - ahead_us + delay_us) * 1_000
    table = pl.DataFrame({"message": np.arange(len(sent)), "received_ns": received, "sent": sent})
    return table.cast({"sent": schema.TIME})


def test_the_clock_as_known_at_a_message_does_not_know_later_ones():
    random = np.random.default_rng(4)
    told = heard(np.cumsum(random.integers(-900, 900, 3_000)), random.integers(0, 9_000, 3_000))
    whole = clocks.ahead(told)
    for count in random.integers(1, 3_000, 20):
        assert_frame_equal(clocks.ahead(told.head(count)), whole.head(count), check_exact=True)
    own = told["sent"].dt.epoch("us") * 1_000 - told["received_ns"]
    assert (whole["ahead_ns"] >= own).all(), "no message is received before it was sent"


def test_the_clock_is_forgotten_when_it_was_set():
    ahead_us = np.where(np.arange(2_000) < 500, 1_268_000, 200_000)
    found = clocks.ahead(heard(ahead_us, np.full(2_000, 5_000)))["ahead_ns"].to_numpy() // 1_000
    assert set(found[:800]) == {1_263_000}, "late for half a minute at least, but never early"
    assert set(found[1_100:]) == {195_000}, "and for no more than a minute"
    late = clocks.ahead(heard(ahead_us[::-1], np.full(2_000, 5_000)))["ahead_ns"]
    assert (late[1_500:] // 1_000).unique().to_list() == [1_263_000], "at once"


def test_the_clock_of_all_tables_is_one_and_may_be_none():
    told = heard(np.arange(9), np.arange(9) % 4)
    parts = told.filter(pl.col("message") % 2 == 0), told.filter(pl.col("message") % 2 == 1)
    assert_frame_equal(clocks.ahead(*parts), clocks.ahead(told), check_exact=True)
    silent = told.with_columns(sent=pl.lit(None, schema.TIME))
    assert clocks.ahead(silent).is_empty()


def test_pandas_frames_are_at_home():
    quoted, traded = quotes(200), trades(150)
    assert_frame_equal(bins(quoted.to_pandas(), traded.to_pandas()), bins(quoted, traded))


def test_what_is_wrong_is_named():
    with pytest.raises(UserError, match="BTCUSDT must be in order of receipt"):
        bins(quotes(9).reverse())
    with pytest.raises(UserError, match="quotes: column 'ask' is missing"):
        bins(quotes(9).drop("ask"))
    wrong = quotes(9).with_columns(bid=pl.Series([1.0] * 8 + [math.nan]))
    with pytest.raises(UserError, match="'bid' is not known in 1 rows"):
        frame(wrong)
    with pytest.raises(UserError, match="above zero"):
        bins(quotes(9), every=timedelta(0))


def test_best_quotes_of_books():
    shown = books(200)
    found = order_flow.quotes_of({"BTCUSDT": shown})
    assert found["bid"].to_list() == shown.levels[:, 0, 0, 0].tolist()
    assert bins(found)["ofi"].drop_nulls().len() > 0
    untold = shown._replace(time_us=np.where(np.arange(200) < 5, 0, shown.time_us))
    assert order_flow.quotes_of({"BTCUSDT": untold}).height == 195
    told = order_flow.multi_level({"BTCUSDT": untold}, every="1 s")
    assert told["level_1"].drop_nulls().len() > 0 and told.height < 99
    proven = np.arange(200) % 2 == 0
    assert order_flow.quotes_of({"X": shown._replace(proven=proven)}).height == 100


# -- what flow explains -----------------------------------------------------------------------


def test_a_planted_impact_is_explained_and_not_predicted():
    random = np.random.default_rng(1)
    flow = random.normal(0, 1, 3_000)
    change = 2 * flow + random.normal(0, 2, 3_000)
    table = pl.DataFrame({"symbol": ["X"] * 3_000, "ofi": flow, "mid_change": change})
    assert order_flow.r_squared(table) == pytest.approx(0.5, abs=0.04)
    by_lag = dict(order_flow.lagged(table, lags=(-1, 0, 1)).select("lag", "correlation").rows())
    assert by_lag[0] == pytest.approx(math.sqrt(0.5), abs=0.03)
    assert max(abs(by_lag[-1]), abs(by_lag[1])) < 0.06
    later = table.with_columns(pl.col("mid_change").shift(2))
    assert order_flow.lagged(later, lags=(2,))["correlation"][0] > 0.6
    assert order_flow.r_squared(table.head(2)) is None


def test_explains_names_each_flow_and_length():
    found = order_flow.explains(quotes(600), trades(400), every=("500 ms", "1 s"))
    assert found["flow"].to_list() == ["ofi", "depth_delta", "trade_flow"] * 2
    assert (found["low"] <= found["r_squared"]).all() and (
        found["r_squared"] <= found["high"]
    ).all()
    assert found["every"].unique().sort().to_list() == [500_000, 1_000_000]
