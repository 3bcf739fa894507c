"""A user's own features: what works, and one clear line for each mistake."""

import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.errors import UserError
from research.features import extra

FILE = '''
"""Mine."""
import threading
import pandas as pd
import polars as pl

body = pl.col("close") / pl.col("open") - 1

def factory(window: int = 5) -> pl.Expr:
    return pl.col("close").pct_change(window)

def frame(bars: pd.DataFrame) -> pd.Series:
    """Range."""
    return bars["high"] / bars["low"] - 1  # comment

def rising(bars): return bars["close"] > bars["open"]
def future(bars): return bars["close"].shift(-1)
def centred(bars): return bars["close"] - bars["close"].mean()
def dropping(bars): return bars["close"].dropna().iloc[5:]
def sorting(bars): return bars["close"].sort_values()
def listing(bars): return list(bars["close"])
def wording(bars): return bars["close"].astype(str)
def failing(bars):
    return bars["clsoe"]
def two(bars, other): return bars["close"]
def nothing(): return 3

peek = pl.col("close").shift(-1) / pl.col("close") - 1
absent = pl.col("clsoe") * 2
word = pl.lit("a")

def held():
    lock = threading.Lock()
    def twice(values):
        with lock:
            return 2 * values
    return pl.col("close").map_batches(twice, return_dtype=pl.Float64)

short = pl.col("close").head(3)
number = 3
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("import polars as pl\nx = 1 / 0\n")
    (tmp_path / "unfinished.py").write_text("def f(:\n")
    return tmp_path


def values(folder, name, bars):
    chosen = features.resolve("S2", groups=OFF, extra=[f"mine:{name}"], folder=folder)
    return features.build(bars, chosen, interval=laws.MINUTE)[name]


OFF = {f.group: False for f in features.SETS["S2"].columns.values()}


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("body", pl.col("close") / pl.col("open") - 1),
        ("factory", pl.col("close").pct_change(5)),
        ("frame", pl.col("high") / pl.col("low") - 1),
        ("rising", (pl.col("close") > pl.col("open")).cast(pl.Float64)),
    ],
)
def test_the_three_forms(folder, name, oracle):
    bars = laws.market(symbols=1, rows=300)
    assert values(folder, name, bars).to_list() == bars.select(oracle).to_series().to_list()


def test_own_columns_come_last_in_order(folder):
    chosen = features.resolve("S2", extra=["mine:frame", "mine:body"], folder=folder)
    assert chosen.names == [*features.SETS["S2"].names, "frame", "body"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("mine", "expected 'module:name'"),
        ("my.mine:body", "expected 'module:name'"),
        ("miine:body", "no file miine.py"),
        ("miine:body", "Did you mean 'mine'?"),
        ("mine:bodi", "Did you mean 'body'?"),
        ("mine:number", "expected a polars expression, a function"),
        ("mine:two", "found two()"),
        ("mine:nothing", "must return a polars expression, returned a int"),
        ("mine:absent", "bars have no column 'clsoe'. Did you mean 'close'?"),
        ("mine:word", "feature 'word'"),
        ("mine:held", "holds what cannot be stored (python: TypeError: cannot pickle"),
        ("mine:short", "one value per bar"),
        ("mine:dropping", "gave 2995 values for 3000 bars"),
        ("mine:sorting", "must keep the index"),
        ("mine:listing", "must return a pandas Series, returned a list"),
        ("mine:wording", "must give numbers"),
        ("mine:failing", "raised KeyError: 'clsoe' (line 24 of its source)."),
        ("mine:future", "looks ahead"),
        ("mine:centred", "looks ahead"),
        ("mine:peek", "looks ahead"),
        ("broken:x", "broken.py, line 2 does not run: ZeroDivisionError"),
        ("unfinished:f", "unfinished.py, line 1 does not run: SyntaxError"),
    ],
)
def test_each_mistake_is_one_clear_line(folder, word, says):
    with pytest.raises(UserError) as error:
        features.resolve("S2", extra=[word], folder=folder)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_slow_feature_is_tried_on_more_bars(folder):
    (folder / "slow.py").write_text(
        "import polars as pl\nc = pl.col('close')\n"
        "fine = c - c.rolling_mean(5_000)\npeek = c.shift(-1) - c.rolling_mean(5_000)\n"
        "never = pl.when(c < 0).then(c)\n"
    )
    assert features.resolve("S2", extra=["slow:fine"], folder=folder).names[-1] == "fine"
    with pytest.raises(UserError, match="looks ahead"):
        features.resolve("S2", extra=["slow:peek"], folder=folder)
    with pytest.raises(UserError, match="gives no value"):
        features.resolve("S2", extra=["slow:never"], folder=folder)


def test_a_function_that_fails_late_still_says_one_line(folder):
    def late(bars):
        if bars.index[0].year > 2020:
            raise RuntimeError("no such year")
        return bars["close"]

    chosen = features.FeatureSet("x", "0", {"late": extra.feature("late", late)})
    with pytest.raises(UserError) as error:
        features.build(laws.market(rows=200), chosen, interval=laws.MINUTE)
    assert "feature 'late': raised RuntimeError: no such year" in str(error.value)
    assert "\n" not in str(error.value)


def test_clashing_names_are_refused(folder):
    (folder / "other.py").write_text("import polars as pl\nrsi = body = pl.col('close')\n")
    with pytest.raises(UserError, match="already has a column 'rsi'"):
        features.resolve("S2", extra=["other:rsi"], folder=folder)
    with pytest.raises(UserError, match="already has a column 'body'"):
        features.resolve("S2", extra=["mine:body", "other:body"], folder=folder)


def test_a_division_by_zero_is_null(folder):
    zero = extra.feature("zero", pl.col("open") / (pl.col("close") - pl.col("close")))
    also = extra.feature("also", lambda bars: bars["open"] / 0.0)
    bars = laws.market(symbols=1, rows=5)
    for made in (zero, also):
        assert bars.select(x=made.expr)["x"].to_list() == [None] * 5


def fingerprint(folder, name):
    return features.resolve("S2", extra=[f"mine:{name}"], folder=folder).fingerprint()


def test_fingerprint_sees_code_and_not_words(folder):
    before = {name: fingerprint(folder, name) for name in ("body", "frame")}
    (folder / "mine.py").write_text(FILE.replace("Range.", "Spread.").replace("# comment", ""))
    assert {name: fingerprint(folder, name) for name in before} == before
    (folder / "mine.py").write_text(FILE.replace('bars["low"] - 1', 'bars["low"] - 2'))
    assert fingerprint(folder, "frame") != before["frame"]
    assert fingerprint(folder, "body") == before["body"]  # its expression is what it was
    (folder / "mine.py").write_text(FILE.replace('pl.col("open") - 1', 'pl.col("open")'))
    assert fingerprint(folder, "body") != before["body"]


def test_fingerprint_does_not_say_where_the_file_lies(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.py").write_text(FILE)
    for name in ("body", "factory", "frame"):
        assert fingerprint(folder, name) == fingerprint(elsewhere, name)


def test_the_shipped_examples():
    names = ["gap_to_vwap", "surprise", "trend"]
    chosen = features.resolve("S2", groups=OFF, extra=[f"my_features:{n}" for n in names])
    bars = laws.market(symbols=1, rows=300)
    table = features.build(bars, chosen, interval=laws.MINUTE)
    frame = bars.to_pandas()
    paid = (frame.close * frame.volume).rolling(30).sum() / frame.volume.rolling(30).sum()
    last = table.drop_nulls(names).tail(1)
    row = frame.index[frame["time"] == pd.Timestamp(last["time"][0])][0]
    assert last["gap_to_vwap"][0] == pytest.approx(frame.close[row] / paid[row] - 1)
    assert last["trend"][0] == pytest.approx((frame.close > frame.open).rolling(60).mean()[row])
    usual = frame.volume.rolling(60).median()[row]
    assert last["surprise"][0] == pytest.approx(frame.volume[row] / usual - 1)
