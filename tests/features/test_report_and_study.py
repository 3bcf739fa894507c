"""The report of a feature table, and the study of an idea in a cell."""

import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.errors import UserError

CLOSE = pl.col("close")


def test_report_counts_what_is_wrong():
    n = 1_000
    rng = np.random.default_rng(0)
    a = rng.normal(size=n)
    table = pl.DataFrame(
        {
            "symbol": ["A"] * n,
            "time": range(n),
            "a": a,
            "like_a": -2 * a + 1,
            "free": rng.normal(size=n),
            "same": [3.0] * n,
            "holes": [None, math.nan, math.inf, -math.inf, *a[4:]],
        }
    )
    found = features.report(table)
    assert found["feature"].to_list() == ["a", "like_a", "free", "same", "holes"]
    rows = {row["feature"]: row for row in found.rows(named=True)}
    assert rows["holes"]["missing"] == 0.002 and rows["holes"]["infinite"] == 2
    assert [r["constant"] for r in rows.values()] == [False, False, False, True, False]
    assert rows["a"]["twin"] in ("like_a", "holes") and abs(rows["a"]["correlation"]) == 1
    assert rows["like_a"]["correlation"] == -1
    assert rows["same"]["twin"] is None
    assert rows["a"]["mean"] == pytest.approx(a.mean()) and rows["a"]["q99"] == pytest.approx(
        np.quantile(a, 0.99)
    )


def test_report_of_a_table_without_values():
    table = pl.DataFrame(
        {"a": [None, None], "b": [1.0, 2.0]}, schema={"a": pl.Float64, "b": pl.Float64}
    )
    found = features.report(table)
    assert found["missing"].to_list() == [1.0, 0.0]
    assert found["constant"].to_list() == [False, False]


@pytest.fixture(scope="module")
def bars():
    return laws.market(rows=6_000)


def test_study_of_a_perfect_forecast_says_that_it_looks_ahead(bars):
    found = features.study(bars, horizons=(1, 5), draws=50, mine=CLOSE.shift(-1) / CLOSE - 1)
    assert not found.facts["causal"][0] and found.facts["warmup"][0] is None
    assert found.ic["ic"][0] > 0.9
    assert "Looks ahead" in found._repr_html_()


def test_study_of_an_honest_idea(bars):
    found = features.study(
        bars,
        horizons=(1, 10),
        draws=50,
        mine=CLOSE.pct_change(4),
        other=lambda b: b["close"].diff(),
    )
    assert found.names == ["mine", "other"]
    assert found.facts["causal"].to_list() == [True, True]
    assert found.facts["warmup"].to_list() == [4, 1]
    assert found.facts["twin"][0] in ("ret_4", "ret_5")
    assert found.ic.height == 4
    assert (found.ic["low"] <= found.ic["ic"]).all() and (found.ic["ic"] <= found.ic["high"]).all()
    page = found._repr_html_()
    assert page.count("<img") == 2 and "Causal in" in page and "1 min" in page


def test_study_ic_is_the_scores_own(bars):
    from research import labels, scores

    found = features.study(bars, horizons=(5,), draws=50, mine=CLOSE.pct_change(4))
    answers = labels.forward_return(
        bars, horizon=5 * laws.MINUTE, interval=laws.MINUTE, entry="next_open"
    )
    mine = found.values.select("symbol", "time", forecast="mine").drop_nulls()
    score = scores.ic(mine.join(answers, on=["symbol", "time"]), horizon=5 * laws.MINUTE, draws=50)
    assert found.ic["ic"][0] == pytest.approx(score.ic)


def test_study_takes_pandas(bars):
    a = features.study(bars, horizons=(5,), draws=20, mine=CLOSE.diff())
    b = features.study(
        bars.to_pandas().set_index("time"), horizons=(5,), draws=20, mine=CLOSE.diff()
    )
    assert laws.same(a.ic, b.ic)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no feature given"),
        ({"mine": 3}, "expected a polars expression"),
        ({"mine": pl.col("clsoe")}, "bars have no column 'clsoe'"),
        ({"mine": pl.col("volume").cum_sum()}, "where the series begins"),
        ({"mine": CLOSE.shift(100_000)}, "feature 'mine'"),
    ],
)
def test_study_names_mistakes(bars, given, says):
    with pytest.raises(UserError, match=says):
        features.study(bars, **given)
