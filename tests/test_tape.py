"""From tables to the desk: what of a study, of bars and of forecasts the desk is told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research import schema, study, tape
from research.charges import depth
from research.errors import UserError
from research.live.feed import records
from research.trading.rules import REASONS
from research.trading.rules.words import EQUAL, FOLLOW, FRACTION, KELLY, PROBABILITY

START = datetime(2025, 3, 1, 7, 50, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SNAPSHOTS = Path(__file__).resolve().parent.parent.parent / "shared/data/l2_snapshots"
N = 40


def made(options=None, **more):
    plain = {"labels.horizon": "5 min", "costs.fee": "4 bps", "costs.slippage": 0.0}
    return study.Study().with_options({**plain, **(options or {}), **more})


def bars(symbols=("A", "B"), n=N, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, n)))
        opened = pl.datetime_range(START, START + (n - 1) * MINUTE, MINUTE, eager=True)
        open_ = np.concatenate([[100.0], close[:-1]])
        parts.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * n,
                    "time": opened + MINUTE,
                    "open_time": opened,
                    "open": open_,
                    "high": np.maximum(open_, close) * 1.001,
                    "low": np.minimum(open_, close) * 0.999,
                    "close": close,
                    "volume": np.full(n, 50.0),
                    "quote_volume": 50 * close,
                }
            )
        )
    return pl.concat(parts)


def forecasts(source, start=10, seed=1, **columns):
    rng = np.random.default_rng(seed)
    rows = source.filter(pl.int_range(pl.len()).over("symbol") >= start)
    return rows.select(
        "symbol",
        "time",
        forecast=pl.Series(rng.normal(0, 0.002, rows.height)),
        sigma=pl.Series(rng.uniform(0.001, 0.003, rows.height)),
        y=pl.lit(None, pl.Float64),
        known_at=pl.col("time") + 5 * MINUTE,
        fold=pl.lit("f"),
        model=pl.lit("m"),
        **columns,
    )


def chances(source, seed=2):
    made = forecasts(source, start=0)
    p = np.random.default_rng(seed).dirichlet([1, 1, 1], made.height)
    return made.with_columns(*(pl.Series(name, p[:, i]) for i, name in enumerate(schema.CLASSES)))


SIGNED = {"backtest.rule": "probability"}


def test_the_tape_begins_with_the_first_forecast_and_says_all_that_is_known():
    source = bars()
    given = forecasts(source).filter(pl.col("time") != START + 20 * MINUTE)
    laid = tape.lay(made(), source, given)
    assert laid.symbols == ["A", "B"]
    assert laid.table["time"].min() == int((START + 11 * MINUTE).timestamp() * 1e6)
    assert (laid.table["time"] - laid.table["opened"] == 60_000_000).all()
    row = laid.table.filter(time=int((START + 20 * MINUTE).timestamp() * 1e6), code=1)
    assert row["forecast"].is_nan().all()
    assert row["sigma"].is_nan().all()
    joined = given.sort("time", "symbol")
    known = laid.table.filter(pl.col("forecast").is_not_nan())
    for name in ("forecast", "sigma"):
        assert known[name].to_list() == joined[name].to_list()


def test_costs_are_those_of_symbol_and_hour():
    hours = [1.0] * 24
    hours[8] = 3.0
    options = {"costs.half_spread": {"A": 0.0001, "B": 0.0002}, "costs.hours": hours}
    laid = tape.lay(made(options), bars(), forecasts(bars(), start=0)).table
    first = laid.filter(pl.col("opened") < int(START.replace(hour=8, minute=0).timestamp() * 1e6))
    later = laid.filter(~pl.col("opened").is_in(first["opened"].implode()))
    for table, times in ((first, 1), (later, 3)):
        assert table.filter(code=0)["half_spread"].to_numpy() == pytest.approx(0.0001 * times)
        assert table.filter(code=1)["half_spread"].to_numpy() == pytest.approx(0.0002 * times)


def recorded(source, *, n=3):
    """A table of books around each bar's open, half a second before and a minute after it."""
    rows = source.select("symbol", time=pl.col("open_time") - timedelta(seconds=0.5), middle="open")
    sides = {"bid": -1, "ask": 1}
    return rows.with_columns(
        **{
            f"{side}_price_{i}": pl.col("middle") * (1 + up * (i + 1) * 1e-4)
            for side, up in sides.items()
            for i in range(n)
        },
        **{f"{side}_qty_{i}": pl.lit(10.0 + i) for side in sides for i in range(n)},
    )


