"""Several strategies in one account: its money adds up, and no share knows a later day."""

import json
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests_settings import SMALL

import research
from research import cli, pipeline, portfolio, study, tape
from research.errors import UserError
from research.portfolio import account, weights
from research.store import ledger

START = datetime(2025, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CAPITAL = 10_000.0
FEE = 0.001
HOW = {"every": 2 * DAY, "lookback": 5 * DAY, "capital": CAPITAL}


def rules(**options):
    plain = {
        "data.interval": "1 h",
        "labels.horizon": "3 h",
        "costs.fee": FEE,
        "costs.slippage": 0.0,
        "backtest.enter": 0.001,
    }
    return study.Study().with_options({**plain, **options})


def bars(symbol="A", *, days=12, start=START, seed=0, drift=0.0, noise=0.01):
    n, rng = days * 24, np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(drift, noise, n) if noise else np.full(n, drift)))
    open_ = np.concatenate([[100.0], close[:-1]])
    opened = pl.datetime_range(start, start + (n - 1) * HOUR, HOUR, eager=True)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "time": opened + HOUR,
            "open_time": opened,
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
            "volume": np.full(n, 1e6),
            "quote_volume": 1e6 * close,
        }
    )


def told(source, values):
    return source.select(
        "symbol",
        "time",
        forecast=pl.Series(values, dtype=pl.Float64),
        sigma=pl.lit(0.01),
        known_at=pl.col("time") + 3 * HOUR,
    )


def part(name, source, values, **options):
    """A component that is told `values`, one for each bar."""
    asked = rules(**options)
    return account.component(
        name, tape.lay(asked, source, told(source, values)), tape.rules(asked), CAPITAL
    )


def guesser(name, symbol="A", seed=0, cut=None, **more):
    """A component that knows a little; after `cut`, its bars and forecasts are others."""
    source, rng = bars(symbol, seed=seed, **more), np.random.default_rng(seed + 100)
    ahead = (source["close"].shift(-1) / source["close"] - 1).fill_null(0.0).to_numpy()
    values = rng.normal(0, 0.002, source.height) + 0.3 * ahead
    if cut is not None:
        later = source["time"] > cut
        moved = (pl.col(c) * pl.when(later).then(1.2).otherwise(1.0) for c in ("open", "close"))
        source = source.with_columns(*moved).with_columns(
            high=pl.max_horizontal("open", "close"), low=pl.min_horizontal("open", "close")
        )
        values = np.where(later.to_numpy(), -values, values)
    return part(name, source, values)


def holder(name, drift, **more):
    """A component that buys at each period's start and holds, at a price that drifts evenly."""
    source = bars(name, drift=drift, noise=0, **more)
    return part(name, source, np.full(source.height, 1.0))


def idler(name):
    source = bars(name, seed=9)
    return part(name, source, np.zeros(source.height))


# -- money ---------------------------------------------------------------------------------------


def test_an_account_by_hand():
    """Buy and hold of two even drifts, half each: every period's growth is known in closed form."""
    up, down = 0.001, -0.0005
    made = portfolio.together([holder("U", up), holder("D", down)], weights="equal", **HOW)
    worth = CAPITAL
    for period in range(6):
        # decided at the period's first close (a day's first bar, or its midnight), filled at the
        # next open, which equals that close; sold at the period's last close
        held = 48 - (period == 0)
        grown = [np.exp(drift * held) * (1 - FEE) / (1 + FEE) for drift in (up, down)]
        worth *= sum(grown) / 2
    assert made.equity["equity"][-1] == pytest.approx(worth, rel=1e-12)
    assert made.weights["weight"].to_list() == [0.5] * 12
    assert made.trades.height == 12
    assert (made.trades["exit_reason"] == "end").all()


