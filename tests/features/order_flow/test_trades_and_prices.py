import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).parent))

from flows import START, quotes, trades

from research.errors import UserError
from research.features import order_flow
from research.features.order_flow import prices, toxicity
from research.features.order_flow import trades as takers
from research.features.order_flow.clocks import EXCHANGE, by_symbol
from research.steps import scan


def stream(table):
    return by_symbol(table, "trades", clock=EXCHANGE)["BTCUSDT"]


def prints(*rows):
    """Trades at some milliseconds: price, quantity, side."""
    milliseconds, *values = zip(*rows)
    table = trades(len(rows))
    time = pl.Series(np.array(milliseconds) * 1_000 + START).cast(pl.Datetime("us", "UTC"))
    names = dict(zip(("price", "quantity", "taker_side"), values))
    return table.with_columns(
        time=time, **{n: pl.Series(v).cast(table[n].dtype) for n, v in names.items()}
    )


# -- trades -----------------------------------------------------------------------------------


def test_prints_of_one_instant_and_side_are_one_order():
    table = prints(
        (1, 100.0, 1.0, 1), (1, 101.0, 3.0, 1), (1, 99.0, 2.0, -1), (1, 99.0, 1.0, 1),
        (2, 100.0, 5.0, 1),
    )  # fmt: skip
    price, quantity, side = takers.orders(stream(table)).values
    assert price.tolist() == [100.75, 99.0, 99.0, 100.0]
    assert quantity.tolist() == [4.0, 2.0, 1.0, 5.0]
    assert side.tolist() == [1, -1, 1, 1]


def test_taker_imbalance_forgets_by_the_clock_and_not_by_the_trade():
    """An imbalance was once carried on for ever when no trade came."""
    live = order_flow.streaming_taker_flow("1 s")
    live.update(0, 0.0, 1)
    assert live.update(1_000_000, 3.0, 1).imbalance == 1.0
    assert live.update(1_500_000, 1.0, -1) == (0.5, 2.0)
    assert live.update(2_000_000, 0.0, 1) == (-1.0, -1.0)
    assert live.update(9_000_000, 0.0, 1) == (0.0, 0.0)


# -- VPIN -------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [50, 20])
def test_vpin_of_sides_tossed_by_a_coin(each):
    side = np.random.default_rng(3).choice([-1.0, 1.0], 400_000)
    rules = scan(toxicity.vpin, toxicity.vpin_memory(), (np.ones(len(side)), side), float(each))
    settled = rules[1][each * 60 :: each * 50]
    assert settled.mean() == pytest.approx(math.sqrt(2 / (math.pi * each)), rel=0.03)


def test_vpin_by_hand():
    live = order_flow.streaming_vpin(10.0, buckets=2)
    assert math.isnan(live.update(8.0, 1))
    assert math.isnan(live.update(4.0, -1))  # fills the first, 8 against 2, and 2 of the second
    assert live.update(18.0, 1) == pytest.approx((6 / 10 + 10 / 10) / 2)  # 8 against 2, 10 more
    assert live.update(10.0, 1) == 1.0


def test_vpin_splits_a_trade_over_many_buckets():
    live = order_flow.streaming_vpin(0.1, buckets=3)
    assert live.update(1.0, 1) == pytest.approx(1.0)
    with pytest.raises(UserError, match="above 0, found 0"):
        order_flow.streaming_vpin(0)


# -- Kyle's lambda ----------------------------------------------------------------------------


def bins_with(slope, count=4_000, seed=1):
    random = np.random.default_rng(seed)
    flow = random.normal(0, 2, count)
    change = slope * flow + random.normal(0, 1, count)
    time = pl.Series(START + 1_000_000 * np.arange(count)).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {"symbol": ["X"] * count, "time": time, "trade_flow": flow, "mid_change": change}
    )


def test_a_planted_lambda_is_recovered():
    bins = bins_with(0.8)
    found = order_flow.kyle_lambda(bins)["kyle_lambda"]
    assert found[:2].null_count() == 2
    assert found[-1] == pytest.approx(0.8, rel=0.05)
    flow, change = bins["trade_flow"].to_numpy(), bins["mid_change"].to_numpy()
    assert found[99] == pytest.approx(np.polyfit(flow[:100], change[:100], 1)[0])


