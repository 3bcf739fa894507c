"""Maps of the break-even fee: what is drawn is the table."""

from datetime import timedelta

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import polars as pl
import pytest

from research import plots
from research.errors import UserError

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def table():
    """Three bins and two horizons, one cell not met, one not told from zero, one unknown."""
    rows = [
        (1, MINUTE, 2e-4, 1e-4, 3e-4),
        (1, 90 * MINUTE, 1e-4, -1e-4, 3e-4),
        (2, MINUTE, -3e-4, -4e-4, -2e-4),
        (2, 90 * MINUTE, 5e-4, None, None),
        (3, MINUTE, 4e-4, 3e-4, 5e-4),
    ]
    names = ["bin", "horizon", "break_even_fee", "low", "high"]
    return pl.DataFrame(rows, schema=names, orient="row")


def test_every_cell_is_drawn_in_bps_and_marked_where_it_may_be_zero():
    ax = plots.fee_surface(table())
    picture = ax.images[0].get_array()
    assert picture.shape == (2, 3)
    assert picture[0].tolist() == [2e-4, -3e-4, 4e-4]
    assert picture[1].tolist()[:2] == [1e-4, 5e-4]
    assert picture.mask.tolist() == [[False] * 3, [False, False, True]]
    assert {t.get_text() for t in ax.texts} == {"2.0", "−3.0", "4.0", "1.0", "5.0"}
    dots = {(line.get_xdata()[0], round(line.get_ydata()[0] + 0.32)) for line in ax.lines}
    assert dots == {(0, 1), (1, 1)}  # bins 1 and 2 at 90 min
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["1 min", "90 min"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("forecast bin (1 lowest)", "horizon")
    assert "(bps)" in ax.figure.axes[1].get_ylabel()
    assert ax.get_title(loc="left").startswith("2 of 5 cells have a break-even fee surely above")


def test_the_title_counts_what_could_pay_a_fee():
    ax = plots.fee_surface(table(), fee=2e-4, y="horizon")
    assert ax.get_title(loc="left").startswith("1 of 5 cells surely pay 2 bps a side")


def test_hour_by_symbol_on_given_axes():
    cells = [("B", 0, 1e-4), ("A", 23, -1e-4), ("A", 0, 2e-5)]
    rows = pl.DataFrame(cells, schema=["symbol", "hour", "break_even_fee"], orient="row")
    rows = rows.with_columns(low=pl.col("break_even_fee"), high=pl.col("break_even_fee"))
    _, given = plt.subplots()
    ax = plots.fee_surface(rows.to_pandas(), x="hour", y="symbol", ax=given)
    assert ax is given
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A", "B"]
    assert ax.get_xlabel() == "hour of the decision (UTC)"
    assert ax.images[0].get_array()[0].tolist() == [2e-5, -1e-4]
    assert not ax.lines


def test_a_cell_with_several_rows_is_refused():
    with pytest.raises(UserError, match="several rows lie in one cell of bin and horizon"):
        plots.fee_surface(pl.concat([table(), table()]))
    with pytest.raises(UserError, match="column 'hour' is missing"):
        plots.fee_surface(table(), x="hour")


def capacity_table(edge):
    notional = [1e2, 1e4, 1e6]
    impact = [1e-6 * n**0.5 for n in notional]
    net = [edge - i for i in impact]
    rows = {"notional": notional, "impact": impact, "net": net}
    return pl.DataFrame(rows | {"low": [n - 1e-5 for n in net], "high": [None] * 3})


def test_capacity_says_where_it_ends():
    ax = plots.capacity(capacity_table(2e-4))
    assert ax.get_xscale() == "log"
    line = ax.get_lines()[0]
    assert line.get_ydata().tolist() == pytest.approx([1.9e-4, 1e-4, -8e-4])
    assert ax.get_title(loc="left") == (
        "2.00 bps before impact; impact has eaten them at 40,000 a trade"
    )
    assert "bps" in ax.get_ylabel()
    lost = plots.capacity(capacity_table(-1e-4))
    assert lost.get_title(loc="left").startswith("before impact a trade loses 1.00 bps")
