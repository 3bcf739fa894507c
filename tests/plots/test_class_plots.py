"""Pictures of classes: what is drawn is the table, titles say what is seen."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from research import plots
from research.errors import UserError
from research.plots import style


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def counts():
    return pl.DataFrame(
        {
            "actual": ["down", "flat", "up"],
            "down": [300, 100, 50],
            "flat": [600, 1800, 500],
            "up": [100, 100, 450],
        }
    )


def bins():
    predicted = [0.1, 0.2, 0.3]
    rows = [
        (name, k + 1, p + base, p + base + miss, 500, p + base - 0.05, p + base + 0.05)
        for name, base, miss in (("down", 0.0, 0.01), ("flat", 0.4, 0.0), ("up", 0.0, 0.2))
        for k, p in enumerate(predicted)
    ]
    columns = ["class", "bin", "predicted", "observed", "n", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("draw", "table", "title"),
    [
        (plots.confusion, counts, "right in 63.7% of rows; always flat: 50.0%"),
        (plots.calibration, bins, "9 of 9 bins came as often as predicted, within 95 %"),
    ],
    ids=["confusion", "calibration"],
)
def test_pictures_take_axes_and_say_what_is_seen(draw, table, title, own):
    place = None if own else plt.subplots()[1]
    for made in (table(), table().to_pandas()):
        ax = draw(made, ax=place)
        assert isinstance(ax, Axes) and (own or ax is place)
        assert ax.get_title(loc="left") == title
        assert ax.get_xlabel() and ax.get_ylabel()
        ax.figure.canvas.draw()


def test_fields_are_shares_of_the_class_that_came_with_their_rows():
    ax = plots.confusion(counts())
    (image,) = ax.images
    assert image.get_array()[0].tolist() == [0.3, 0.6, 0.1]
    assert image.get_clim() == (0, 1)
    assert [text.get_text() for text in ax.texts[:3]] == ["30%\n300", "60%\n600", "10%\n100"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["down", "flat", "up"]


def test_a_class_that_never_came_is_an_empty_line():
    never = counts().with_columns(
        pl.when(pl.col("actual") == "up").then(0).otherwise(c).alias(c)
        for c in ("down", "flat", "up")
    )
    ax = plots.confusion(never)
    assert ax.images[0].get_array()[2].tolist() == [0, 0, 0]
    nothing = never.with_columns(pl.lit(0).alias(c) for c in ("down", "flat", "up"))
    assert "right in 0.0%" in plots.confusion(nothing).get_title(loc="left")


def test_each_class_is_a_line_of_its_own_look_beside_the_diagonal():
    ax = plots.calibration(bins())
    diagonal, down, flat, up = ax.get_lines()[:1] + [c.lines[0] for c in ax.containers]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert list(up.get_ydata()) == pytest.approx([0.3, 0.4, 0.5])
    assert list(flat.get_xdata()) == pytest.approx([0.5, 0.6, 0.7])
    looks = {(line.get_color(), line.get_marker()) for line in (down, flat, up)}
    assert len(looks) == 3 and to_hex(up.get_color()) == style.BLUE.lower()
    assert ax.get_xlim() == ax.get_ylim()
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["as predicted", "down", "flat", "up"]


def test_bins_that_miss_are_counted():
    table = bins().with_columns(low="observed", high="observed")
    assert plots.calibration(table).get_title(loc="left").startswith("3 of 9 bins")


@pytest.mark.parametrize("name", ["confusion", "calibration"])
def test_a_missing_column_is_named(name):
    with pytest.raises(UserError, match=rf"plots\.{name}: column .* is missing"):
        getattr(plots, name)(pl.DataFrame({"x": [1]}))