def test_a_lambda_that_changes_is_followed_and_unknown_bins_are_passed_over():
    bins = pl.concat([bins_with(0.8), bins_with(2.0, seed=2)])
    bins = bins.with_columns(time=bins["time"][0] + pl.duration(seconds=pl.row_index()))
    bins = bins.with_columns(trade_flow=pl.when(pl.row_index() % 7 > 0).then(pl.col("trade_flow")))
    found = order_flow.kyle_lambda(bins, half_life="10 m")["kyle_lambda"]
    assert found[-1] == pytest.approx(2.0, rel=0.05)
    assert found[7] is None and found[8] is not None


# -- prices of the top ------------------------------------------------------------------------


def imbalanced(count=40_000, seed=4, ups=0.8):
    """Quotes of spread 1 whose next move is up with probability `ups` where bids weigh more."""
    random = np.random.default_rng(seed)
    heavy = random.random(count) < 0.5
    moves = random.random(count) < 0.3
    up = random.random(count) < np.where(heavy, ups, 1 - ups)
    tick = 1_000 + np.concatenate([[0], np.cumsum(np.where(moves, np.where(up, 1, -1), 0))[:-1]])
    table = quotes(count)
    return table.with_columns(
        bid=pl.Series(np.round(tick * 0.1, 1)),
        ask=pl.Series(np.round(tick * 0.1 + 0.1, 1)),
        bid_quantity=pl.Series(np.where(heavy, 9.0, 1.0)),
        ask_quantity=pl.Series(np.where(heavy, 1.0, 9.0)),
    ), heavy


def test_a_microprice_knows_the_planted_move():
    """At three events in ten the mid moves by 0.6 ticks on average, else all begins anew."""
    table, heavy = imbalanced()
    fitted = order_flow.fit_microprice(table)
    assert fitted.tick == 0.1
    # the next state is heavy or light alike, so what follows adds nothing
    assert fitted.adjustment[9, 0] == pytest.approx(0.3 * 0.6, abs=0.01)
    assert np.array_equal(fitted.adjustment, -fitted.adjustment[::-1])
    values = tuple(table[c].to_numpy() for c in ("bid", "bid_quantity", "ask", "ask_quantity"))
    gap = prices.gaps_of(tuple(map(np.array, values)), fitted)
    assert np.array_equal(gap > 0, heavy)


def test_a_microprice_wants_one_symbol_that_moves():
    with pytest.raises(UserError, match="one symbol"):
        order_flow.fit_microprice(pl.concat([quotes(5), quotes(5, symbol="X")]))
    with pytest.raises(UserError, match="never moves"):
        order_flow.fit_microprice(quotes(5).with_columns(bid=1.0, ask=2.0))


def test_next_moves_are_counted_by_imbalance():
    table, _ = imbalanced()
    found = order_flow.next_move(table)
    shares = dict(zip(found["low"], found["probability"]))
    assert shares[0.0] is None or shares[0.0] < 0.5
    assert shares[0.9] == pytest.approx(0.7, abs=0.12)
    assert shares[0.3] is None


def test_the_next_change_is_the_next_one_that_is():
    found = order_flow.explain._next_change(np.array([1.0, 1.0, 2.0, 2.0, 1.0, 1.0]))
    assert found[:4].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert np.isnan(found[4:]).all()


def test_what_a_taker_paid_and_what_was_left_of_it():
    columns = {"bid": [100.0, 100.0, 102.0], "ask": [101.0, 101.0, 103.0]}
    table = quotes(3).with_columns(
        *(pl.Series(name, values) for name, values in columns.items()),
        time=pl.Series([START, START + 5_000, START + 1_005_000]).cast(pl.Datetime("us", "UTC")),
    )
    paid = order_flow.realised_spread(
        table, prints((5, 101.0, 1.0, 1), (6, 100.0, 1.0, -1)), horizon="1 s"
    )
    first, second = paid.rows(named=True)
    assert first["effective_spread"] == pytest.approx(2 * 0.5 / 100.5)
    assert first["realised_spread"] == pytest.approx(2 * (101 - 102.5) / 100.5)
    total = first["realised_spread"] + first["price_impact"]
    assert total == pytest.approx(first["effective_spread"])
    assert (first["known_at"] - first["time"]).total_seconds() == 1.0
    # of the second the quotes end before the second is over
    assert second["realised_spread"] is None and second["effective_spread"] > 0