@pytest.mark.parametrize("scheme", portfolio.WEIGHTS)
def test_trades_add_up_to_what_the_account_gained(scheme):
    parts = [guesser("a", seed=1), guesser("b", "B", seed=2), guesser("c", seed=3), idler("d")]
    made = portfolio.together(parts, weights=scheme, **HOW)
    gained = made.equity["equity"][-1] - CAPITAL
    assert made.trades["net"].sum() == pytest.approx(gained, abs=1e-9 * CAPITAL)
    assert made.equity["fees"].sum() == pytest.approx(made.trades["fees"].sum())
    assert made.equity["gross"][-1] - CAPITAL == pytest.approx(made.trades["gross"].sum())
    assert made.equity["time"].is_sorted() and made.equity["time"].is_unique().all()
    assert made.summary["net_return"] == pytest.approx(gained / CAPITAL)
    assert set(made.trades["component"]) <= {"a", "b", "c"}
    assert made.equity["exposure"].max() <= made.equity["equity"].max() * 1.01


def test_each_period_ends_flat():
    made = portfolio.together([guesser("a", seed=1)], weights="equal", **HOW)
    ends = [START + n * 2 * DAY for n in range(1, 7)]
    at_end = made.equity.filter(pl.col("time").is_in(ends))
    assert at_end.height == 6 and (at_end["exposure"] == 0).all()
    for trade in made.trades.iter_rows(named=True):
        assert not any(trade["entry_time"] < end < trade["exit_time"] for end in ends)


def test_one_component_and_one_period_is_its_own_backtest(small):
    alone = pipeline.backtest(small)
    made = portfolio.run(small, every=400 * DAY, progress=lambda *_: None)
    assert made.equity["time"].equals(alone.equity["time"])
    apart = made.equity["equity"] - alone.equity["equity"]
    assert apart.abs().max() < 1e-6
    assert made.trades.drop("component").height == alone.trades.height
    for key in ("net_return", "gross_return", "sharpe", "max_drawdown", "trades", "net_low"):
        assert made.summary[key] == pytest.approx(alone.summary[key], abs=1e-12), key
    assert made.components["net_return"][0] == pytest.approx(alone.summary["net_return"])


# -- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", portfolio.WEIGHTS)
@pytest.mark.parametrize("cut", [START + 8 * DAY, START + 9 * DAY + 7 * HOUR])
def test_later_bars_and_forecasts_change_nothing_earlier(scheme, cut):
    def made(at):
        parts = [guesser("a", seed=1, cut=at), guesser("b", "B", seed=2, cut=at)]
        return portfolio.together(parts, weights=scheme, **HOW)

    known, changed = made(None), made(cut)
    assert not known.equity.equals(changed.equity), "the change had no effect: nothing is shown"
    # an exit at `cut` itself may be the open of the first bar that was changed
    earlier = {"weights": pl.col("start") <= cut, "equity": pl.col("time") <= cut}
    for name, rows in {**earlier, "trades": pl.col("exit_time") < cut}.items():
        before = [getattr(x, name).filter(rows) for x in (known, changed)]
        assert before[0].height and before[0].equals(before[1]), name


def test_shares_look_at_whole_days_before_the_period_alone():
    parts = [guesser("a", seed=1), guesser("b", "B", seed=2)]
    made = portfolio.together(parts, weights="inverse_volatility", **HOW)
    table = made.weights.pivot("component", index=["start", "days"], values="weight")
    assert table["days"].to_list() == [0, 2, 4, 5, 5, 5]
    for start, _, *share in table.rows()[3:]:  # midnights
        past = []
        for one in parts:  # by hand: closes of the days, the last bar of a day is its midnight
            result = one.laid.play(one.rules, capital=CAPITAL)
            close = dict(zip(result.time, result.equity, strict=True))
            ends = [start - n * DAY for n in range(5, -1, -1)]
            worth = np.array([close[int(end.timestamp() * 1e6)] for end in ends])
            past.append((worth[1:] / worth[:-1] - 1).std())
        assert share == pytest.approx((1 / np.array(past)) / (1 / np.array(past)).sum())


def test_components_of_other_spans_trade_while_all_do():
    early, late = guesser("a", seed=1, days=12), guesser("b", "B", seed=2, start=START + 4 * DAY)
    made = portfolio.together([early, late], weights="inverse_volatility", **HOW)
    assert made.weights["start"][0] == START + 4 * DAY + HOUR
    assert made.equity["time"][-1] == START + 12 * DAY
    # days before the younger one began are nobody's: it would look calm
    assert made.weights["days"].to_list()[:6] == [0, 0, 2, 2, 4, 4]
    with pytest.raises(UserError, match="no time out of sample that all components share"):
        portfolio.together([early, guesser("c", start=START + 60 * DAY)], weights="equal", **HOW)