BOOK = {"costs.fill": "book", "backtest.enter": "1 bps"}


def test_fills_walk_the_recorded_books(tmp_path):
    source = bars()
    path = tmp_path / "books.parquet"
    recorded(source).write_parquet(path)
    chosen = made(BOOK, **{"costs.books": str(path), "backtest.side": "long"})
    laid = tape.lay(chosen, source, forecasts(source, start=0))
    rules = tape.rules(chosen)
    assert rules.walks and laid.levels.shape == (laid.table.height, 2, 3, 2)
    assert laid.levels[:, 1, 0, 0] == pytest.approx(laid.table["open"].to_numpy() * 1.0001)
    found = laid.play(rules, capital=1_500.0)  # 750 of about 100 is in the first level
    opens = dict(zip(zip(laid.table["code"], laid.table["opened"]), laid.table["open"]))
    trades = found.trades
    entries = [opens[s, t] for s, t in zip(trades.symbol, trades.entry_time)]
    assert len(entries) > 5
    assert trades.entry_price / entries == pytest.approx(1 + 1e-4 * trades.side)
    rich = laid.play(rules, capital=200_000.0)  # 1,000 of them are not shown: 33 are
    assert rich.trades.quantity.max() == pytest.approx(33.0)
    again = tape.lay(
        chosen.with_options({"costs.fill": "open"}), source, forecasts(source, start=0)
    )
    keys = [tape.parts(x, rules, 1.0) for x in (laid, again, laid.always(1.0))]
    assert "levels" in keys[0] and "levels" not in keys[1] and "levels" in keys[2]


def test_latency_takes_the_book_at_the_fill(tmp_path):
    source = bars(("A",))
    path = tmp_path / "books.csv"
    late = recorded(source).with_columns(pl.col("time") + timedelta(seconds=2))
    late.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")).write_csv(path)
    told = forecasts(source, start=10)
    before, at = (
        tape.lay(made(BOOK, **{"costs.books": str(path), "costs.latency": span}), source, told)
        for span in (0, "122 s")
    )
    opens = before.table["open"].to_numpy()
    assert at.levels[:, 1, 0, 0] == pytest.approx(opens * 1.0001)
    assert before.levels[1:, 1, 0, 0] == pytest.approx(opens[:-1] * 1.0001)


def test_a_bar_without_a_book_is_refused_and_so_is_a_study_without_books(tmp_path):
    source = bars()
    told = forecasts(source, start=0)
    path = tmp_path / "books.parquet"
    cut = START + 20 * MINUTE
    holes = recorded(source).filter((pl.col("symbol") == "A") | (pl.col("time") < cut))
    holes.write_parquet(path)
    with pytest.raises(UserError, match=r"covers 6\d of 80; the first without is B at") as caught:
        tape.lay(made(BOOK, **{"costs.books": str(path)}), source, told)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"'book' needs costs\.books in a backtest"):
        tape.lay(made(BOOK), source, told)
    quotes = pl.DataFrame({"symbol": ["A"], "time": [START], "bid": [1.0], "ask": [2.0]})
    quotes.write_parquet(path)
    with pytest.raises(UserError, match="no recorded books with quantities"):
        tape.lay(made(BOOK, **{"costs.books": str(path)}), source, told)


def side(prices, quantities=(5, 5, 5)):
    return [[str(p), str(q)] for p, q in zip(prices, quantities)]


