"""The sets: names, groups, versions, fingerprints."""

import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.errors import UserError
from research.features import extra, source
from research.features.sets import FeatureSet, _house
from research.features.volatility import natr
from research.features.warmup import canonical

S2 = [
    *(f"ret_{k}" for k in range(1, 11)),
    *("bop", "cci", "mfi", "rsi", "stochrsi", "slowk", "slowd", "natr"),
]
# version 1 of the sets, frozen: another value here needs another version
FROZEN = {
    "ret_1": -0.0005347010039283839,
    "ret_10": 0.0034521708358943304,
    "bop": -0.5201698513799998,
    "cci": 154.04393338801222,
    "mfi": 79.81119700840124,
    "rsi": 69.07001952116958,
    "stochrsi": 76.11549277472936,
    "slowk": 91.07546091289895,
    "slowd": 94.16307835295184,
    "natr": 0.09772525287617796,
}


def test_s2_has_its_18_columns_in_order():
    assert features.SETS["S2"].names == S2
    assert features.SETS["S2_day"].names == S2


def test_version_1_is_frozen():
    row = features.evaluate(canonical(3_000, interval=laws.MINUTE), features.SETS["S2"]).tail(1)
    assert features.SETS["S2"].version == "1"
    assert {n: row[n][0] for n in FROZEN} == pytest.approx(FROZEN, rel=1e-9)


def test_groups_are_flags():
    off = dict.fromkeys(("returns", "stoch", "cci"), False)
    assert features.resolve("S2", groups=off).names == ["bop", "mfi", "rsi", "stochrsi", "natr"]
    assert features.resolve("S2", groups={"rsi": True}).names == S2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"name": "S22"}, "no such set. Did you mean 'S2'?"),
        ({"name": "S2", "groups": {"retruns": False}}, "Did you mean 'returns'?"),
        ({"name": "S2", "groups": {"rsi": "no"}}, "must be true or false"),
        (
            {
                "name": "S2",
                "groups": {f.group: False for f in features.SETS["S2"].columns.values()},
            },
            "every group is off",
        ),
    ],
)
def test_mistakes_are_named(call, says):
    with pytest.raises(UserError) as error:
        features.resolve(call.pop("name"), **call)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_fingerprint_follows_what_values_depend_on():
    whole = features.SETS["S2"].fingerprint()
    assert whole == features.resolve("S2").fingerprint()
    assert whole != features.SETS["S2_day"].fingerprint()
    assert whole != features.resolve("S2", groups={"natr": False}).fingerprint()
    one, other = ({"natr": _house("natr", natr, n)} for n in (14, 15))
    assert FeatureSet("x", "1", one).fingerprint() != FeatureSet("x", "1", other).fingerprint()


def test_fingerprint_of_an_expression_is_its_form():
    def of(expr):
        return extra.feature("x", expr).source

    assert of(pl.col("close") / 2) == of(pl.col("close") / 2) != of(pl.col("close") / 3)


def test_comments_and_docstrings_do_not_count():
    text = 'def f(x):\n    """Doc."""\n    # why\n    return x + 1\n'
    assert source.plain(text) == source.plain("def f(x): return (x+1)")
    assert source.plain(text) != source.plain("def f(x): return x + 2")
    assert source.plain('"""Only a docstring."""') == "pass"


def test_a_set_shows_itself():
    assert "stochrsi" in features.SETS["S2"]._repr_html_()


def test_warmup_of_s2_is_measured_and_remembered():
    bars = features.warmup(features.SETS["S2"], interval=laws.MINUTE)
    assert 250 < bars < 600  # Wilder's mean forgets 1e-9 in about 20 windows of 14
    assert features.warmup(features.SETS["S2"], interval=timedelta(hours=1)) == bars
    assert features.lookback(features.SETS["S2"], interval=laws.MINUTE) == timedelta(days=1)
    back = features.lookback(features.SETS["S2"], interval=timedelta(hours=1))
    assert back == timedelta(days=-(-bars // 24))
