"""Pictures: what is drawn is the table, axes say their unit, titles say what is seen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.dates import date2num

from research import performance, plots
from research.errors import UserError
from research.plots import style

START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def minutes(n=300):
    times = pl.datetime_range(START + MINUTE, START + n * MINUTE, MINUTE, eager=True)
    return times.dt.cast_time_unit("us").alias("time")


def bars(n=300, symbol="BTCUSDT"):
    close = 100 + np.sin(np.arange(n) / 20)
    table = pl.DataFrame([minutes(n)]).with_columns(symbol=pl.lit(symbol), close=pl.Series(close))
    table = table.with_columns(
        open_time=pl.col("time") - MINUTE, open=pl.col("close").shift(1, fill_value=100.0)
    )
    return table.with_columns(
        high=pl.max_horizontal("open", "close") + 0.1, low=pl.min_horizontal("open", "close") - 0.1
    )


def curve(n=300, slope=1.0):
    equity = 1000 + slope * np.arange(n) - 80 * (np.arange(n) > 200)
    return pl.DataFrame([minutes(n)]).with_columns(
        equity=pl.Series(equity), gross=pl.Series(equity + 0.5 * np.arange(n))
    )


def trades():
    times = minutes().to_list()
    rows = [(10, 40, 1, 5.0), (100, 120, -1, -3.0)]
    return pl.DataFrame(
        [
            {
                "symbol": "BTCUSDT",
                "entry_time": times[a],
                "exit_time": times[b],
                "entry_price": 100.0,
                "exit_price": 101.0,
                "side": side,
                "net": net,
            }
            for a, b, side, net in rows
        ]
    )


def quality():
    days = [START.date() + k * DAY for k in range(3)]
    return pl.DataFrame(
        {
            "symbol": ["A"] * 3 + ["B"] * 3,
            "day": days * 2,
            "rows": [1440, 0, 1440, 1440, 1000, 1440],
            "missing": [0, 1440, 0, 0, 440, 0],
            "zero_volume": [0, 0, 0, 720, 0, 0],
        }
    )


def by_day():
    days = [START.date() + k * DAY for k in range(4)]
    ic = np.array([0.1, -0.02, 0.06, 0.02])
    return pl.DataFrame({"day": days, "ic": ic, "low": ic - 0.05, "high": ic + 0.05})


def decay():
    return pl.DataFrame(
        {
            "horizon": [MINUTE, 10 * MINUTE, 60 * MINUTE],
            "ic": [0.02, 0.05, 0.03],
            "low": [0.01, 0.04, 0.01],
            "high": [0.03, 0.06, 0.05],
            "ic_break_even": [0.2, 0.06, 0.025],
        }
    )


def quantiles(bins=5):
    mean = np.linspace(-2e-4, 3e-4, bins)
    return pl.DataFrame(
        {"bin": range(1, bins + 1), "mean": mean, "low": mean - 1e-4, "high": mean + 1e-4}
    )


def cumulative():
    days = [START.date() + k * DAY for k in range(3)]
    rows = [(day, b, 0.01 * b * (k + 1)) for k, day in enumerate(days) for b in (1, 2, 3)]
    return pl.DataFrame(rows, schema=["day", "bin", "cumulative"], orient="row")


def hindsight():
    return pl.DataFrame(
        {
            "scope": ["trailing", "date"],
            "known_in_time": [True, False],
            "spread": [1e-4, 9e-4],
            "low": [0.0, 7e-4],
            "high": [2e-4, 11e-4],
            "gap": [0.0, 8e-4],
        }
    )


def features():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(500)
    return pl.DataFrame(
        {"twin": a, "other": rng.standard_normal(500), "near": a + 0.1 * rng.standard_normal(500)}
    )


def rolling():
    return pl.DataFrame([minutes()]).with_columns(
        sharpe=pl.Series(np.linspace(0, 2, 300)), drawdown=-0.1, hit_rate=0.55
    )


def folds():
    starts = [START + 7 * k * DAY for k in range(3)]
    return pl.DataFrame(
        {
            "fold": [f"{s + 30 * DAY:%Y-%m-%dT%H:%MZ}" for s in starts],
            "train_start": starts,
            "train_end": [s + 30 * DAY for s in starts],
            "test_start": [s + 30 * DAY for s in starts],
            "test_end": [s + 37 * DAY for s in starts],
        }
    )


def league():
    return pl.DataFrame(
        {"name": ["no trade", "ridge"], "ic": [None, 0.05], "net_return": [0.0, 0.12]}
    )


def truth():
    return pl.DataFrame(
        {
            "name": ["planted", "found"],
            "ic": [0.06, 0.05],
            "low": [None, 0.04],
            "high": [None, 0.06],
        }
    )


def strengths():
    return pl.DataFrame(
        {
            "feature": ["weak", "strong"],
            "ic": [0.001, -0.04],
            "low": [-0.01, -0.05],
            "high": [0.012, -0.03],
        }
    )


def fees():
    return pl.DataFrame({"fee": [0.0, 2e-4, 4e-4], "net_return": [0.1, 0.0, -0.1]})


def alpha():
    return pl.DataFrame([minutes()]).with_columns(alpha=pl.Series([0.0, 0.02] * 150))


PICTURES = {
    "alpha_factor": (lambda ax: plots.alpha_factor(alpha(), ax=ax), "50% of bars", "s.d."),
    "candles": (lambda ax: plots.candles(bars(), ax=ax), "BTCUSDT", "price"),
    "compare_equity": (
        lambda ax: plots.compare_equity(curve(), curve(slope=2.0), names=("new", "old"), ax=ax),
        "new ends 29.9% below old, net",
        "net return (%)",
    ),
    "correlation": (lambda ax: plots.correlation(features(), ax=ax), "closest: ", ""),
    "coverage": (lambda ax: plots.coverage(quality(), ax=ax), "1,880 bars missing, 720", ""),
    "cumulative_quantiles": (
        lambda ax: plots.cumulative_quantiles(cumulative(), ax=ax),
        "top bin made +9.0%, the bottom bin +3.0%",
        "(%)",
    ),
    "distribution": (lambda ax: plots.distribution(features(), "twin", ax=ax), "0 null", "rows"),
    "equity": (
        lambda ax: plots.equity(curve(), ax=ax),
        "net +21.9%, gross +36.9%; deepest drawdown -6.6%",
        "return (%)",
    ),
    "feature_ic": (lambda ax: plots.feature_ic(strengths(), ax=ax), "1 of 2 features", ""),
    "fee_sweep": (
        lambda ax: plots.fee_sweep(fees(), break_even=2e-4, ax=ax),
        "break-even at 2.00 bps per side",
        "net return (%)",
    ),
    "folds": (lambda ax: plots.folds(folds(), ax=ax), "3 folds test 21 days", "fold"),
    "ic_by_day": (lambda ax: plots.ic_by_day(by_day(), ax=ax), "mean IC +0.0400; above", "IC"),
    "ic_decay": (
        lambda ax: plots.ic_decay(decay(), ax=ax),
        "best IC +0.0500 at 10 min; pays its costs at 1 of 3",
        "IC",
    ),
    "league": (
        lambda ax: plots.league(league(), break_even=0.07, ax=ax),
        "best: ridge at +12.0% net; costs need an IC of 0.070",
        "",
    ),
    "optimism": (lambda ax: plots.optimism(hindsight(), ax=ax), "up to +8.00 bps (date)", "bps"),
    "price": (lambda ax: plots.price(bars(), ax=ax), "300 bars, no gap", "close"),
    "quantiles": (lambda ax: plots.quantiles(quantiles(), ax=ax), "+5.00 bps", "bps"),
    "rolling": (
        lambda ax: plots.rolling(rolling(), ax=ax),
        "rolling over a trailing window",
        "Sharpe (365 d)",
    ),
    "trades_on_price": (
        lambda ax: plots.trades_on_price(bars(), trades(), ax=ax),
        "2 trades, 50% of them won",
        "close",
    ),
    "truth": (lambda ax: plots.truth(truth(), ax=ax), "planted +0.0600, found +0.0500", ""),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_draws_says_what_it_shows_and_takes_a_place(name):
    draw, title, unit = PICTURES[name]
    ax = draw(None)
    ax.figure.canvas.draw()
    assert isinstance(ax, Axes)
    assert title in ax.get_title(loc="left")
    assert unit in ax.get_ylabel()
    assert ax.figure.axes[-1].get_xlabel() or ax.get_xlabel() or name in ("correlation", "optimism")
    figure, place = plt.subplots()
    assert draw(place) is place
    assert place.figure is figure
    assert len(plt.get_fignums()) == 2  # its own, and ours; none left besides


def test_every_picture_is_tested():
    beside = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = {name for name in plots.__all__ if f"plots.{name}(" in beside}
    assert set(plots.__all__) - set(PICTURES) - {"sheets"} <= named  # test_sheets.py has those


@pytest.mark.parametrize("name", ["price", "equity", "ic_by_day", "quantiles", "fee_sweep"])
def test_pandas_frames_are_at_home(name):
    table = {"price": bars, "equity": curve, "ic_by_day": by_day, "quantiles": quantiles}
    frame = table.get(name, fees)()
    polars, pandas = (getattr(plots, name)(t) for t in (frame, frame.to_pandas()))
    assert polars.get_title(loc="left") == pandas.get_title(loc="left")


def test_missing_columns_and_symbols_are_named():
    with pytest.raises(UserError, match=r"plots\.quantiles: column 'mean' is missing"):
        plots.quantiles(quantiles().drop("mean"))
    both = pl.concat([bars(symbol="A"), bars(symbol="B")])
    with pytest.raises(UserError, match=r"plots.price: name one symbol\. Here: A, B"):
        plots.price(both)
    with pytest.raises(UserError, match="no symbol 'C'"):
        plots.candles(both, symbol="C")
    with pytest.raises(UserError, match="at least 2 columns"):
        plots.correlation(features(), columns=["twin"])


def test_price_breaks_at_gaps_and_shades_them():
    gappy = bars().filter(~pl.col("time").is_between(START + 50 * MINUTE, START + 90 * MINUTE))
    ax = plots.price(gappy)
    assert "259 bars, 1 gap (shaded)" in ax.get_title(loc="left")
    assert [len(line.get_xdata()) for line in ax.get_lines()] == [49, 210]
    (shade,) = ax.patches
    assert shade.get_width() == pytest.approx(41 / 1440)


def test_candles_hold_their_prices():
    table = bars(20)
    ax = plots.candles(table)
    bodies = sorted(ax.patches, key=lambda patch: patch.get_x())
    tops = [max(p.get_y(), p.get_y() + p.get_height()) for p in bodies]
    assert tops == pytest.approx(table.select(pl.max_horizontal("open", "close")).to_series())


def test_coverage_is_orange_where_missing_and_blue_without_volume():
    ax = plots.coverage(quality())
    picture = np.asarray(ax.collections[0].get_array())
    assert to_hex(picture[0, 1]) == style.ORANGE.lower()
    assert to_hex(picture[0, 0]) == style.PALE.lower()
    assert picture[1, 0, 2] > picture[1, 0, 0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B"]


def test_a_day_without_one_bar_is_seen_and_the_shading_has_a_scale():
    few = quality().with_columns(missing=pl.Series([1, 0, 0, 0, 0, 0]), zero_volume=pl.lit(0))
    ax = plots.coverage(few.with_columns(rows=1440 - pl.col("missing")))
    picture = np.asarray(ax.collections[0].get_array())
    assert np.abs(picture[0, 0] - picture[0, 1]).max() > 0.25
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["complete", "missing: 0.1, 10, 100 %", "no volume: 0.1, 10, 100 %"]


def test_a_missing_bar_is_seen_where_a_day_is_narrower_than_a_pixel():
    missing = pl.Series([3 if n == 450 else 0 for n in range(900)])
    days = pl.date_range(START.date(), START.date() + 899 * DAY, eager=True).alias("day")
    table = pl.DataFrame([days]).with_columns(symbol=pl.lit("A"), missing=missing, zero_volume=0)
    ax = plots.coverage(table.with_columns(rows=1440 - pl.col("missing")))
    (line,) = ax.collections[1].get_segments()
    assert line[:, 1].tolist() == [0, 1] and ax.collections[1].get_linewidth()[0] > 1
    assert line[0, 0] == pytest.approx(date2num(START) + 450)


def test_rolling_names_its_window_and_not_its_last_number():
    table = performance.rolling(curve(24 * 60 * 4).select("time", "equity"), timedelta(hours=10))
    ax = plots.rolling(table)
    assert ax.get_title(loc="left") == "rolling over 10 hours"
    labels = [part.get_ylabel() for part in ax.figure.axes]
    assert labels == ["Sharpe (365 d)", "drawdown (%)", "gaining periods (%)"]


def test_rolling_says_what_is_not_known():
    unknown = rolling().with_columns(pl.lit(None, pl.Float64).alias("hit_rate"))
    ax = plots.rolling(unknown)
    assert "nothing gained or lost" in ax.figure.axes[2].texts[0].get_text()
    short = unknown.with_columns(sharpe=None, drawdown=None)
    for table in (short, short.clear()):
        ax = plots.rolling(table)
        assert ax.texts[0].get_text() == "too few points: no window is full"
        assert not ax.get_xticklabels()


def test_no_break_even_above_one_is_drawn():
    """A correlation ends at one: beyond it the picture says so, and its axis stays of use."""
    impossible = decay().with_columns(ic_break_even=pl.Series([7.5, 0.06, float("inf")]))
    ax = plots.ic_decay(impossible)
    assert [text.get_text() for text in ax.texts] == ["no IC pays"] * 2
    assert [text.get_position()[0] for text in ax.texts] == [0, 2]
    drawn = np.concatenate([line.get_ydata() for line in ax.lines]).astype(float)
    assert np.nanmax(drawn) == 0.06 and ax.get_ylim()[1] < 0.1
    assert not plots.ic_decay(decay()).texts
    assert "no IC pays the costs" in plots.league(league(), break_even=4.1).get_title(loc="left")


def test_the_league_has_its_intervals_and_marks_the_study():
    more = league().with_columns(
        net_low=pl.Series([None, -0.05]),
        net_high=pl.Series([None, 0.3]),
        mine=pl.Series([0, 1]) > 0,
    )
    ax = plots.league(more)
    (whiskers,) = ax.collections
    assert whiskers.get_segments()[0][:, 0] == pytest.approx([-0.05, 0.3])
    assert whiskers.get_segments()[0][:, 1] == pytest.approx([1, 1])
    assert [to_hex(p.get_facecolor()) for p in ax.patches] == [
        style.SKY.lower(),
        style.ORANGE.lower(),
    ]
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["this study", "other entries", "95 % interval"]
    assert ax.get_yticklabels()[1].get_fontweight() == "bold"
    assert plots.league(league()).get_legend() is None


def test_days_are_written_with_their_month_and_the_year_once():
    days = pl.datetime_range(START, START + 70 * DAY, DAY, eager=True)
    ax = plots.equity(pl.DataFrame({"time": days, "equity": np.arange(71) + 100.0}))
    ax.figure.canvas.draw()
    axis = ax.figure.axes[1].xaxis
    written = [label.get_text() for label in axis.get_ticklabels()]
    assert {"15 Jan", "01 Feb", "01 Mar"} <= set(written)
    assert axis.get_offset_text().get_text() == "2025"


def test_the_alpha_factor_names_both_lines_and_rounds_to_two_digits():
    shifted = alpha().with_columns(pl.col("alpha") - 0.010022)
    ax = plots.alpha_factor(shifted)
    assert ax.get_title(loc="left").endswith("mean -0.0022 s.d.")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["each bar", "running mean"]
    level = plots.alpha_factor(alpha().with_columns(alpha=0.0))
    assert level.get_title(loc="left").endswith("mean +0 s.d.")


def test_quantile_bars_are_means_with_intervals_on_a_bps_axis():
    ax = plots.quantiles(quantiles())
    assert [p.get_height() for p in ax.patches] == pytest.approx(quantiles()["mean"].to_list())
    (whiskers,) = ax.collections
    low, high = whiskers.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((-3e-4, -1e-4))
    assert ax.yaxis.get_major_formatter()(3e-4) == "3"
    assert not plots.quantiles(quantiles(500)).patches  # points, not bars


def test_equity_and_drawdown_share_time_and_start_at_nothing():
    ax = plots.equity(curve(), capital=500.0)
    net = ax.get_lines()[1].get_ydata()
    assert net[0] == pytest.approx(1.0)  # 1,000 of 500
    below = ax.figure.axes[1]
    assert below.get_ylabel() == "drawdown (%)"
    assert below.get_shared_x_axes().joined(ax, below)


def test_long_curves_are_thinned_and_keep_their_end():
    thin = style.drawn_points(curve(20_000))
    assert thin.height <= 4000
    assert thin["equity"][-1] == curve(20_000)["equity"][-1]


def test_features_are_ordered_by_strength_and_grey_where_unsure():
    ax = plots.feature_ic(strengths())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["weak", "strong"]
    assert [to_hex(p.get_facecolor()) for p in ax.patches] == [
        style.GREY.lower(),
        style.BLUE.lower(),
    ]


def test_correlation_puts_alike_features_together():
    ax = plots.correlation(features())
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert abs(names.index("twin") - names.index("near")) == 1
    assert {"twin", "near"} <= set(ax.get_title(loc="left").replace(",", "").split())


def test_panels_need_a_grid():
    figure = plt.figure()
    with pytest.raises(UserError, match=r"plt\.subplots"):
        plots.equity(curve(), ax=figure.add_axes((0.1, 0.1, 0.8, 0.8)))