GOOD = side((99, 98, 97)), side((100, 101, 102))
BOOKS = {
    "good": GOOD,
    "shallow": (GOOD[0][:1], GOOD[1][:2]),
    "crossed": (side((101, 98, 97)), GOOD[1]),
    "locked": (side((100, 98, 97)), GOOD[1]),
    "bids turned": (side((97, 98, 99)), GOOD[1]),
    "asks turned": (GOOD[0], side((102, 101, 103))),
    "a price twice": (GOOD[0], side((100, 101, 101))),
    "a hole": (GOOD[0], side((100, 101, 102), (5, 0, 5))),
    "endless": (GOOD[0], side((100, 101, "inf"))),
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_recorded_book_is_one_where_the_live_side_takes_it(name, tmp_path):
    bids, asks = BOOKS[name]
    try:
        live = records.levels(0, bids, asks)
    except records.Unfit:
        live = None
    row = {"symbol": "A", "time": START}
    for word, levels in (("bid", bids), ("ask", asks)):
        for i in range(3):
            price, quantity = levels[i] if i < len(levels) else (None, None)
            row |= {f"{word}_price_{i}": price, f"{word}_qty_{i}": quantity}
    older = {f"{word}_{what}_{i}": GOOD[s][i][k] for s, word in enumerate(("bid", "ask"))
             for i in range(3) for k, what in enumerate(("price", "qty"))}  # fmt: skip
    rows = [{"symbol": "A", "time": START - MINUTE / 2} | older, row]
    pl.DataFrame(rows).write_parquet(tmp_path / "books.parquet")
    when = np.array([int(START.timestamp() * 1e6)])
    found, known, wrong = depth.at(str(tmp_path), ["A"], np.zeros(1, np.int64), when)
    assert [known[0], wrong[0]] == [live is not None, live is None]
    told = [tuple((p, q) for p, q in one if q) for one in found[0].tolist()]
    assert told == ([live.bids, live.asks] if live else [(), ()])


def test_books_that_cannot_be_are_counted_beside_those_that_cover(tmp_path):
    source, path = bars(), tmp_path / "books.parquet"
    late = pl.col("time").is_between(START + 9 * MINUTE, START + 12 * MINUTE)
    crossed = pl.when(late & (pl.col("symbol") == "B")).then(1.01).otherwise(1.0)
    recorded(source).with_columns(pl.col("bid_price_0") * crossed).write_parquet(path)
    with pytest.raises(UserError, match=r"covers 77 of 80 \(3 more are crossed or out of order\);"):
        tape.lay(made(BOOK, **{"costs.books": str(path)}), source, forecasts(source, start=0))


@pytest.mark.skipif(not SNAPSHOTS.is_dir(), reason="the shared order-book extracts are not here")
def test_real_books_are_read_level_by_level():
    times = [datetime(2025, 12, 2, 8, 1, tzinfo=UTC), datetime(2020, 9, 1, 0, 0, 5, tzinfo=UTC)]
    when = np.array([int(t.timestamp() * 1e6) for t in times])
    levels, known, wrong = depth.at(str(SNAPSHOTS), ["BTCUSDT"], np.zeros(2, np.int64), when)
    assert known.all() and not wrong.any() and levels.shape == (2, 2, 20, 2)
    raw = pl.read_parquet(SNAPSHOTS / "binance_um_BTCUSDT_20251202_l20.parquet")
    newest = (
        raw.filter(pl.col("timestamp") <= when[0] // 1000).sort("timestamp").row(-1, named=True)
    )
    for s, side in enumerate(("bid", "ask")):
        for i in (0, 7, 19):
            assert levels[0, s, i].tolist() == [
                newest[f"{side}_price_{i}"],
                newest[f"{side}_qty_{i}"],
            ]
    assert (levels[0, 1, :, 0].cumsum() > 0).all() and (np.diff(levels[0, 1, :, 0]) > 0).all()
    assert (levels[1, :, :5, 1] > 0).all()


def test_a_rule_of_probabilities_is_told_that_of_the_likeliest_class():
    rows = {
        (0.2, 0.3, 0.5): 0.5,
        (0.6, 0.3, 0.1): -0.6,
        (0.2, 0.6, 0.2): 0.0,
        (0.4, 0.2, 0.4): 0.0,  # two as likely as each other
        (0.1, 0.45, 0.45): 0.0,
        (0.45, 0.45, 0.1): 0.0,
        (None, None, None): np.nan,
    }
    source = bars(("A",), n=len(rows))
    p = dict(zip(schema.CLASSES, zip(*rows)))
    given = forecasts(source, start=0).with_columns(
        pl.Series(name, column, dtype=pl.Float64) for name, column in p.items()
    )
    laid = tape.lay(made(SIGNED), source, given)
    np.testing.assert_array_equal(laid.table["forecast"].to_numpy(), list(rows.values()))
    plain = tape.lay(made(), source, given)
    assert plain.table["forecast"].to_list() == given["forecast"].to_list()


def test_a_rule_of_probabilities_needs_them():
    with pytest.raises(UserError, match=r"no 'p_down'\. Choose a model") as found:
        tape.lay(made(SIGNED), bars(), forecasts(bars()))
    assert "\n" not in str(found.value)


def test_each_kind_of_rule_holds_as_its_study_says():
    horizon, no = 5 * 60_000_000, 0
    for rule, hold in (
        ("threshold", no),
        ("follow", no),
        ("quantile", horizon),
        ("probability", horizon),
    ):
        assert tape.rules(made({"backtest.rule": rule})).hold == hold
    assert tape.rules(made({"backtest.hold": "9 min"})).hold == 9 * 60_000_000
    assert tape.rules(made(SIGNED)).enter == 0.5
    assert tape.rules(made({**SIGNED, "backtest.enter_probability": 0.6})).enter == 0.6
    assert tape.rules(made({"backtest.rule": "follow"})).kind == FOLLOW
    assert tape.rules(made(SIGNED)).kind == PROBABILITY
    assert tape.rules(made()).enter == pytest.approx(0.0008)  # the round trip


def test_sizes_and_costs_of_the_study_reach_the_desk():
    options = {
        "sizing.kind": "kelly",
        "sizing.kelly": 0.5,
        "sizing.max_position": 0.4,
        "sizing.leverage": 4,
        "costs.latency": "90 s",
        "costs.min_notional": 5,
        "backtest.max_positions": 3,
    }
    found = tape.rules(made(options))
    assert (found.sizing, found.size, found.root**2) == (KELLY, 0.5, pytest.approx(5))
    assert (found.max_position, found.leverage, found.max_positions) == (0.4, 4.0, 3)
    assert (found.latency, found.min_notional, found.fee) == (90_000_000, 5.0, 0.0004)
    assert found.liquid_long == pytest.approx(0.75 / 0.996)
    stopped = tape.rules(made({"sizing.kind": "stop", "backtest.stop": "1 %"}))
    assert (stopped.sizing, stopped.size) == (FRACTION, 0.5)
    assert tape.rules(made()).sizing == EQUAL


def test_limits_of_the_study_reach_the_desk_and_stop_it():
    found = tape.rules(made())
    assert (found.daily_loss, found.drawdown) == (np.inf, np.inf)
    options = {"risk.daily_loss": "3 %", "risk.drawdown": 0.2}
    found = tape.rules(made(options))
    assert (found.daily_loss, found.drawdown, found.on_limit, found.resume) == (0.03, 0.2, 2, 0)
    options |= {"risk.on_limit": "reduce", "risk.resume": "next_day"}
    found = tape.rules(made(options))
    assert (found.on_limit, found.resume) == (1, 1)
    chosen = made({"risk.daily_loss": "1 %", "costs.fee": "10 bps", "backtest.enter": 0.0})
    source = bars(n=400)
    laid, rule = tape.lay(chosen, source, forecasts(source)), tape.rules(chosen)
    stored = tape.tables(laid, laid.play(rule, capital=1_000.0))
    halted = stored["reasons"].filter(pl.col("reason") == "risk_halt")
    met = stored["equity"].filter(pl.col("equity") <= 990)["time"][0]
    assert halted["time"].min() == met
    assert stored["trades"]["entry_time"].max() < met
    assert stored["equity"]["equity"].min() > 970
    free = laid.play(tape.rules(made({"costs.fee": "10 bps", "backtest.enter": 0.0})), capital=1e3)
    assert free.equity[-1] < 970


@pytest.mark.parametrize("rule", ["threshold", "quantile", "probability", "follow"])
def test_a_spot_market_is_only_held_long(rule):
    options = {"data.market": "spot", "backtest.rule": rule}
    found = tape.rules(made(options))
    assert (found.long, found.short, found.liquid_short) == (True, False, np.inf)
    assert tape.rules(made({**options, "backtest.side": "long"})) == found
    for side in ("short", "longshort"):
        with pytest.raises(UserError, match="a spot market can only be held long") as caught:
            tape.rules(made({**options, "backtest.side": side}))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizing.kind": "stop"}, "Set backtest.stop"),
        ({"backtest.overlap": 3}, "'quantile' or 'probability' with a hold"),
        ({"backtest.overlap": 3, "backtest.rule": "follow"}, "overlap must be 1"),
        ({"sizing.leverage": 100, "sizing.maintenance": "2 %"}, "liquidated as soon as"),
    ],
)
def test_what_cannot_go_together_is_one_clear_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        tape.rules(made(options))
    assert "\n" not in str(caught.value)


