"""The mistakes a researcher makes: each ends in one line that says what to do."""

import pytest
from tests_settings import SMALL

from research import pipeline
from research.errors import UserError
from research.study import read

OWN = """
import polars as pl

leaky = pl.col("close").shift(-1) / pl.col("close") - 1
level = pl.col("close").rolling_mean(30)
constant = pl.col("close") * 0 + 1.0
"""


@pytest.fixture
def own(store, tmp_path, monkeypatch):
    """A user's folder with three unsound features."""
    from research import training

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_unsound.py").write_text(OWN)
    monkeypatch.setattr(training, "OWN", tmp_path / "mine")


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ("leaky", "leaky"),
        ("level", "level.*features.allow"),
        ("constant", "constant.*features.allow"),
    ],
)
def test_an_unsound_feature_is_refused(own, feature, said):
    study = read("demo", SMALL | {"features.extra": [f"my_unsound:{feature}"]})
    with pytest.raises(UserError, match=said) as caught:
        pipeline.forecasts(study)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("feature", ["level", "constant"])
def test_what_is_allowed_by_name_passes(own, feature):
    options = {"features.extra": [f"my_unsound:{feature}"], "features.allow": [feature]}
    assert pipeline.forecasts(read("demo", SMALL | options)).height > 0


CLASSES = {"labels.kind": "direction", "model.name": "xgboost_classes"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (CLASSES | {"labels.threshold": "90 %"}, "class"),
        ({"model.name": "logistic"}, "labels.kind"),
        ({"features.set": "S5"}, "no such set.*S4"),
        ({"features.groups": {"rsj": False}}, "unknown group 'rsj'.*'rsi'"),
        ({"costs.fee": "-1 bps"}, "costs.fee"),
        ({"costs.venue": "binance"}, "no fee schedule of 'binance'.*binance_um"),
        ({"costs.half_spread": {"SIM1": "1 bps"}}, "half_spread"),
        ({"backtest.rule": "probability"}, "probabilities"),
        ({"sizing.kind": "stop"}, "backtest.stop"),
        ({"data.market": "spot", "backtest.side": "short"}, "spot"),
        ({"data.market": "spot", "costs.funding": "1 bps"}, "spot market pays no funding"),
        (
            {"validation.train": "3 h", "validation.test": "1 h", "simulated.days": 1},
            "validation.train",
        ),
        ({"labels.kind": "volatility"}, "volatility"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_line(store, options, said):
    with pytest.raises(UserError, match=said) as caught:
        pipeline.backtest(read("demo", SMALL | options))
    assert "\n" not in str(caught.value)