def test_components_may_have_bars_of_other_lengths():
    slow = bars("B", seed=2).filter(pl.col("time").dt.hour() % 4 == 0)
    values = np.random.default_rng(5).normal(0, 0.002, slow.height)
    made = portfolio.together(
        [guesser("a", seed=1), part("b", slow, values)], weights="equal", **HOW
    )
    assert made.equity.height == 12 * 24 - 3  # both live from the slow one's first bar on
    gained = made.equity["equity"][-1] - CAPITAL
    assert made.trades["net"].sum() == pytest.approx(gained, abs=1e-9 * CAPITAL)


def test_a_period_without_bars_is_passed_over():
    def gappy(name, seed):
        source = bars(name, seed=seed)
        kept = source.filter(~pl.col("time").is_between(START + 4 * DAY, START + 7 * DAY))
        return part(name, kept, np.random.default_rng(seed).normal(0, 0.002, kept.height))

    # one of two has no bars: its share waits; neither has: the account waits
    for parts in ([gappy("a", 1), guesser("b", "B", seed=2)], [gappy("a", 1), gappy("b", 2)]):
        made = portfolio.together(parts, weights="equal", **HOW)
        gained = made.equity["equity"][-1] - CAPITAL
        assert made.trades["net"].sum() == pytest.approx(gained, abs=1e-9 * CAPITAL)
        inside = made.trades.filter(
            pl.col("exit_time").is_between(START + 4 * DAY, START + 6 * DAY, closed="right")
        )
        assert "a" not in inside["component"].to_list()


# -- who trades ----------------------------------------------------------------------------------


def test_nobody_trades_in_an_account_of_cash():
    losers = [holder("L", -0.001), holder("M", -0.002)]
    made = portfolio.together(losers, weights="cost_aware", **HOW)
    late = made.weights.filter(pl.col("days") >= weights.FEWEST_DAYS)
    assert late.height and (late["weight"] == 0).all()
    after = made.equity.filter(pl.col("time") > late["start"][0])
    assert after["equity"].n_unique() == 1 and after["traded"].sum() == 0
    assert "100% cash" in made.shares()["shares"].to_list()[-1]


def test_one_that_never_trades_is_a_component_like_any():
    made = portfolio.together([idler("i"), guesser("a", seed=1)], weights="best", **HOW)
    assert made.components["trades"][0] == 0 and made.components["net_return"][0] == 0
    nobody = portfolio.together([idler("i"), idler("j")], weights="cost_aware", **HOW)
    assert nobody.trades.is_empty() and "component" in nobody.trades.columns
    assert nobody.summary["net_return"] == 0 and nobody.summary["trades"] == 0
    assert nobody.to_dict()["components"][1]["sharpe"] is None


def test_a_ruined_account_trades_no_more():
    source = bars("C", noise=0)
    crash = source["time"] > START + 3 * DAY
    source = source.with_columns(
        pl.when(crash).then(pl.col(c) * 0.5).otherwise(c).alias(c) for c in ("low", "close")
    ).with_columns(open=pl.when(crash.shift(1, fill_value=False)).then(50.0).otherwise("open"))
    much = {"sizing.leverage": 5, "sizing.kind": "fraction", "sizing.fraction": 5}
    asked = {**much, "sizing.maintenance": 0}
    made = portfolio.together(
        [part("c", source, np.ones(source.height), **asked)], weights="equal", **HOW
    )
    assert made.equity["equity"][-1] <= 0
    assert made.weights["weight"].to_list() == [1, 1, 0, 0, 0, 0]
    assert made.equity.filter(pl.col("time") > START + 4 * DAY)["traded"].sum() == 0