def key(options=None, given=None):
    chosen, source = made(options), bars()
    laid = tape.lay(chosen, source, chances(source) if given is None else given)
    return tape.parts(laid, tape.rules(chosen), 1_000.0)


@pytest.mark.parametrize(
    "options",
    [
        {"costs.fee": "5 bps"},
        {"costs.half_spread": "1 bps"},
        {"costs.slippage": "1 bps"},
        {"costs.latency": "1 s"},
        {"costs.funding": "1 bps"},
        {"costs.lot": 0.1},
        {"costs.tick": 0.1},
        {"costs.min_notional": 3},
        {"backtest.rule": "probability"},
        {"backtest.rule": "probability", "backtest.overlap": 2},
        {"backtest.max_positions": 2},
        {"backtest.stop": "1 %"},
        {"sizing.kind": "fraction"},
        {"sizing.leverage": 2},
        {"sizing.maintenance": "1 %", "sizing.leverage": 2},
        {"data.market": "spot"},
        {"risk.daily_loss": "3 %"},
        {"risk.drawdown": "3 %"},
        {"risk.drawdown": "3 %", "risk.resume": "next_day"},
        {"risk.drawdown": "3 %", "risk.on_limit": "reduce"},
    ],
    ids=str,
)
def test_all_that_decides_a_backtest_is_in_its_key(options):
    assert key() == key()
    assert key() != key(options)


