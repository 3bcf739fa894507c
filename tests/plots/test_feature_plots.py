"""Pictures of a screening: what is drawn is the table, fifty features stay readable."""

from datetime import date, timedelta
from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from research import plots
from research.errors import UserError
from research.plots import style

MINUTE = timedelta(minutes=1)
DAYS = [date(2025, 1, 1) + timedelta(days=k) for k in range(6)]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def ic(features=("rsi", "noise")):
    rows = [
        (name, h * MINUTE, 0.02 / (k + 1) * (-1) ** k, 0.01)
        for k, name in enumerate(features)
        for h in (1, 60, 1440)
    ]
    table = pl.DataFrame(rows, schema=["feature", "horizon", "ic", "half"], orient="row")
    half = pl.col("half") + 0.005 * (pl.col("horizon") > MINUTE)
    return table.with_columns(low=pl.col("ic") - half, high=pl.col("ic") + half)


def by_day():
    rows = [
        (n, d, s * (0.01 + 0.01 * k)) for n, s in (("a", 1), ("b", -3)) for k, d in enumerate(DAYS)
    ]
    table = pl.DataFrame(rows, schema=["feature", "day", "ic"], orient="row")
    return table.with_columns(low=pl.col("ic") - 0.05, high=pl.col("ic") + 0.05)


def over_time():
    table = pl.DataFrame({"feature": "a", "period": DAYS, "missing": 0.25})
    return table.with_columns(q01=pl.lit(-3.0), q25=pl.lit(-1.0), q50=pl.Series(np.arange(6) * 0.1),
                              q75=pl.lit(1.0), q99=pl.lit(3.0))  # fmt: skip


def by_symbol():
    rows = [
        ("steady", "A", 0.01),
        ("steady", "B", 0.03),
        ("mixed", "A", -0.01),
        ("mixed", "B", 0.02),
    ]
    return pl.DataFrame(rows, schema=["feature", "symbol", "ic"], orient="row")


def square(n=3):
    names = [f"f{k}" for k in range(n)]
    matrix = (
        np.full((n, n), 0.97) if n == 2 else 0.5 ** np.abs(np.subtract.outer(range(n), range(n)))
    )
    np.fill_diagonal(matrix, 1.0)
    return pl.DataFrame(matrix, schema=names, orient="row").select(
        pl.Series("feature", names), pl.all()
    )


DRAW = {
    "ic_by_horizon": lambda **o: plots.ic_by_horizon(ic(), **o),
    "feature_ic_by_day": lambda **o: plots.feature_ic_by_day(by_day(), **o),
    "feature_over_time": lambda **o: plots.feature_over_time(over_time(), "a", **o),
    "feature_stability": lambda **o: plots.feature_stability(by_symbol(), **o),
}


@pytest.mark.parametrize("name", DRAW)
def test_every_picture_draws_and_takes_a_place(name):
    ax = DRAW[name]()
    assert isinstance(ax, Axes) and ax.get_title(loc="left") and ax.get_xlabel()
    ax.figure.canvas.draw()
    _, place = plt.subplots()
    assert DRAW[name](ax=place) is place


def test_cells_hold_the_ic_and_frame_what_is_clear():
    ax = plots.ic_by_horizon(ic())
    grid = np.ma.getdata(ax.images[0].get_array())
    assert grid[:, 0] == pytest.approx([0.02, -0.01])
    assert [t.get_text() for t in ax.texts[:3]] == ["+2.0"] * 3
    frames = [p for p in ax.patches if isinstance(p, Rectangle) and not p.get_fill()]
    assert len(frames) == 3  # 0.02 is clear at each horizon; 0.01 touches zero
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1 min", "1 h", "1 d"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["rsi", "noise"]
    assert "3 of 6 ICs" in ax.get_title(loc="left")


def test_many_features_do_not_overlap():
    names = [f"feature_{k:02d}" for k in range(52)]
    parts = pl.concat(by_symbol().filter(pl.col("feature") == "steady").with_columns(
        feature=pl.lit(n)) for n in names)  # fmt: skip
    for ax in (plots.ic_by_horizon(ic(names)), plots.feature_stability(parts, most=52)):
        ax.figure.canvas.draw()
        boxes = [t.get_window_extent() for t in ax.get_yticklabels() if t.get_text()]
        assert len(boxes) == 52
        boxes.sort(key=lambda b: b.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_the_running_mean_of_days_is_drawn():
    lines = {line.get_label(): line for line in plots.feature_ic_by_day(by_day()).lines}
    assert lines["b"].get_ydata()[-1] == pytest.approx(-3 * 0.035)
    assert list(lines)[:2] == ["b", "a"]  # the strongest first
    alone = plots.feature_ic_by_day(by_day(), features=["a"])
    assert alone.containers[0].lines[0].get_ydata() == pytest.approx(
        [0.01 * k for k in range(1, 7)]
    )


def test_over_time_draws_median_and_bands():
    ax = plots.feature_over_time(over_time(), "a")
    assert ax.lines[0].get_ydata() == pytest.approx(np.arange(6) * 0.1)
    assert len(ax.collections) == 2 and "25.0% missing" in ax.get_title(loc="left")
    nothing = over_time().with_columns(pl.lit(None, pl.Float64).alias("q50"))
    assert "null throughout" in plots.feature_over_time(nothing, "a").get_title(loc="left")


def test_dots_are_blue_where_the_sign_stays():
    ax = plots.feature_stability(by_symbol())
    labels = [t.get_text() for t in ax.get_yticklabels()]
    colour = {labels[k]: to_hex(c.get_facecolor()[0]) for k, c in enumerate(ax.collections)}
    assert colour["steady"] == style.BLUE.lower() and colour["mixed"] == style.GREY.lower()
    assert "1 of 2 features keep their sign in each of 2 symbol(s)" in ax.get_title(loc="left")


def test_redundancy_is_a_figure_with_every_name():
    figure = plots.redundancy(square(52))
    assert isinstance(figure, Figure)
    heat = max(figure.axes, key=lambda ax: len(ax.get_yticklabels()))
    names = {t.get_text() for t in heat.get_yticklabels()}
    assert names == {f"f{k}" for k in range(52)} == {t.get_text() for t in heat.get_xticklabels()}
    titles = [ax.get_title(loc="left") for ax in plots.redundancy(square(2)).axes]
    assert "2 features; pairs with a rank correlation beyond 0.95: 1" in titles


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plots.ic_by_horizon(ic().drop("low")), "plots.ic_by_horizon: column 'low'"),
        (lambda: plots.feature_over_time(over_time(), "b"), "no feature 'b' here"),
        (lambda: plots.feature_ic_by_day(by_day(), features=["aa"]), "Did you mean 'a'?"),
        (lambda: plots.feature_stability(by_symbol().drop("symbol")), "column month or symbol"),
        (lambda: plots.redundancy(square(1)), "at least 2 features are needed, found 1"),
    ],
)
def test_mistakes_are_named(call, says):
    with pytest.raises(UserError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_nothing_to_draw_says_so():
    assert plots.ic_by_horizon(ic().clear()).get_title(loc="left") == "no feature has an IC"
