import json
from datetime import timedelta

import pytest

from research import study
from research.errors import UserError
from research.study import Study


def test_every_shipped_study_reads_and_names_no_symbol():
    for name in study.names():
        assert study.read(name).data.symbols is None, name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"labels.hprizon": "1 min"},
            "unknown key 'labels.hprizon'. Did you mean 'labels.horizon'",
        ),
        ({"lables.horizon": "1 min"}, "unknown key 'lables'. Did you mean 'labels"),
        ({"costs.fee": "5 pips"}, "costs.fee: rate '5 pips': expected a number with bps or %"),
        ({"labels.horizon": "10"}, "labels.horizon: duration '10': expected a number with a unit"),
        ({"data.start": "2025-02-01", "data.end": "2025-01-01"}, "end 2025-01-01 must lie after"),
        ({"data.start": "yesterday"}, "data.start"),
        ({"evaluation.bins": 1}, "evaluation.bins.*greater than or equal to 2, found 1"),
        ({"model.name": "xgb"}, "no learner 'xgb'. Did you mean 'xgboost'"),
        ({"data.source": "files"}, "needs data.path"),
        ({"seed.of": 1}, "'seed' is a setting, not a section"),
        ({"costs": 3}, "costs"),
        ({"costs.fee": "-2 bps"}, "costs.fee below zero is a maker's rebate.*costs.role=maker"),
        ({"costs.fee": "-2", "costs.role": "maker"}, "found '-2'. Did you mean '-2 bps'"),
        ({"costs.fee": "5"}, "found '5'. Did you mean '5 bps'"),
        ({"costs.slippage": "-1 bps", "costs.role": "maker"}, "costs.slippage.*equal to 0"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(options, said):
    with pytest.raises(UserError, match=said) as caught:
        study.read("demo", options)
    assert "\n" not in str(caught.value)


def test_a_makers_fee_may_be_a_rebate():
    made = study.read("demo", {"costs.fee": "-0.5 bps", "costs.role": "maker"})
    assert made.fee == -0.00005 and made.settings()["costs.fee"] == -0.00005


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'quantiles'"):
        study.read("quantile")


def test_toml_yaml_and_json_say_the_same(tmp_path):
    (tmp_path / "a.toml").write_text('name = "x"\n[labels]\nhorizon = "5 min"\n')
    (tmp_path / "a.yaml").write_text("name: x\nlabels:\n  horizon: 5 min\n")
    (tmp_path / "a.json").write_text(json.dumps({"name": "x", "labels": {"horizon": "5m"}}))
    first, *others = (study.read(tmp_path / f"a.{end}") for end in ("toml", "yaml", "json"))
    assert all(other == first for other in others)


@pytest.mark.parametrize(("end", "text"), [("toml", "a = "), ("yaml", "a: [1"), ("json", "{")])
def test_a_broken_file_is_one_line(tmp_path, end, text):
    (tmp_path / f"broken.{end}").write_text(text)
    with pytest.raises(UserError, match=rf"broken.{end}: cannot be read as {end}"):
        study.read(tmp_path / f"broken.{end}")


def test_options_win_over_the_file():
    assert study.read("demo", {"validation.train": "14 d"}).validation.train == timedelta(days=14)


def test_settings_read_back_as_the_same_study():
    made = study.read("quantiles", {"features.groups.rsi": False})
    assert Study().with_options(made.settings()) == made
    assert Study.model_validate_json(made.model_dump_json()) == made


def test_changed_lists_only_what_differs_from_the_defaults():
    assert Study().changed() == {}
    assert Study().with_options({"labels.horizon": "5 min"}).changed() == {
        "labels.horizon": "5 min"
    }


def test_a_study_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Study().seed = 2


def test_a_fee_that_is_not_stated_is_the_markets():
    fees = {market: study.read("demo", {"data.market": market}).fee for market in ("um", "spot")}
    assert fees == {"um": 0.0005, "spot": 0.001}
    assert study.read("demo", {"data.market": "spot", "costs.fee": "3 bps"}).fee == 0.0003
    tier = {"costs.venue": "kraken_spot", "costs.tier": 1, "costs.role": "maker"}
    assert study.read("demo", tier).fee == 0.002


@pytest.mark.parametrize(
    ("said", "taker", "maker"),
    [
        ({}, 0.0005, 0.0002),
        ({"data.source": "kraken"}, 0.004, 0.0025),
        ({"data.venue": "kraken", "data.market": "spot"}, 0.004, 0.0025),
        ({"data.source": "polygon", "live.venue": "kraken"}, 0.004, 0.0025),
        ({"data.source": "binance", "live.feed": "kraken"}, 0.004, 0.0025),
        ({"data.source": "kraken", "live.venue": "bybit"}, 0.00055, 0.0002),
        ({"data.source": "kraken", "live.venue": "binance"}, 0.001, 0.001),
        ({"data.source": "polygon"}, 0.001, 0.001),
        ({"data.source": "kraken", "costs.venue": "binance_um"}, 0.0005, 0.0002),
        ({"data.source": "kraken", "costs.fee": "1 bps"}, 0.0001, 0.0001),
    ],
    ids=str,
)
def test_the_fee_is_that_of_the_venue_which_is_traded(said, taker, maker):
    """By hand, from the venues' own pages of fees, the lowest tier."""
    assert study.read("demo", said).fee == taker
    assert study.read("demo", {**said, "costs.role": "maker"}).fee == maker


def test_trend_kraken_states_no_fee_and_is_charged_kraken_s():
    made = study.read("trend_kraken")
    assert (made.costs.fee, made.costs.venue, made.fee) == (None, None, 0.004)