def test_impact_and_sigma_are_in_the_key_too():
    source = bars(n=2 * 24 * 60, seed=3)
    given = forecasts(source, start=36 * 60)
    a, b = (tape.lay(made(o), source, given) for o in ({}, {"costs.impact": 1.0}))
    assert b.table["impact"].min() > 0
    rule = tape.rules(made())
    assert tape.parts(a, rule, 1.0) != tape.parts(b, rule, 1.0)
    other = given.with_columns(sigma=pl.col("sigma") * 2)
    assert tape.parts(tape.lay(made(), source, other), rule, 1.0) != tape.parts(a, rule, 1.0)


def test_play_tables_and_judgement_agree():
    chosen = made(
        {
            **SIGNED,
            "backtest.overlap": 3,
            "backtest.enter_probability": 0.4,
            "sizing.kind": "fraction",
            "costs.half_spread": "1 bps",
            "costs.funding": "1 %",
        }
    )
    source = bars(n=400)
    laid, rule = tape.lay(chosen, source, chances(source)), tape.rules(chosen)
    stored = tape.tables(laid, laid.play(rule, capital=1_000.0))
    gained = stored["equity"]["equity"][-1] - 1_000
    assert stored["trades"].height > 50
    assert stored["trades"]["net"].sum() == pytest.approx(gained, abs=1e-9)
    assert stored["trades"]["funding"].abs().sum() > 0
    assert set(stored["reasons"]["reason"]) <= set(REASONS)
    assert stored["reasons"].height == laid.table.height
    found = tape.judge(laid, rule, capital=1_000.0, stored=stored)
    at = found.fee_sweep.filter(pl.col("fee") == rule.fee)
    assert at["net_return"].item() == pytest.approx(gained / 1_000)


def test_buy_and_hold_goes_beside_any_rule():
    chosen = made({**SIGNED, "sizing.kind": "kelly", "sizing.leverage": 5})
    laid = tape.lay(chosen, bars(), chances(bars())).always(1.0)
    found = laid.play(tape.hold_forever(chosen), capital=1_000.0)
    assert len(found.trades.net) == 2
    assert found.position[-4:-2] @ [100, 100] == pytest.approx(1_000, rel=0.1)


def test_funding_is_paid_at_eight():
    chosen = made({"costs.funding": "1 %", "costs.fee": 0.0})
    laid = tape.lay(chosen, bars(("A",)), forecasts(bars(("A",)), start=0)).always(1.0)
    found = laid.play(tape.hold_forever(chosen), capital=1_000.0)
    paid = np.flatnonzero(found.funding)
    assert found.time[paid].tolist() == [int(START.replace(hour=8, minute=0).timestamp() * 1e6)]
    assert found.funding[paid].item() == pytest.approx(0.01 * found.exposure[paid].item())