def test_hindsight_is_called_by_its_name():
    made = portfolio.together([holder("U", 0.001), holder("D", -0.001)], weights="equal", **HOW)
    assert made.hindsight["component"] == "U"
    assert "best with hindsight: U" in made.text() and "no result" in made._repr_html_()
    json.dumps(made.to_dict(), allow_nan=False)
    assert made.to_dict()["hindsight"] == "U"


# -- shares --------------------------------------------------------------------------------------

PAST = arrays(
    float,
    st.tuples(st.integers(5, 9), st.integers(1, 5)),
    elements=st.floats(-0.2, 0.2).map(lambda x: round(x, 4)),
)


@given(PAST, st.sampled_from(sorted(portfolio.WEIGHTS)))
def test_shares_are_parts_of_one_account(past, name):
    share = weights.shares(past, name)
    assert share.shape == (past.shape[1],)
    assert (share >= 0).all() and share.sum() <= 1 + 1e-12
    if name != "cost_aware":
        assert share.sum() == pytest.approx(1)
    if name != "best":  # whose ties go by order
        order = np.random.default_rng(0).permutation(past.shape[1])
        assert weights.shares(past[:, order], name) == pytest.approx(share[order])


@given(PAST)
def test_cost_aware_is_inverse_volatility_without_the_losers(past):
    plain, aware = weights.inverse_volatility(past), weights.cost_aware(past)
    assert ((aware == plain) | (aware == 0)).all()
    assert not aware[past.mean(axis=0) <= 0].any()


def test_a_short_history_tells_nothing_apart():
    assert weights.shares(np.array([[0.1, -0.1]] * 4), "best").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"weights": "bset"}, "no weights 'bset'. Did you mean 'best'"),
        ({"every": 3 * HOUR}, "every must be of whole days"),
        ({"every": timedelta(0)}, "every must be of whole days"),
        ({"lookback": 2 * DAY}, "lookback must be of whole days and 5 d at least"),
        ({"lookback": 130 * HOUR}, "lookback must be of whole days"),
        ({"watched": 12 * DAY}, "no time out of sample of more than 12 d"),
    ],
)
def test_a_wrong_account_is_one_line(more, said):
    with pytest.raises(UserError, match=said):
        portfolio.together([idler("a")], **{"weights": "equal", **HOW, **more})


# -- studies -------------------------------------------------------------------------------------


def test_studies_by_symbol_share_the_account_and_count_as_trials(store, small):
    other = small.with_options({"backtest.enter": "4 bps"})
    before = _count(small)
    made = portfolio.run([small, other], by_symbol=True, every=2 * DAY, progress=lambda *_: None)
    assert made.components.height == 4
    assert made.components["component"][2].startswith("demo backtest.enter=0.0004 SIM01")
    assert made.counted == _count(small) and made.counted - before in (2, 3)
    again = portfolio.run([small, other], by_symbol=True, every=2 * DAY, progress=lambda *_: None)
    assert again.counted == made.counted and again.equity.equals(made.equity)
    gained = made.equity["equity"][-1] - made.capital
    assert made.trades["net"].sum() == pytest.approx(gained, abs=1e-9 * made.capital)
    assert f"{made.counted}" in made.text()


def _count(made):
    from research import datasets

    return ledger.count(datasets.dataset(made).lineage)


def test_a_walk_counts_every_combination_and_itself(store):
    options, watched = {**SMALL, "simulated.seed": 77}, []
    made = portfolio.walk_forward(
        "demo",
        options,
        ["backtest.enter=4 bps,20 bps", "model.alpha=0.1,10"],
        every=DAY,
        lookback=5 * DAY,
        progress=lambda *a: watched.append(a),
    )
    assert made.counted == 4 + 1 == _count(study.read("demo", options))
    assert made.components["component"][1] == "backtest.enter=4 bps, model.alpha=10"
    # 6 days out of sample: 5 are watched, the sixth is traded by the best of them
    assert made.weights["days"].unique().to_list() == [5]
    held = made.weights.filter(pl.col("weight") > 0)
    assert held.height == 1 and held["weight"][0] == 1
    assert [a[:2] for a in watched] == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 1)]
    chosen = made.components.filter(pl.col("component") == held["component"][0])
    assert made.summary["net_return"] == pytest.approx(chosen["net_return"][0])


def test_combinations_that_only_trade_differently_read_one_forecast(monkeypatch, store):
    asked, ask = [], pipeline.forecasts
    monkeypatch.setattr(
        pipeline, "forecasts", lambda study, **k: asked.append(study) or ask(study, **k)
    )
    options = {**SMALL, "simulated.seed": 78}
    grid = ["backtest.enter=4 bps,20 bps", "model.alpha=0.1,10"]
    made = portfolio.walk_forward(
        "demo", options, grid, every=DAY, lookback=5 * DAY, progress=lambda *a: None
    )
    assert [each.model.alpha for each in asked] == [0.1, 10]
    # each is what it is when it is made alone
    for row in made.components.to_dicts():
        words = dict(word.split("=") for word in row["component"].split(", "))
        alone = study.read("demo", {**options, **words})
        (part,) = portfolio.components(alone)
        only = account.together([part], weights="equal", **HOW, watched=5 * DAY)
        assert row["trades"] == only.components["trades"][0]
        assert row["net_return"] == pytest.approx(only.components["net_return"][0])


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: portfolio.run([]), "name at least one study"),
        (lambda: portfolio.run(["demo", "demo"]), "'demo' is named twice"),
        (lambda: portfolio.run(["dmeo"]), "Did you mean 'demo'"),
        (lambda: portfolio.run("demo", weights="bets"), "no weights 'bets'"),
        (lambda: portfolio.walk_forward("demo", {}, []), "walk: name at least one setting"),
        (lambda: portfolio.walk_forward("demo", {}, ["costs.fee=1 bps,2 bps"]), "fact of the mark"),
        (lambda: portfolio.walk_forward("demo", {}, ["model.alfa=1,2"]), "unknown key"),
        (
            lambda: portfolio.walk_forward(
                "demo", {"data.market": "spot"}, ["backtest.side=short"]
            ),
            "sells what is not held",
        ),
    ],
)
def test_a_mistake_is_said_before_any_work(work, said, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    with pytest.raises(UserError, match=said):
        work()
    assert not list(tmp_path.iterdir())


def test_a_cell_reaches_both_rooms_by_name():
    assert research.portfolio.run is portfolio.run
    assert research.search.run.__module__ == "research.search"
    assert {"portfolio", "search"} <= set(dir(research))


# -- the command line ----------------------------------------------------------------------------


def command(capsys, *words):
    before, sys.argv = sys.argv, ["run", *words]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return code, said.out, said.err


OPTIONS = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]


def test_portfolio_from_the_command_line(store, capsys):
    words = ["portfolio", "demo", "--by-symbol", "--every", "3 d", "--lookback", "1w", *OPTIONS]
    code, out, _ = command(capsys, *words, "--weights", "cost_aware", "--json")
    found = json.loads(out)
    assert code == 0 and len(found["components"]) == 2 and found["trials"] > 0
    assert {row["start"][:10] for row in found["weights"]} == {"2024-01-07", "2024-01-10"}
    code, out, _ = command(capsys, *words)
    assert code == 0 and "net return" in out and "best with hindsight" in out


def test_walk_from_the_command_line(store, capsys):
    grid = ["-g", "backtest.enter=4 bps,20 bps", "--every", "1 d", "--lookback", "5 d"]
    code, out, _ = command(capsys, "walk", "demo", *grid, *OPTIONS, "--json")
    assert code == 0 and len(json.loads(out)["components"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["portfolio", "demo", "--weights", "bset"], "Did you mean 'best'"),
        (["portfolio", "demo", "--every", "7"], "expected a number with a unit"),
        (["portfolio", "demo", "demo"], "named twice"),
        (["walk", "demo"], "walk: name at least one setting"),
        (["walk", "demo", "-g", "simulated.seed=1,2"], "fact of the market"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(capsys, words, said):
    code, out, err = command(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err


@pytest.mark.parametrize("name", ["portfolio", "walk"])
def test_commands_explain_themselves(capsys, name):
    code, out, _ = command(capsys, name, "--help")
    assert code == 0 and "--json" in out and "--every" in out
